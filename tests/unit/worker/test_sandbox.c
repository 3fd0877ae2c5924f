/* test_sandbox - what a worker gives up besides system calls: in a process of its own */
#include <config.h>

#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/support/harness.h"
#include "tests/support/runner.h"
#include "tests/support/sandboxkit.h"

/* ---- what is given up besides ---- */

/* A number of /proc/PID/status, in hexadecimal; read from outside, for inside nothing opens. */
static unsigned long long status_of(pid_t pid, const char *name)
{
	unsigned long long value = UINT64_MAX;
	char path[64], line[256];
	cleanup_file FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, name, strlen(name)) == 0)
			sscanf(line + strlen(name), ":%llx", &value);
	ck_assert_msg(value != UINT64_MAX, "no %s", name);
	return value;
}

/* It is in that stage when this returns, and lives until it is killed. */
static pid_t start_in(enum stage stage, enum who who)
{
	int said[2];
	char byte = 0;
	pid_t pid;

	ck_assert_int_eq(pipe2(said, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		struct pollfd p = {.fd = -1};
		struct err err;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (enter(stage, who, &err))
			_exit(255);
		if (stage == FREE)
			prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		/* A holder may not even write; its end of the pipe says it. */
		close(said[1]);
		poll(&p, 1, -1);
		_exit(0);
	}
	close(said[1]);
	ck_assert_int_eq(read(said[0], &byte, 1), 0);
	close(said[0]);
	return pid;
}

static void end(pid_t pid)
{
	int status;

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status), "it had ended: %d", status);
}

START_TEST(test_capabilities)
{
	static const char *const kinds[] = {"CapInh", "CapPrm", "CapEff"};
	const bool kept = _i == FREE || _i == BEGUN;
	unsigned long long all = 0;
	pid_t pid = start_in((enum stage)_i, ROOT);

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		all |= status_of(pid, kinds[i]);
	if (geteuid() == 0)
		ck_assert_msg((all != 0) == kept, "%s: %llx", stage_names[_i], all);
	ck_assert_uint_eq(status_of(pid, "NoNewPrivs"), _i == FREE ? 0 : 1);
	if (FILTERED)
		ck_assert_uint_eq(status_of(pid, "Seccomp"), _i == FREE ? 0 : 2);
	end(pid);
}
END_TEST

/* What is left of a resource, and from which stage on; in the holder, too. */
/* clang-format off */
static const struct {
	const char *what;
	int resource;
	enum stage since;
	rlim_t serves, holds;
} limits[] = {
	/* Guest memory would be in a core. */
	{"core", RLIMIT_CORE, BEGUN, 0, 0},
	{"locked memory", RLIMIT_MEMLOCK, BEGUN, 0, 0},
	{"message queues", RLIMIT_MSGQUEUE, BEGUN, 0, 0},
	{"real time", RLIMIT_RTPRIO, BEGUN, 0, 0},
	{"file size", RLIMIT_FSIZE, CLOSED, 4096, 0},
	{"processes", RLIMIT_NPROC, HOLDING, 0, 0},
};
/* clang-format on */

START_TEST(test_limits)
{
	pid_t pid = start_in((enum stage)_i, ROOT);

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		rlim_t want = _i == HOLDING ? limits[i].holds : limits[i].serves;
		struct rlimit l;

		/* The page map is made before the last phase. */
		if (_i == CLOSED && limits[i].resource == RLIMIT_FSIZE)
			want = 1 << 20;
		ck_assert_int_eq(prlimit(pid, (__rlimit_resource_t)limits[i].resource, NULL, &l),
				 0);
		if (_i >= (int)limits[i].since)
			ck_assert_msg(l.rlim_cur == want && l.rlim_max == want, "%s: %ju, %ju",
				      limits[i].what, (uintmax_t)l.rlim_cur, (uintmax_t)l.rlim_max);
	}
	end(pid);
}
END_TEST

/* Can a process of the same user look into it? */
static bool can_be_seen(pid_t pid)
{
	char path[64];
	int status;
	pid_t looks;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	looks = fork();
	if (looks == 0) {
		if (setgroups(0, NULL) || setresgid(SOMEBODY, SOMEBODY, SOMEBODY) ||
		    setresuid(SOMEBODY, SOMEBODY, SOMEBODY))
			_exit(255);
		_exit(open(path, O_RDONLY | O_CLOEXEC) < 0 ? errno : 0);
	}
	ck_assert_int_eq(waitpid(looks, &status, 0), looks);
	ck_assert_msg(status == 0 || WEXITSTATUS(status) == EACCES, "%#x", status);
	return status == 0;
}

/* Nobody but root may look into it. */
START_TEST(test_not_dumpable)
{
	pid_t pid;

	if (geteuid()) {
		fputs("# only root can become somebody else: skipped\n", stderr);
		return;
	}
	pid = start_in((enum stage)_i, ANOTHER);
	ck_assert_msg(can_be_seen(pid) == (_i == FREE), "%s", stage_names[_i]);
	end(pid);
}
END_TEST

/* ---- who it is ---- */

static void become(int out)
{
	gid_t got[8];
	uid_t uid[3];
	gid_t gid[3];
	struct err err;
	bool right;

	if (sandbox_become(SOMEBODY, SOMEBODY - 1, groups, ARRAY_LEN(groups), &err))
		_exit(1);
	right = getresuid(&uid[0], &uid[1], &uid[2]) == 0 &&
		getresgid(&gid[0], &gid[1], &gid[2]) == 0 &&
		getgroups(8, got) == ARRAY_LEN(groups) && memcmp(got, groups, sizeof(groups)) == 0;
	for (int i = 0; i < 3; i++)
		right = right && uid[i] == SOMEBODY && gid[i] == SOMEBODY - 1;
	/* And there is no way back. */
	right = right && setuid(0) < 0 && setgid(0) < 0 && seteuid(0) < 0;
	if (write(out, &right, sizeof(right)) != sizeof(right))
		_exit(2);
	_exit(0);
}

START_TEST(test_become)
{
	bool right = false;
	int said[2];
	pid_t pid;

	if (geteuid()) {
		fputs("# only root can become somebody else: skipped\n", stderr);
		return;
	}
	ck_assert_int_eq(pipe2(said, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0)
		become(said[1]);
	close(said[1]);
	ck_assert_int_eq(read(said[0], &right, sizeof(right)), sizeof(right));
	ck_assert(right);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	close(said[0]);
}
END_TEST

static int become_another(void)
{
	struct err err;
	int rc;

	if (setresuid(SOMEBODY, SOMEBODY, SOMEBODY))
		return -1;
	rc = sandbox_become(1, 1, groups, ARRAY_LEN(groups), &err);
	if (rc == 0 || err.code != ERR_SYSTEM || !strstr(err.msg, "take on the caller's 3 groups"))
		return 0;
	errno = err.sys;
	return -1;
}

START_TEST(test_may_not_become)
{
	if (geteuid() == 0)
		ck_assert_int_eq(try(FREE, ROOT, become_another), EPERM);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("sandbox");
	TCase *t = tcase_create("sandbox");

	tcase_add_loop_test(t, test_capabilities, 0, STAGES);
	tcase_add_loop_test(t, test_limits, 0, STAGES);
	tcase_add_loop_test(t, test_not_dumpable, 0, STAGES);
	tcase_add_test(t, test_become);
	tcase_add_test(t, test_may_not_become);
	suite_add_tcase(s, t);
	return s;
}
