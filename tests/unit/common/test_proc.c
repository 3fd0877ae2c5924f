/* proc against real processes */
#include "common/proc.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define NOBODY 65534

static int kill_parent(void)
{
	struct err err;
	int pidfd;

	if (proc_pidfd(getppid(), &pidfd, &err) < 0)
		return 1;
	return proc_kill(pidfd, &err) == -1 && err.code == ERR_DENIED ? 0 : 2;
}

START_TEST(kill_of_somebody_else)
{
	pid_t pid;
	int status;

	if (geteuid() != 0)
		return;
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
		    setresuid(NOBODY, NOBODY, NOBODY))
			_exit(100);
		_exit(kill_parent());
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child: status %#x", status);
}
END_TEST

/* Names made to mislead: what counts is behind the last bracket. */
static const char *const names[] = {"plain", "a b c", ") S 1 2 3", "((",
				    "))",    "a) (b", "\n1 2\n",   ") R 1 1 1 1 1 1"};

START_TEST(start_time_whatever_the_name)
{
	uint64_t before = proc_start_time(getpid());
	struct timespec now;
	double ticks = (double)sysconf(_SC_CLK_TCK), age;

	ck_assert_uint_gt(before, 0);
	ck_assert_int_eq(prctl(PR_SET_NAME, names[_i]), 0);
	ck_assert_msg(proc_start_time(getpid()) == before, "%s", names[_i]);
	clock_gettime(CLOCK_BOOTTIME, &now);
	age = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec - (double)before / ticks;
	ck_assert_msg(age > -0.1 && age < 60, "%s: started %f s ago", names[_i], age);
}
END_TEST

static bool has_ended(void *pidfd)
{
	return proc_ended(*(int *)pidfd);
}

START_TEST(start_time_of_the_dead)
{
	pid_t pid = fork();
	struct err err;
	int pidfd, status;
	uint64_t start;

	if (pid == 0)
		for (;;)
			pause();
	start = proc_start_time(pid);
	ck_assert_uint_ge(start, proc_start_time(getpid()));
	ck_assert_int_eq(proc_pidfd(pid, &pidfd, &err), 0);
	ck_assert_int_eq(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
	ck_assert(!proc_ended(pidfd));
	ck_assert_int_eq(proc_kill(pidfd, &err), 0);
	ck_assert(harness_wait(has_ended, &pidfd, 2000));
	/* Not yet waited for: still known by the same time. */
	ck_assert_uint_eq(proc_start_time(pid), start);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_uint_eq(proc_start_time(pid), 0);
	close(pidfd);
	pidfd = -7;
	ck_assert_int_eq(proc_pidfd(pid, &pidfd, &err), -1);
	ck_assert_int_eq(err.code, ERR_NOTFOUND);
	ck_assert_int_eq(pidfd, -7);
	ck_assert_uint_eq(proc_start_time(0), 0);
	ck_assert_uint_eq(proc_start_time(-1), 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("proc");
	TCase *tc = tcase_create("proc");

	tcase_add_test(tc, kill_of_somebody_else);
	tcase_add_loop_test(tc, start_time_whatever_the_name, 0, ARRAY_LEN(names));
	tcase_add_test(tc, start_time_of_the_dead);
	suite_add_tcase(suite, tc);
	return suite;
}
