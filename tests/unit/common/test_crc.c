/* test_crc - the checksum against its definition, however the bytes are cut up */
#include "common/crc.h"

#include <string.h>

#include "tests/support/runner.h"

#define BYTES 67 /* not a multiple of four */

/* Bit by bit, as the definition has it. */
static uint32_t slow_crc(const uint8_t *p, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (; len; p++, len--) {
		crc ^= *p;
		for (int i = 0; i < 8; i++)
			crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
	}
	return ~crc;
}

START_TEST(known_checksums)
{
	ck_assert_uint_eq(crc_add(0, "", 0), 0);
	ck_assert_uint_eq(crc_add(0, "123456789", 9), 0xcbf43926);
	ck_assert_uint_eq(crc_add(0, "\0\0\0\0", 4), 0x2144df1c);
}
END_TEST

/* Each entry of the table: every byte, at every place of a word and behind one. */
START_TEST(every_byte)
{
	for (unsigned byte = 0; byte < 256; byte++)
		for (size_t at = 0; at < 5; at++) {
			uint8_t bytes[5] = {0};

			bytes[at] = (uint8_t)byte;
			ck_assert_msg(crc_add(0, bytes, 5) == slow_crc(bytes, 5), "byte %u at %zu",
				      byte, at);
		}
}
END_TEST

START_TEST(any_pieces)
{
	uint8_t bytes[BYTES];

	for (size_t i = 0; i < BYTES; i++)
		bytes[i] = (uint8_t)(i * i * 37 + 11);
	for (size_t from = 0; from <= BYTES; from++)
		for (size_t to = from; to <= BYTES; to++) {
			uint32_t crc = crc_add(0, bytes, from);

			crc = crc_add(crc, bytes + from, to - from);
			ck_assert_msg(crc == slow_crc(bytes, to), "%zu and %zu bytes", from,
				      to - from);
		}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("crc");
	TCase *tc = tcase_create("crc");

	tcase_add_test(tc, known_checksums);
	tcase_add_test(tc, every_byte);
	tcase_add_test(tc, any_pieces);
	suite_add_tcase(suite, tc);
	return suite;
}
