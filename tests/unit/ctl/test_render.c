/* What uffdctl shows to people: on terminals, and nowhere else. */
#include <check.h>
#include <fcntl.h>
#include <pty.h>
#include <string.h>

#include "common/js.h"
#include "ctl/progress.h"
#include "ctl/render.h"
#include "ctl/wait.h"
#include "tests/fakes/http/canned.h"
#include "tests/support/runner.h"

#define RESTORE(id, state, more) \
	"{\"id\":\"" id "\",\"tenant\":\"t1\",\"state\":\"" state "\"" more "}"
#define VM1 RESTORE("vm1", "serving", "")
#define PART(items, token) "{\"items\":[" items "],\"next_page_token\":" token "}"

/* What a terminal of @columns gets to see; the program's stdout or stderr is on it. */
static char *on_terminal(struct run *run, const struct canned_reply *script, bool out,
			 unsigned short columns)
{
	struct winsize size = {.ws_row = 24, .ws_col = columns};
	char *seen = xcalloc(1, 65536);
	struct canned server;
	struct ran ran;
	ssize_t n;
	size_t len = 0;
	int main_fd, side_fd, fds[2];
	pid_t pid;

	ck_assert_int_eq(openpty(&main_fd, &side_fd, NULL, NULL, &size), 0);
	fcntl(main_fd, F_SETFD, FD_CLOEXEC);
	fcntl(side_fd, F_SETFD, FD_CLOEXEC);
	*(out ? &run->out_fd : &run->err_fd) = side_fd;
	canned_start(&server, script);
	run->socket = server.socket;
	pid = ran_start(run, fds);
	close(side_fd);
	/* The read fails once nobody holds the other side. */
	while (len < 65535 && (n = read(main_fd, seen + len, 65535 - len)) > 0)
		len += (size_t)n;
	ran_finish(&ran, pid, fds);
	free(canned_stop(&server));
	close(main_fd);
	ck_assert_msg(ran.code == 0, "%d %s", ran.code, seen);
	ran_fini(&ran);
	return seen;
}

#define STEP(state, resident)                                                              \
	{                                                                                  \
		200, RESTORE("vm1", state,                                                 \
			     ",\"memory\":{\"total_bytes\":1000,"                          \
			     "\"resident_bytes\":" resident "},\"faults\":{\"count\":42}") \
	}

/* clang-format off */
static const struct canned_reply steps[] = {
	STEP("waiting", "0"), STEP("serving", "500"), STEP("ended", "1000"), {0},
};
/* clang-format on */

START_TEST(progress_bar)
{
	static const unsigned short widths[] = {40, 60, 200};

	for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
		struct run run = {.args = "wait vm1 --for ended"};
		cleanup_free char *seen = on_terminal(&run, steps, false, widths[i]);
		const char *last = strrchr(seen, '\n');

		ck_assert_msg(strstr(seen, "\rvm1 waiting "), "%s", seen);
		ck_assert_msg(strstr(seen, "vm1 serving ") && strstr(seen, " 50% "), "%s", seen);
		ck_assert_msg(strstr(seen, "100% ") && strstr(seen, "B/s 42 faults"), "%s", seen);
		/* Each picture covers the one before, and the last one is left as a line. */
		ck_assert_msg(last && last[1] == '\0' && strchr(seen, '\n') == last, "%s", seen);
		for (const char *p = strchr(seen, '\r'); p && p[1] != '\n'; p = strchr(p + 1, '\r'))
			ck_assert_msg(strcspn(p + 1, "\033\r") < widths[i], "%d: %s", widths[i],
				      seen);
		ck_assert_msg((strstr(seen, "[####") != NULL) == (widths[i] > 40), "%s", seen);
	}
}
END_TEST

START_TEST(no_bar_when_not_wanted)
{
	static const char *const dumb[] = {"TERM=dumb", NULL};
	static const struct {
		const char *args;
		const char *const *env;
	} cases[] = {
		{"wait vm1 --for ended -o json", NULL},
		{"wait vm1 --for ended -q", NULL},
		{"wait vm1 --for ended", dumb},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct run run = {.args = cases[i].args, .env = cases[i].env};
		cleanup_free char *seen = on_terminal(&run, steps, false, 80);

		ck_assert_msg(*seen == '\0', "%s: %s", run.args, seen);
	}
}
END_TEST

START_TEST(colours)
{
	static const char *const no_color[] = {"NO_COLOR=1", NULL};
	static const char *const empty[] = {"NO_COLOR=", NULL};
	static const char *const dumb[] = {"TERM=dumb", NULL};
	static const struct canned_reply script[] = {{200, PART(VM1, "null")}, {0}};
	/* clang-format off */
	static const struct {
		const char *args;
		const char *const *env;
		bool coloured;
	} cases[] = {
		{"list", NULL, true},     {"list", empty, true}, {"list", no_color, false},
		{"list", dumb, false},    {"list -o json", NULL, false}, {"list -q", NULL, false},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct run run = {.args = cases[i].args, .env = cases[i].env};
		cleanup_free char *seen = on_terminal(&run, script, true, 80);

		ck_assert_msg((strchr(seen, '\033') != NULL) == cases[i].coloured, "%zu: %s", i,
			      seen);
		ck_assert_msg(strstr(seen, "serving") || strstr(seen, "vm1"), "%zu: %s", i, seen);
		/* Colours must not move the columns. */
		ck_assert_msg(!cases[i].coloured ||
				      (strstr(seen, "\033[32mserving\033[0m         -") &&
				       strstr(seen, "STATE    RESIDENT")),
			      "%s", seen);
	}
}
END_TEST

