/* test_selftest - what the daemon makes of a libevent, and that it finds this one good */
#include "daemon/selftest.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/support/fds.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

START_TEST(selftest)
{
	static const struct {
		int status, rc;
		const char *says;
	} verdicts[] = {
		{0, 0, ""},
		{SIGABRT, -1, "install libevent >= 2.1.12-stable-8+deb12u1"},
		{SIGABRT | 0x80, -1, "install libevent"},
		{SIGSEGV, -1, "CVE-2026-63388"},
		{SIGBUS, -1, "CVE-2026-63388"},
		{SIGXCPU, -1, "does not end"},
		{SIGKILL, -1, "wait status 0x9"},
		{1 << 8, -1, "could not set up"},
		{2 << 8, -1, "no reply"},
		{3 << 8, -1, "differently"},
		{77 << 8, -1, "wait status 0x4d00"},
	};
	int before = fds_count(getpid());
	struct err err = {.msg = ""};

	for (size_t i = 0; i < ARRAY_LEN(verdicts); i++) {
		ck_assert_int_eq(selftest_verdict(verdicts[i].status, &err), verdicts[i].rc);
		ck_assert_msg(verdicts[i].rc == 0 ||
				      (strstr(err.msg, verdicts[i].says) && err.code == ERR_SYSTEM),
			      "0x%x: %s", (unsigned)verdicts[i].status, err.msg);
	}
	ck_assert_msg(selftest_libevent(&err) == 0, "%s", err.msg);
	ck_assert_int_eq(fds_count(getpid()), before);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}
END_TEST

/* Longer than anybody would wait for it on a host that runs it. */
#define STILL_MS 1500

/* True when it is about to connect: now it has begun. */
static bool connects(pid_t pid)
{
	struct __ptrace_syscall_info info = {0};

	ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info);
	return info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_connect;
}

static void try_traced(void) __attribute__((noreturn));
static void try_traced(void)
{
	struct err err;
	int rc;

	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	rc = selftest_libevent(&err);
	if (rc)
		fprintf(stderr, "%s\n", err.msg);
	_exit(rc ? 1 : 0);
}

/* Whatever stops: on, but for the child in the middle of it, once. */
static void go_on(pid_t pid, int status, pid_t parent)
{
	int sig = WSTOPSIG(status);

	if (pid == parent) {
		ptrace(PTRACE_CONT, pid, NULL, sig == SIGTRAP || sig == SIGSTOP ? 0 : sig);
	} else if (connects(pid)) {
		poll(NULL, 0, STILL_MS);
		ptrace(PTRACE_DETACH, pid, NULL, 0);
	} else {
		ptrace(PTRACE_SYSCALL, pid, NULL, 0);
	}
}

/* However long it takes, libevent is what it is. */
START_TEST(selftest_on_a_busy_host)
{
	pid_t parent = fork(), pid;
	int status;

	if (parent == 0)
		try_traced();
	ck_assert_int_eq(waitpid(parent, &status, 0), parent);
	ck_assert_int_eq(ptrace(PTRACE_SETOPTIONS, parent, NULL,
				PTRACE_O_TRACEFORK | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL),
			 0);
	ptrace(PTRACE_CONT, parent, NULL, 0);
	while ((pid = waitpid(-1, &status, __WALL)) != parent || WIFSTOPPED(status)) {
		ck_assert_int_gt(pid, 0);
		if (WIFSTOPPED(status))
			go_on(pid, status, parent);
	}
	ck_assert_int_eq(status, 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("selftest");
	TCase *tc = tcase_create("selftest");

	tcase_add_test(tc, selftest);
	tcase_add_test(tc, selftest_on_a_busy_host);
	suite_add_tcase(suite, tc);
	return suite;
}
