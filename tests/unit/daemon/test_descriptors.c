/* test_descriptors - how many there are, and how many there may be */
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>

#include "daemon/descriptors.h"
#include "tests/support/fds.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define MANY 500

static void set_limit(rlim_t soft, rlim_t hard)
{
	const struct rlimit l = {soft, hard};

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
}

static void check_used(void)
{
	ck_assert_uint_eq(descriptors_used(), (uint64_t)fds_count(getpid()));
}

START_TEST(used_is_what_is_open)
{
	int fds[MANY];

	check_used();
	for (int i = 0; i < MANY; i++) {
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (i % 50 == 0)
			check_used();
	}
	/* Holes do not count. */
	for (int i = 0; i < MANY; i += 2)
		close(fds[i]);
	check_used();
}
END_TEST

START_TEST(soft_becomes_hard)
{
	struct rlimit l;
	struct err err;

	set_limit(200, 600);
	ck_assert_msg(descriptors_raise(&err) == 0, "%s", err.msg);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &l), 0);
	ck_assert_uint_eq(l.rlim_cur, 600);
	ck_assert_uint_eq(descriptors_limit(), 600);
	ck_assert_uint_eq(descriptors_for_http(256), 37);
	ck_assert_uint_eq(descriptors_for_http(8), 8);
}
END_TEST

START_TEST(too_few)
{
	struct err err;

	set_limit(DESCRIPTORS_MIN, DESCRIPTORS_MIN);
	ck_assert_int_eq(descriptors_raise(&err), 0);
	set_limit(DESCRIPTORS_MIN - 1, DESCRIPTORS_MIN - 1);
	ck_assert_int_eq(descriptors_raise(&err), -1);
	ck_assert_msg(strstr(err.msg, "127 open files are allowed"), "%s", err.msg);
	ck_assert_msg(strstr(err.msg, "LimitNOFILE"), "%s", err.msg);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("descriptors");
	TCase *tc = tcase_create("descriptors");

	tcase_add_test(tc, used_is_what_is_open);
	tcase_add_test(tc, soft_becomes_hard);
	tcase_add_test(tc, too_few);
	suite_add_tcase(suite, tc);
	return suite;
}
