/* test_fault_injection - whom a point stops or kills, and when; built with FAULT_POINTS */
#include "worker/fault_injection.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define MINE "my-restore"
#define PASSED 77 /* exit code of who came through */

static char *dir; /* of the test case */

/* Unchecked: they run in the runner, so that a failed test leaves nothing behind. */
static void make_dir(void)
{
	dir = harness_tmpdir();
}

static void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
}

static char *file_of(const char *id)
{
	char *path;

	ck_assert_int_gt(asprintf(&path, "%s/%s", dir, id), 0);
	return path;
}

static void arm(const char *id, const char *text)
{
	cleanup_free char *path = file_of(id);
	cleanup_file FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
}

static bool is_there(const char *id)
{
	cleanup_free char *path = file_of(id);

	return access(path, F_OK) == 0;
}

static void pass(enum fault_point point, int times)
{
	for (int i = 0; i < times; i++)
		fault_point(point);
}

/* A worker that is assigned MINE, and passes two points so many times. */
static pid_t start(const char *where, int installs, int steps)
{
	pid_t pid = fork();

	if (pid == 0) {
		const struct rlimit no_core = {0, 0};

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setrlimit(RLIMIT_CORE, &no_core);
		if (where)
			setenv("UFFDD_FAULT", where, 1);
		else
			unsetenv("UFFDD_FAULT");
		fault_arm(MINE);
		pass(FAULT_AFTER_INSTALL, installs);
		pass(FAULT_BEFORE_STEP, steps);
		_exit(PASSED);
	}
	return pid;
}

static int end_of(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	return status;
}

static bool was_killed(int status, int sig)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == sig;
}

static bool came_through(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == PASSED;
}

/* At that passage of that point, and no sooner. */
static const struct {
	const char *text;
	int installs, steps;
	bool killed;
} passages[] = {
	{"after-install:1:kill", 1, 0, true},  {"after-install:1:kill", 0, 9, false},
	{"after-install:3:kill", 2, 9, false}, {"after-install:3:kill", 3, 0, true},
	{"before-step:2:kill\n", 9, 1, false}, {"before-step:2:kill\n", 9, 2, true},
};

START_TEST(test_passage)
{
	int status;

	arm(MINE, passages[_i].text);
	status = end_of(start(dir, passages[_i].installs, passages[_i].steps));
	if (passages[_i].killed)
		ck_assert_msg(was_killed(status, SIGKILL), "%s: %#x", passages[_i].text, status);
	else
		ck_assert_msg(came_through(status), "%s: %#x", passages[_i].text, status);
	ck_assert_msg(!is_there(MINE), "the next worker would find it, too");
}
END_TEST

/* Once: who goes on passes the point again. */
START_TEST(test_stop)
{
	pid_t pid;
	int status;

	arm(MINE, "after-install:2:stop");
	pid = start(dir, 9, 9);
	status = end_of(pid);
	ck_assert_msg(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "%#x", status);
	ck_assert_int_eq(kill(pid, SIGCONT), 0);
	ck_assert(came_through(end_of(pid)));
}
END_TEST

/* Another restore's file is left to that. */
START_TEST(test_not_meant)
{
	arm("another", "after-install:1:kill");
	ck_assert(came_through(end_of(start(dir, 9, 9))));
	ck_assert(is_there("another"));
	arm(MINE, "after-install:1:kill");
	ck_assert(came_through(end_of(start(NULL, 9, 9))));
	ck_assert(is_there(MINE));
}
END_TEST

/* A test that names nothing must not pass for that. */
static const char *const wrong[] = {
	"",
	"after-install",
	"after-install:1",
	"after-install:0:kill",
	"after-install:x:kill",
	"no-such-point:1:kill",
	"after-install:1:maim",
};

START_TEST(test_wrong)
{
	arm(MINE, wrong[_i]);
	ck_assert_msg(was_killed(end_of(start(dir, 0, 0)), SIGABRT), "\"%s\"", wrong[_i]);
}
END_TEST

/* Passes all but @point, says so, and then @point. */
static void pass_all(enum fault_point point, int said)
{
	setenv("UFFDD_FAULT", dir, 1);
	fault_arm(MINE);
	for (int other = 0; other < FAULT_COUNT; other++)
		if (other != (int)point)
			fault_point((enum fault_point)other);
	if (write(said, "", 1) == 1)
		fault_point(point);
	_exit(PASSED);
}

static const struct {
	enum fault_point point;
	const char *name;
} points[] = {
#define X(point, name) {point, name},
	FAULT_TABLE(X)
#undef X
};

/* Each has its own name. */
START_TEST(test_name)
{
	char text[64], byte;
	int said[2];
	pid_t pid;

	snprintf(text, sizeof(text), "%s:1:kill", points[_i].name);
	arm(MINE, text);
	ck_assert_int_eq(pipe2(said, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0)
		pass_all(points[_i].point, said[1]);
	close(said[1]);
	ck_assert_msg(read(said[0], &byte, 1) == 1, "another point did it");
	ck_assert_msg(was_killed(end_of(pid), SIGKILL), "%s", points[_i].name);
	close(said[0]);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("fault_injection");
	TCase *t = tcase_create("points");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_loop_test(t, test_passage, 0, ARRAY_LEN(passages));
	tcase_add_test(t, test_stop);
	tcase_add_test(t, test_not_meant);
	tcase_add_loop_test(t, test_wrong, 0, ARRAY_LEN(wrong));
	tcase_add_loop_test(t, test_name, 0, ARRAY_LEN(points));
	suite_add_tcase(s, t);
	return s;
}
