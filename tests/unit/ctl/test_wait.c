/* The verb wait: its polls, its verdicts, its line on a terminal. */
#include "ctl/wait.h"

#include <check.h>
#include <string.h>

#include "common/js.h"
#include "tests/support/ctlkit.h"
#include "tests/support/runner.h"

#define ASK "GET /v1/restores/vm1"
#define POLL(goal) ASK "?for=" goal "&wait=30000ms\n" /* as long as time is left */
#define DRAWN(goal) ASK "?for=" goal "&wait=1000ms\n" /* while the line is drawn */
#define PACE_US 100000                                /* between polls that are answered at once */

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

/* clang-format off */
static const struct ctlkit_case cases[] = {
	/* Rounds, until the goal is reached. */
	{"wait vm1 --timeout 1h", {{200, VM1}}, 0, "vm1 serving\n", NULL, POLL("serving")},
	{"wait vm1 --timeout 1h --for ended",
	 {{200, RESTORE("vm1", "waiting", "")}, {200, VM1}, {200, RESTORE("vm1", "ended", "")}}, 0,
	 "vm1 ended\n", NULL, POLL("ended") POLL("ended") POLL("ended")},
	/* After an answer that took its time the next poll comes at once. */
	{"wait vm1 --timeout 1h --for ended",
	 {{200, VM1 "\n", CANNED_PULSE, .pulse_ms = 150}, {200, VM2}}, 0, "vm2 ended\n", NULL,
	 POLL("ended") POLL("ended")},
	{"wait vm1 --timeout 1h --for complete",
	 {{200, VM1}, {200, RESTORE("vm1", "serving", ",\"complete\":true")}}, 0,
	 "vm1 serving complete\n", NULL, POLL("complete") POLL("complete")},
	{"wait vm1 --timeout 1h --for failed", {{200, RESTORE("vm1", "failed", "")}}, 0,
	 "vm1 failed\n", NULL, POLL("failed")},
	{"wait vm1 --timeout 1h -o json", {{200, VM1}}, 0, VM1 "\n", NULL, POLL("serving")},
	{"wait vm1 --timeout 1h -q", {{200, VM1}}, 0, "vm1\n", NULL, POLL("serving")},

	/* A goal that is out of reach. */
	{"wait vm1 --timeout 1h", {{200, RESTORE("vm1", "failed", ",\"reason\":\"no\\u0007page\"")}},
	 8, "vm1 failed: no\\x07page\n",
	 "uffdctl: vm1 has failed: no\\x07page (wrong-state)\n", POLL("serving")},
	{"wait vm1 --timeout 1h", {{200, RESTORE("vm1", "failed", ",\"reason\":null")}}, 8,
	 "vm1 failed\n", "uffdctl: vm1 has failed (wrong-state)\n", POLL("serving")},
	{"wait vm1 --timeout 1h", {{200, RESTORE("vm1", "failed", ",\"reason\":\"\"")}}, 8,
	 "vm1 failed\n", "uffdctl: vm1 has failed (wrong-state)\n", POLL("serving")},
	{"wait vm1 --timeout 1h --for complete",
	 {{200, RESTORE("vm1", "ended", ",\"reason\":\"stopped\"")}}, 6, "vm1 ended: stopped\n",
	 "uffdctl: vm1 is ended and can no longer become complete: stopped (wrong-state)\n",
	 POLL("complete")},
	{"wait vm1 --timeout 1h --for waiting", {{200, VM1}}, 6, "vm1 serving\n",
	 "uffdctl: vm1 is serving and can no longer become waiting (wrong-state)\n",
	 POLL("waiting")},
	{"wait vm1 --timeout 1h -o json", {{200, RESTORE("vm1", "failed", "")}}, 8,
	 RESTORE("vm1", "failed", "") "\n",
	 OWN_PROBLEM(409, "wrong-state", "Not possible in this state", "vm1 has failed"),
	 POLL("serving")},

	/* No time at all: one look, which does not wait. */
	{"wait vm1 --timeout 0s", {{200, VM1}}, 0, "vm1 serving\n", NULL, ASK "\n"},
	{"wait vm1 --timeout 0s", {{200, RESTORE("vm1", "waiting", ",\"reason\":\"r\"")}}, 4,
	 "vm1 waiting: r\n",
	 "uffdctl: vm1 is still waiting, not serving; --timeout gives it more time (timeout)\n",
	 ASK "\n"},
	{"wait vm1 --timeout 0s --for ended", {{200, "{}"}}, 4, "- -\n",
	 "uffdctl: vm1 is still in no known state, not ended; --timeout gives it more time "
	 "(timeout)\n", ASK "\n"},

	/* No answer, then or later. */
	{"wait vm1 --timeout 1h", {{404, PROBLEM(404, "not-found", "no restore vm1")}}, 3, NULL,
	 "uffdctl: no restore vm1 (not-found)\n", POLL("serving")},
	{"wait vm1 --timeout 1h --for ended", {{200, VM1}, {200, "", CANNED_RAW}}, 5, NULL,
	 "uffdctl: uffdd hung up without an answer; try again (not-ready)\n",
	 POLL("ended") POLL("ended")},
	{"wait vm1 --timeout 1h --for ended", {{200, VM1}, {204, ""}}, 1, NULL,
	 "uffdctl: uffdd's answer is not JSON (bad-peer)\n", POLL("ended") POLL("ended")},
	{"wait vm1 --timeout 1h", {{0}}, 5, NULL, CTLKIT_NO_DAEMON, NULL},
};
/* clang-format on */

