/* test_parse - numbers, times and permissions: all edges, and that nothing else passes */
#include "common/parse.h"

#include "tests/support/runner.h"

#define U64_MAX_TEXT "18446744073709551615"
#define U64_OVER_TEXT "18446744073709551616"
#define UNTOUCHED 4711

START_TEST(decimals)
{
	static const struct {
		const char *text;
		uint64_t min, max;
		bool good;
		uint64_t value;
	} cases[] = {
		{"0", 0, UINT64_MAX, true, 0},
		{"0", 0, 0, true, 0},
		{"0", 1, 5, false, 0},
		{"1", 1, 5, true, 1},
		{"5", 1, 5, true, 5},
		{"6", 1, 5, false, 0},
		{"4", 5, 1, false, 0},
		{"007", 0, 7, true, 7},
		{"0000000000000000000000000000000000000009", 0, 9, true, 9},
		{U64_MAX_TEXT, 0, UINT64_MAX, true, UINT64_MAX},
		{U64_MAX_TEXT, UINT64_MAX, UINT64_MAX, true, UINT64_MAX},
		{U64_MAX_TEXT, 0, UINT64_MAX - 1, false, 0},
		{U64_OVER_TEXT, 0, UINT64_MAX, false, 0},
		{"99999999999999999999999", 0, UINT64_MAX, false, 0},
		{"9223372036854775807", 0, INT64_MAX, true, INT64_MAX},
		{"9223372036854775808", 0, INT64_MAX, false, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t v = UNTOUCHED;
		bool good = parse_u64(cases[i].text, cases[i].min, cases[i].max, &v);

		ck_assert_msg(good == cases[i].good, "%s of %zu", cases[i].text, i);
		ck_assert_msg(v == (good ? cases[i].value : UNTOUCHED), "%s of %zu", cases[i].text,
			      i);
	}
}
END_TEST

START_TEST(permissions)
{
	static const struct {
		const char *text;
		uint32_t max;
		bool good;
		uint32_t value;
	} cases[] = {
		{"0660", 0777, true, 0660},
		{"660", 0777, true, 0660},
		{"00000000000000000000000000660", 0777, true, 0660},
		{"0", 0777, true, 0},
		{"0", 0, true, 0},
		{"1", 0, false, 0},
		{"777", 0777, true, 0777},
		{"1000", 0777, false, 0},
		{"1777", 0777, false, 0},
		{"1777", 01777, true, 01777},
		{"37777777777", UINT32_MAX, true, UINT32_MAX},
		{"40000000000", UINT32_MAX, false, 0},
		{"1777777777777777777777", UINT32_MAX, false, 0},
		{"2000000000000000000000", UINT32_MAX, false, 0},
		{"2000000000000000000660", 0777, false, 0},
		{"8", 0777, false, 0},
		{"9", 0777, false, 0},
		{"0680", 0777, false, 0},
		{"0o660", 0777, false, 0},
		{"0x1ff", 0777, false, 0},
		{"rw", 0777, false, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint32_t v = UNTOUCHED;
		bool good = parse_octal(cases[i].text, cases[i].max, &v);

		ck_assert_msg(good == cases[i].good, "%s of %zu", cases[i].text, i);
		ck_assert_msg(v == (good ? cases[i].value : UNTOUCHED), "%s of %zu", cases[i].text,
			      i);
	}
}
END_TEST

#define DAY_MS ((uint64_t)86400000)

static const struct {
	const char *text;
	enum parse_step step;
	uint64_t ms;
} times[] = {
	{"0ms", PARSE_OK, 0},
	{"0d", PARSE_OK, 0},
	{"1ms", PARSE_OK, 1},
	{"1s", PARSE_OK, 1000},
	{"1m", PARSE_OK, 60000},
	{"1h", PARSE_OK, 3600000},
	{"1d", PARSE_OK, DAY_MS},
	{"366d", PARSE_OK, 366 * DAY_MS},
	{"010s", PARSE_OK, 10000},
	{U64_MAX_TEXT "ms", PARSE_OK, UINT64_MAX},
	{"18446744073709551s", PARSE_OK, 18446744073709551000u},
	{"18446744073709552s", PARSE_TOO_LONG, 0},
	{"307445734561825m", PARSE_OK, 18446744073709500000u},
	{"307445734561826m", PARSE_TOO_LONG, 0},
	{"5124095576030h", PARSE_OK, 18446744073708000000u},
	{"5124095576031h", PARSE_TOO_LONG, 0},
	{"213503982334d", PARSE_OK, 213503982334 * DAY_MS},
	{"213503982335d", PARSE_TOO_LONG, 0},
	{U64_MAX_TEXT "s", PARSE_TOO_LONG, 0},
	{U64_OVER_TEXT "ms", PARSE_NO_NUMBER, 0},
	{U64_OVER_TEXT, PARSE_NO_NUMBER, 0},
	{"", PARSE_NO_NUMBER, 0},
	{"s", PARSE_NO_NUMBER, 0},
	{"30", PARSE_NO_UNIT, 0},
	{U64_MAX_TEXT, PARSE_NO_UNIT, 0},
	{"1.5s", PARSE_NO_UNIT, 0},
	{"1 s", PARSE_NO_UNIT, 0},
	{"1s ", PARSE_NO_UNIT, 0},
	{"1S", PARSE_NO_UNIT, 0},
	{"1w", PARSE_NO_UNIT, 0},
	{"1m30s", PARSE_NO_UNIT, 0},
	{"1sm", PARSE_NO_UNIT, 0},
	{"1mss", PARSE_NO_UNIT, 0},
	{"0x1s", PARSE_NO_UNIT, 0},
	{"1e3s", PARSE_NO_UNIT, 0},
};

START_TEST(durations)
{
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		uint64_t ms = UNTOUCHED;
		enum parse_step step = parse_duration_ms(times[i].text, &ms);

		ck_assert_msg(step == times[i].step, "\"%s\": %d", times[i].text, (int)step);
		ck_assert_msg(ms == (step == PARSE_OK ? times[i].ms : UNTOUCHED), "\"%s\"",
			      times[i].text);
	}
}
END_TEST

/* What strtoull() would take. */
START_TEST(nothing_before_or_behind)
{
	static const char *const texts[] = {"",    " ",   "-",   "+",   "-1",  "+1",
					    " 1",  "\t1", "\n1", "1 ",  "1\n", "1x",
					    "x1",  "1-",  "1.",  "1.0", "1e1", "1_0",
					    "1,0", "--1", "-0",  "0x1", "0b1", "\xd9\xa1"};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		uint64_t v = UNTOUCHED;
		uint32_t mode = UNTOUCHED;

		ck_assert_msg(!parse_u64(texts[i], 0, UINT64_MAX, &v), "\"%s\"", texts[i]);
		ck_assert_msg(!parse_octal(texts[i], UINT32_MAX, &mode), "\"%s\"", texts[i]);
		ck_assert_msg(parse_duration_ms(texts[i], &v) != PARSE_OK, "\"%s\"", texts[i]);
		ck_assert(v == UNTOUCHED && mode == UNTOUCHED);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("parse");
	TCase *tc = tcase_create("parse");

	tcase_add_test(tc, decimals);
	tcase_add_test(tc, permissions);
	tcase_add_test(tc, durations);
	tcase_add_test(tc, nothing_before_or_behind);
	suite_add_tcase(suite, tc);
	return suite;
}
