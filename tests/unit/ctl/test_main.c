/* The program around the verbs: signals, a stdout that fails, words that are no verb. */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <string.h>

#include "tests/support/ctlkit.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

/* What the program has put on its terminal, up to @text. */
static void read_until(int fd, char *seen, size_t room, const char *text)
{
	size_t len = 0;

	memset(seen, 0, room);
	while (!strstr(seen, text)) {
		struct pollfd p = {fd, POLLIN, 0};
		ssize_t n;

		ck_assert_msg(poll(&p, 1, harness_scale_ms(HARNESS_MS)) == 1, "%s", seen);
		n = read(fd, seen + len, room - 1 - len);
		ck_assert_msg(n > 0, "%s", seen);
		len += (size_t)n;
	}
}

/* The exit code is the shell's, and the prompt comes on a line of its own. */
START_TEST(ended_by_a_signal)
{
	static const int signals[] = {SIGINT, SIGTERM};
	/* The second request waits for an answer until the signal comes. */
	const struct canned_reply script[] = {{200, VM1}, {0}};
	struct winsize size = {.ws_row = 24, .ws_col = 60};
	struct run run = {.args = "wait vm1 --for ended --timeout 1h"};
	struct canned server;
	struct ran ran;
	int main_fd, side_fd, fds[2];
	char seen[4096];
	pid_t pid;

	canned_start(&server, script);
	ck_assert_int_eq(openpty(&main_fd, &side_fd, NULL, NULL, &size), 0);
	fcntl(main_fd, F_SETFD, FD_CLOEXEC);
	fcntl(side_fd, F_SETFD, FD_CLOEXEC);
	run.socket = server.socket;
	run.err_fd = side_fd;
	pid = ran_start(&run, fds);
	read_until(main_fd, seen, sizeof(seen), "\033[K");
	ck_assert_ptr_null(strchr(seen, '\n'));
	kill(pid, signals[_i]);
	ran_finish(&ran, pid, fds);
	read_until(main_fd, seen, sizeof(seen), "\r\n");
	free(canned_stop(&server));
	close(side_fd);
	close(main_fd);
	ck_assert_int_eq(ran.code, 128 + signals[_i]);
	ck_assert_str_eq(seen, "\r\n");
	ck_assert_str_eq(ran.out, "");
	ran_fini(&ran);
}
END_TEST

/* A verb that failed keeps its own code; one that did its work has not, if nobody can read it. */
START_TEST(full_disk)
{
#define PAGES(next) "{\"exact\":true,\"runs\":[{}],\"next_offset\":" next "}"
	static const struct {
		struct canned_reply script[3];
		int code;
		const char *err;
	} cases[] = {
		{{{200, PAGES("null")}}, 1, "uffdctl: write to stdout: No space left on device\n"},
		{{{200, PAGES("4096")}, {404, PROBLEM(404, "not-found", "D")}},
		 3,
		 "uffdctl: D (not-found)\nuffdctl: write to stdout: No space left on device\n"},
	};
	struct run run = {.args = "pages vm1", .out_fd = open("/dev/full", O_WRONLY | O_CLOEXEC)};
	struct canned server;
	struct ran ran;

	ck_assert_int_gt(run.out_fd, 0);
	canned_start(&server, cases[_i].script);
	run.socket = server.socket;
	ran_run(&ran, &run);
	free(canned_stop(&server));
	close(run.out_fd);
	ck_assert_int_eq(ran.code, cases[_i].code);
	ck_assert_str_eq(ran.err, cases[_i].err);
	ran_fini(&ran);
}
END_TEST

#define VERBS                                                                          \
	"create list show wait stop prefetch pages working-set events status version " \
	"pause resume restart-worker tenant"

/* Help and version come before everything that is wrong behind the verb. */
START_TEST(before_the_verb_runs)
{
	static const struct {
		const char *args;
		int code;
		const char *out, *err; /* the beginning; "": nothing at all */
	} cases[] = {
		{"", 2, "", "Usage: uffdctl [OPTION]... VERB ...\n"},
		{"-h", 0, "Usage: uffdctl [OPTION]... VERB ...\n", ""},
		{"-V -h", 0, "Usage: uffdctl [OPTION]... VERB ...\n", ""},
		{"-V", 0, "uffdctl " PACKAGE_VERSION "\n", ""},
		{"show -h -V", 0, "Usage: uffdctl show [OPTION]... ID\n", ""},
		{"show a b -V", 0, "uffdctl " PACKAGE_VERSION "\n", ""},
		{"show a b -h", 0, "Usage: uffdctl show [OPTION]... ID\n", ""},
		{"show a b", 2, "",
		 "uffdctl show: \"b\" is one argument too many\nSee: uffdctl show --help\n"},
		{"show -x -h", 2, "",
		 "uffdctl show: there is no option -x\nSee: uffdctl show --help\n"},
		{"-x show", 2, "", "uffdctl: there is no option -x\nSee: uffdctl --help\n"},
		{"to\033p -h", 2, "",
		 "uffdctl: there is no verb \"to\\x1bp\"; there are: " VERBS
		 "\nSee: uffdctl --help\n"},
	};
	struct run run = {.args = cases[_i].args, .socket = CTLKIT_NOWHERE};
	struct ran ran;

	ran_run(&ran, &run);
	ck_assert_int_eq(ran.code, cases[_i].code);
	ck_assert_msg(strncmp(ran.out, cases[_i].out, strlen(cases[_i].out)) == 0, "%s", ran.out);
	ck_assert_msg(strncmp(ran.err, cases[_i].err, strlen(cases[_i].err)) == 0, "%s", ran.err);
	ck_assert_msg(*cases[_i].out || !*ran.out, "%s", ran.out);
	ck_assert_msg(*cases[_i].err || !*ran.err, "%s", ran.err);
	ran_fini(&ran);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("main");
	TCase *tcase = tcase_create("main");

	tcase_add_loop_test(tcase, ended_by_a_signal, 0, 2);
	tcase_add_loop_test(tcase, full_disk, 0, 2);
	tcase_add_loop_test(tcase, before_the_verb_runs, 0, 11);
	suite_add_tcase(suite, tcase);
	return suite;
}