START_TEST(rounds)
{
	ctlkit_check(&cases[_i]);
}
END_TEST

/* ---- time ---- */

/* The ms of the only poll; 0 if the time was over before. */
static unsigned long polled_ms(const char *asked)
{
	const char *wait = strstr(asked, "&wait=");

	ck_assert_msg(strncmp(asked, ASK, strlen(ASK)) == 0, "%s", asked);
	ck_assert_ptr_eq(strchr(asked, '\n'), strrchr(asked, '\n'));
	return wait ? strtoul(wait + strlen("&wait="), NULL, 10) : 0;
}

/* The daemon answers when the poll's time is over: then all of the time is. */
START_TEST(time_is_over)
{
	const struct canned_reply script[] = {{200, RESTORE("vm1", "waiting", ""), CANNED_HOLD},
					      {0}};
	struct ctlkit k = {.line = "wait vm1 --timeout 50ms", .script = script};

	ctlkit_run(&k);
	ck_assert_int_eq(k.code, 4);
	ck_assert_str_eq(k.printed.out, "vm1 waiting\n");
	ck_assert_str_eq(k.printed.err, "uffdctl: vm1 is still waiting, not serving; --timeout "
					"gives it more time (timeout)\n");
	ck_assert_uint_le(polled_ms(k.asked), 50);
	ctlkit_fini(&k);
}
END_TEST

START_TEST(time_by_default)
{
	const struct canned_reply script[] = {{200, VM1}, {0}};
	struct ctlkit k = {.line = "wait vm1", .script = script};

	ctlkit_run(&k);
	ck_assert_int_eq(k.code, 0);
	ck_assert_uint_gt(polled_ms(k.asked), 0);
	ck_assert_uint_le(polled_ms(k.asked), 30000);
	ctlkit_fini(&k);
}
END_TEST

/* A daemon that answers polls at once is not asked all the time. */
START_TEST(pace)
{
	const struct canned_reply script[] = {
		{200, VM1}, {200, VM1}, {200, VM1}, {200, RESTORE("vm1", "ended", "")}, {0}};
	struct ctlkit k = {.line = "wait vm1 --timeout 1h --for ended", .script = script};
	uint64_t began = now_us(), took;

	ctlkit_run(&k);
	took = now_us() - began;
	ck_assert_int_eq(k.code, 0);
	ck_assert_uint_ge(took, 3 * PACE_US);
	ctlkit_fini(&k);
}
END_TEST

/* ---- on a terminal ---- */

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

