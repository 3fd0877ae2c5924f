/* test_jscan_utf8 - which bytes are characters, also where some have not come yet */
#include "common/jscan.h"

#include <string.h>

#include "tests/support/runner.h"

static size_t encode(uint32_t c, unsigned char ret[4])
{
	static const unsigned char heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (size_t i = n; i-- > 1; c >>= 6)
		ret[i] = 0x80 | (c & 0x3f);
	ret[0] = (unsigned char)(heads[n] | c);
	return n;
}

/* Every character of Unicode, whole and cut off, and no other bytes. */
START_TEST(test_utf8)
{
	static unsigned char lengths[256][256]; /* by the first two bytes; 0: there is none */
	unsigned char s[4];

	for (uint32_t c = 0; c <= 0x10ffff; c++) {
		size_t n;

		if (c >= 0xd800 && c <= 0xdfff)
			continue;
		n = encode(c, s);
		for (size_t len = 1; len <= n; len++)
			if (jscan_utf8((char *)s, len) != n)
				ck_abort_msg("U+%04x, %zu bytes: %zu", c, len,
					     jscan_utf8((char *)s, len));
		for (unsigned next = 0; n == 1 && next < 256; next++)
			lengths[s[0]][next] = 1;
		if (n > 1)
			lengths[s[0]][s[1]] = (unsigned char)n;
	}
	for (unsigned pair = 0; pair < 0x10000; pair++) {
		const unsigned char text[] = {pair >> 8, pair & 0xff, 0x80, 0x80};
		size_t n = jscan_utf8((const char *)text, sizeof(text));

		ck_assert_msg(n == lengths[text[0]][text[1]], "%02x %02x: %zu", text[0], text[1],
			      n);
		/* The same if the third byte has not come yet. */
		n = jscan_utf8((const char *)text, 2);
		ck_assert_msg(n == lengths[text[0]][text[1]], "%02x %02x: %zu", text[0], text[1],
			      n);
	}
}
END_TEST

/* The third and the fourth byte may be any continuation, whatever the first two are. */
START_TEST(test_utf8_behind)
{
	static const char *const begins[] = {"\xe0\xa0", "\xed\x9f", "\xf0\x90", "\xf4\x8f"};
	const char *begin = begins[_i];
	size_t whole = jscan_utf8(begin, 2);

	for (size_t at = 2; at < whole; at++)
		for (unsigned byte = 0; byte < 256; byte++) {
			char text[] = {begin[0], begin[1], '\x80', '\x80'};
			size_t n;

			text[at] = (char)byte;
			n = jscan_utf8(text, whole);
			ck_assert_msg(n == (byte >= 0x80 && byte <= 0xbf ? whole : 0),
				      "byte %zu is %02x: %zu", at, byte, n);
		}
}
END_TEST

/* A byte that has not come is not looked at. */
START_TEST(test_utf8_cut)
{
	static const char text[] = "\xf0\x9f\x98\x80";

	for (size_t len = 1; len < 4; len++) {
		cleanup_free char *copy = memcpy(xcalloc(1, len), text, len);

		ck_assert_uint_gt(jscan_utf8(copy, len), len);
	}
	/* What has come is wrong already. */
	ck_assert_uint_eq(jscan_utf8("\xf0\x9f(", 3), 0);
	ck_assert_uint_eq(jscan_utf8("\xf0\x8f", 2), 0);
	/* A byte behind the character is not looked at, either. */
	ck_assert_uint_eq(jscan_utf8("\xc3\xa4\xff", 3), 2);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("jscan utf8");
	TCase *t = tcase_create("utf8");

	tcase_add_test(t, test_utf8);
	tcase_add_loop_test(t, test_utf8_behind, 0, 4);
	tcase_add_test(t, test_utf8_cut);
	suite_add_tcase(s, t);
	return s;
}
