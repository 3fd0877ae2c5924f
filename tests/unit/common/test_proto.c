#include "common/proto.h"

#include <string.h>

#include "tests/support/runner.h"

START_TEST(test_durations)
{
	/* clang-format off */
	static const struct {
		const char *text;
		int64_t ms; /* -1: none */
	} cases[] = {
		{"0s", 0}, {"1ms", 1}, {"500ms", 500}, {"30s", 30000}, {"2m", 120000},
		{"1h", 3600000}, {"24h", 86400000}, {"86400000ms", 86400000}, {"010s", 10000},
		{"25h", -1}, {"86401s", -1}, {"86400001ms", -1}, {"99999999h", -1},
		{"18446744073709551616ms", -1}, {"", -1}, {"30", -1}, {"s", -1}, {"ms", -1},
		{"-1s", -1}, {"+1s", -1}, {" 1s", -1}, {"1 s", -1}, {"1s ", -1}, {"1.5s", -1},
		{"1S", -1}, {"1d", 86400000}, {"2d", -1}, {"1m30s", -1}, {"0x1s", -1},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t ms = 4711;
		bool good = proto_duration_ms(cases[i].text, &ms);

		ck_assert_msg(good == (cases[i].ms >= 0), "\"%s\"", cases[i].text);
		ck_assert_msg(ms == (good ? (uint64_t)cases[i].ms : 4711), "\"%s\"", cases[i].text);
	}
}
END_TEST

START_TEST(test_ids)
{
	static const char *const good[] = {"a", "A.b_c-9", "0", "a..b", "0.", NULL};
	static const char *const wrong[] = {"",    ".",   "..",       "-a",        "_a", "a/b",
					    "a b", "a\n", "\xc3\xa4", "a\xc3\xa4", "a%", "a:",
					    "a@",  "a[",  "a`",       "a{",        NULL};
	char text[PROTO_ID_MAX + 2];

	for (size_t i = 0; good[i]; i++)
		ck_assert_msg(proto_id_valid(good[i]), "\"%s\"", good[i]);
	for (size_t i = 0; wrong[i]; i++)
		ck_assert_msg(!proto_id_valid(wrong[i]), "\"%s\"", wrong[i]);
	memset(text, 'x', sizeof(text));
	text[PROTO_ID_MAX] = '\0';
	ck_assert(proto_id_valid(text));
	text[PROTO_ID_MAX] = 'x';
	text[PROTO_ID_MAX + 1] = '\0';
	ck_assert(!proto_id_valid(text));
}
END_TEST

START_TEST(test_states)
{
	for (int i = 0; i < STATE_COUNT; i++) {
		enum restore_state state = (enum restore_state)i;

		ck_assert_int_eq(proto_state_from(proto_state_name(state)), state);
		ck_assert_int_eq(proto_state_live(state), i < STATE_ENDED);
	}
	ck_assert_int_eq(proto_state_from("Waiting"), STATE_NONE);
	ck_assert_int_eq(proto_state_from(""), STATE_NONE);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("proto");
	TCase *t = tcase_create("proto");

	tcase_add_test(t, test_durations);
	tcase_add_test(t, test_ids);
	tcase_add_test(t, test_states);
	suite_add_tcase(s, t);
	return s;
}
