/* test_worker_user - as whom root is served, and whom the kernel's word about a worker means */
#include "daemon/worker_user.h"

#include <pwd.h>
#include <string.h>

#include "tests/support/runner.h"

static struct conf conf;

static void setup(void)
{
	conf_defaults(&conf);
}

static struct worker_user find(void)
{
	struct worker_user u;
	struct err err;

	ck_assert_msg(worker_user_find(&conf, &u, &err) == 0, "%s", err.msg);
	return u;
}

START_TEST(test_by_name)
{
	const struct passwd *p = getpwnam(WORKER_USER_NAME);
	struct worker_user u = find();

	ck_assert_int_eq(u.apart, geteuid() == 0);
	ck_assert_uint_eq(u.uid, p ? p->pw_uid : WORKER_USER_ID);
	ck_assert_uint_eq(u.gid, p ? p->pw_gid : WORKER_USER_ID);
}
END_TEST

START_TEST(test_by_conf)
{
	const struct passwd *nobody = getpwnam("nobody");
	struct worker_user u;

	conf.worker_uid = 4000000000;
	u = find();
	ck_assert_uint_eq(u.uid, 4000000000);
	ck_assert_uint_eq(u.gid, 4000000000);
	conf.worker_gid = 7;
	u = find();
	ck_assert_uint_eq(u.uid, 4000000000);
	ck_assert_uint_eq(u.gid, 7);
	if (!nobody)
		return;
	conf.worker_uid = nobody->pw_uid;
	conf.worker_gid = 0;
	u = find();
	ck_assert_uint_eq(u.uid, nobody->pw_uid);
	ck_assert_uint_eq(u.gid, nobody->pw_gid);
}
END_TEST

/* Root alone; and of an unprivileged uffdd nobody. */
START_TEST(test_serves)
{
	const struct worker_user apart = {true, 7, 8}, same = {false, 7, 8};

	ck_assert(worker_user_serves(&apart, 0));
	ck_assert(!worker_user_serves(&apart, 7));
	ck_assert(!worker_user_serves(&apart, 1000));
	ck_assert(!worker_user_serves(&same, 0));
	ck_assert(worker_user_is(&apart, 7));
	ck_assert(!worker_user_is(&apart, 0));
	ck_assert(!worker_user_is(&same, 7));
}
END_TEST

/* A worker of that user serves root, and has none of root's groups; others serve themselves. */
START_TEST(test_caller)
{
	const struct worker_user apart = {true, 7, 8}, same = {false, 7, 8};
	const struct sock_peer worker = {.pid = 1, .uid = 7, .gid = 8, .ngroups = 1},
			       tenant = {.pid = 2, .uid = 1000, .gid = 100, .ngroups = 2},
			       root = {.pid = 3, .gid = 4, .ngroups = 3};
	struct sock_peer got = worker_user_caller(&apart, &worker);

	ck_assert_int_eq(got.pid, 1);
	ck_assert_uint_eq(got.uid, 0);
	ck_assert_uint_eq(got.gid, 0);
	ck_assert_uint_eq(got.ngroups, 0);
	got = worker_user_caller(&apart, &tenant);
	ck_assert_mem_eq(&got, &tenant, sizeof(got));
	/* Of a release that served root as root. */
	got = worker_user_caller(&apart, &root);
	ck_assert_mem_eq(&got, &root, sizeof(got));
	got = worker_user_caller(&same, &worker);
	ck_assert_mem_eq(&got, &worker, sizeof(got));
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("worker_user");
	TCase *t = tcase_create("user");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, test_by_name);
	tcase_add_test(t, test_by_conf);
	tcase_add_test(t, test_serves);
	tcase_add_test(t, test_caller);
	suite_add_tcase(s, t);
	return s;
}
