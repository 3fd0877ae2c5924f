/* test_bench - what the bench does with its arguments, without measuring anything */
#include <string.h>

#include "tests/support/harness.h"
#include "tests/support/runner.h"

static void run(struct harness_output *ret, const char *first, const char *second)
{
	const char *const argv[] = {TEST_BUILD "/tests/bench/bench", first, second, NULL};

	harness_run(argv, ret);
}

START_TEST(test_help)
{
	static const char *const words[] = {"Usage: ",  "BENCH_ROWS",  "BENCH_DIR",
					    TEST_BUILD, "\n  fault  ", "\n  takeover  "};
	struct harness_output o;

	run(&o, "--help", NULL);
	ck_assert_int_eq(o.code, 0);
	ck_assert_str_eq(o.err, "");
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		ck_assert_msg(strstr(o.out, words[i]), "no \"%s\": %s", words[i], o.out);
	harness_output_fini(&o);
}
END_TEST

static const struct {
	const char *first, *second;
} wrong[] = {{"fault", NULL}, {"--rows=fault", NULL}, {"--help", "fault"}, {"", NULL}};

START_TEST(test_wrong)
{
	struct harness_output o;

	run(&o, wrong[_i].first, wrong[_i].second);
	ck_assert_int_eq(o.code, 2);
	ck_assert_str_eq(o.out, "");
	ck_assert_msg(strstr(o.err, "bench: takes no argument but --help"), "%s", o.err);
	harness_output_fini(&o);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("bench");
	TCase *tc = tcase_create("arguments");

	tcase_add_test(tc, test_help);
	tcase_add_loop_test(tc, test_wrong, 0, ARRAY_LEN(wrong));
	suite_add_tcase(suite, tc);
	return suite;
}