/* ---- pieces ---- */

START_TEST(sizes)
{
	/* clang-format off */
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0 B"}, {1023, "1023 B"}, {1024, "1 KiB"}, {1536, "1.5 KiB"},
		{1048575, "1.0 MiB"}, {(uint64_t)512 << 20, "512 MiB"},
		{(uint64_t)3 << 30, "3 GiB"}, {UINT64_MAX, "16 EiB"},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[32];

		render_size(cases[i].bytes, text, sizeof(text));
		ck_assert_str_eq(text, cases[i].text);
	}
}
END_TEST

START_TEST(verdicts)
{
	static const struct {
		const char *restore, *goal;
		enum wait_verdict verdict;
	} cases[] = {
		{RESTORE("a", "waiting", ""), "serving", WAIT_ON},
		{RESTORE("a", "waiting", ""), "waiting", WAIT_REACHED},
		{RESTORE("a", "serving", ""), "waiting", WAIT_LOST},
		{RESTORE("a", "recovering", ""), "serving", WAIT_ON},
		{RESTORE("a", "serving", ""), "complete", WAIT_ON},
		{RESTORE("a", "serving", ",\"complete\":true"), "complete", WAIT_REACHED},
		{RESTORE("a", "serving", ",\"complete\":true"), "ended", WAIT_ON},
		{RESTORE("a", "ended", ",\"complete\":true"), "complete", WAIT_REACHED},
		{RESTORE("a", "ended", ""), "complete", WAIT_LOST},
		{RESTORE("a", "ended", ""), "failed", WAIT_LOST},
		{RESTORE("a", "failed", ""), "ended", WAIT_FAILED},
		{RESTORE("a", "failed", ""), "waiting", WAIT_FAILED},
		{RESTORE("a", "failed", ""), "failed", WAIT_REACHED},
		{RESTORE("a", "a state to come", ""), "serving", WAIT_ON},
		{"{}", "serving", WAIT_ON},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_json struct json_object *o = json_tokener_parse(cases[i].restore);

		ck_assert_msg(wait_judge(o, cases[i].goal) == cases[i].verdict, "%s for %s",
			      cases[i].restore, cases[i].goal);
	}
}
END_TEST

/* Any width, any bytes: one line that fits. */
START_TEST(bar_fits)
{
	cleanup_json struct json_object *o =
		json_tokener_parse(RESTORE("a\\u001b[2Jb", "serving",
					   ",\"memory\":{\"total_bytes\":8,\"resident_bytes\":4}"));
	char line[201];

	ck_assert_ptr_nonnull(o);
	for (size_t columns = 1; columns <= 200; columns++) {
		progress_line(o, 1e9, columns, line, sizeof(line));
		ck_assert_msg(strlen(line) < columns, "%zu: %s", columns, line);
		ck_assert_ptr_null(strchr(line, '\033'));
	}
	ck_assert_msg(strstr(line, "[####################--------------------]  50% 953.7 MiB/s "),
		      "%s", line);
}
END_TEST

/* Nobody is even asked. */
START_TEST(no_bytes_to_a_terminal)
{
	struct run run = {.args = "working-set vm1", .socket = "/nonexistent"};
	int main_fd, side_fd, fds[2];
	struct ran ran;
	pid_t pid;

	ck_assert_int_eq(openpty(&main_fd, &side_fd, NULL, NULL, NULL), 0);
	fcntl(main_fd, F_SETFD, FD_CLOEXEC);
	fcntl(side_fd, F_SETFD, FD_CLOEXEC);
	run.out_fd = side_fd;
	pid = ran_start(&run, fds);
	ran_finish(&ran, pid, fds);
	ck_assert_int_eq(ran.code, 2);
	ck_assert_msg(strstr(ran.err, "redirect stdout to a file"), "%s", ran.err);
	ran_fini(&ran);
	close(side_fd);
	close(main_fd);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("render");
	TCase *tcase = tcase_create("render");

	tcase_add_test(tcase, progress_bar);
	tcase_add_test(tcase, no_bar_when_not_wanted);
	tcase_add_test(tcase, colours);
	tcase_add_test(tcase, sizes);
	tcase_add_test(tcase, verdicts);
	tcase_add_test(tcase, bar_fits);
	tcase_add_test(tcase, no_bytes_to_a_terminal);
	suite_add_tcase(suite, tcase);
	return suite;
}
