/*
 * sockkit - what the tests of sock share: a directory of each test's own, and a socket in it
 */
#ifndef UFFDD_TESTS_SOCKKIT_H
#define UFFDD_TESTS_SOCKKIT_H

#include <sys/socket.h>
#include <sys/stat.h>

#include "common/sock.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define NOBODY 65534

static char *base; /* made and removed by the runner, which outlives a failed test */
static char dir[80], path[128];

static inline void make_base(void)
{
	base = harness_tmpdir();
	ck_assert_int_eq(chmod(base, 0755), 0);
}

static inline void remove_base(void)
{
	harness_rmtree(base);
	free(base);
}

static inline void make_dir(void)
{
	snprintf(dir, sizeof(dir), "%s/%d", base, (int)getpid());
	snprintf(path, sizeof(path), "%s/s", dir);
	umask(022);
	ck_assert_int_eq(mkdir(dir, 0755), 0);
}

static inline void remove_dir(void)
{
	harness_rmtree(dir);
}

static inline int must_listen(mode_t mode, int type)
{
	struct err err;
	int fd;

	ck_assert_msg(sock_listen(path, type, sock_mode(mode), &fd, &err) == 0, "%s", err.msg);
	return fd;
}

static inline int must_connect(int type)
{
	struct err err;
	int fd;

	ck_assert_msg(sock_connect(path, type, &fd, &err) == 0, "%s", err.msg);
	return fd;
}

static inline TCase *add_case(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_unchecked_fixture(tc, make_base, remove_base);
	tcase_add_checked_fixture(tc, make_dir, remove_dir);
	suite_add_tcase(suite, tc);
	return tc;
}

#endif