/* The first look does not wait, and the polls are short. */
START_TEST(progress_bar)
{
	static const unsigned short widths[] = {40, 60, 200};
	unsigned short width = widths[_i];
	struct ctlkit k = {.line = "wait vm1 --for ended --timeout 1h",
			   .script = steps,
			   .printed = {.terminal = STDERR_FILENO, .columns = width}};
	const char *seen, *last;

	ctlkit_run(&k);
	seen = k.printed.err;
	last = strrchr(seen, '\n');
	ck_assert_int_eq(k.code, 0);
	ck_assert_str_eq(k.printed.out, "vm1 ended\n");
	ck_assert_str_eq(k.asked, ASK "\n" DRAWN("ended") DRAWN("ended"));
	ck_assert_msg(strstr(seen, "\rvm1 waiting "), "%s", seen);
	ck_assert_msg(strstr(seen, "vm1 serving ") && strstr(seen, " 50% "), "%s", seen);
	ck_assert_msg(strstr(seen, "100% ") && strstr(seen, "B/s 42 faults"), "%s", seen);
	/* Each picture covers the one before, and the last one is left as a line. */
	ck_assert_msg(last && last[1] == '\0' && strchr(seen, '\n') == last, "%s", seen);
	for (const char *p = strchr(seen, '\r'); p; p = strchr(p + 1, '\r'))
		ck_assert_msg(strcspn(p + 1, "\033\r") < width, "%d: %s", width, seen);
	ck_assert_msg((strstr(seen, "[####") != NULL) == (width > 40), "%s", seen);
	ctlkit_fini(&k);
}
END_TEST

/* What is to be said about the end begins on a line of its own. */
START_TEST(end_below_the_bar)
{
	static const struct canned_reply failed[] = {STEP("failed", "500"), {0}};
	static const struct canned_reply refused[] = {
		STEP("serving", "500"), {404, PROBLEM(404, "not-found", "no restore vm1")}, {0}};
	static const struct {
		const struct canned_reply *script;
		int code;
		const char *seen;
	} ends[] = {
		{failed, 8,
		 "\rvm1 failed  50% 42 faults\033[K\nuffdctl: vm1 has failed (wrong-state)\n"},
		{refused, 3,
		 "\rvm1 serving  50% 42 faults\033[K\nuffdctl: no restore vm1 (not-found)\n"},
	};
	struct ctlkit k = {.line = "wait vm1 --for ended --timeout 1h",
			   .script = ends[_i].script,
			   .printed = {.terminal = STDERR_FILENO, .columns = 30}};

	ctlkit_run(&k);
	ck_assert_int_eq(k.code, ends[_i].code);
	ck_assert_str_eq(k.printed.err, ends[_i].seen);
	ctlkit_fini(&k);
}
END_TEST

START_TEST(no_bar_when_not_wanted)
{
	static const struct {
		const char *line, *env;
	} unwanted[] = {
		{"wait vm1 --for ended --timeout 1h -o json", NULL},
		{"wait vm1 --for ended --timeout 1h -q", NULL},
		{"wait vm1 --for ended --timeout 1h", "TERM=dumb"},
	};
	struct ctlkit k = {.line = unwanted[_i].line,
			   .env = unwanted[_i].env,
			   .script = steps,
			   .printed = {.terminal = STDERR_FILENO, .columns = 80}};

	ctlkit_run(&k);
	ck_assert_int_eq(k.code, 0);
	ck_assert_str_eq(k.printed.err, "");
	ck_assert_str_eq(k.asked, POLL("ended") POLL("ended") POLL("ended"));
	ctlkit_fini(&k);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("wait");
	TCase *tcase = tcase_create("wait");

	tcase_add_test(tcase, verdicts);
	tcase_add_loop_test(tcase, rounds, 0, ARRAY_LEN(cases));
	tcase_add_test(tcase, time_is_over);
	tcase_add_test(tcase, time_by_default);
	tcase_add_test(tcase, pace);
	tcase_add_loop_test(tcase, progress_bar, 0, 3);
	tcase_add_loop_test(tcase, end_below_the_bar, 0, 2);
	tcase_add_loop_test(tcase, no_bar_when_not_wanted, 0, 3);
	suite_add_tcase(suite, tcase);
	return suite;
}
