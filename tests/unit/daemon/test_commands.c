/* test_commands - stop, pause, resume and prefetch, for what each state allows */
#include "daemon/commands.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/proc.h"
#include "tests/support/restorekit.h"

#define LATER_MS 3600000

static struct restorekit k;
static pid_t vmm;
static int ends[2]; /* of a connection to it: ours is the first */

/* What is written to it comes back. */
static void echo(void)
{
	char c;

	close(ends[0]);
	while (read(ends[1], &c, 1) == 1 && write(ends[1], &c, 1) == 1)
		;
	_exit(0);
}

/* A process to be killed in the place of the VMM, whose guest still needs pages. */
static void serve(const char *members)
{
	struct err err = {.msg = ""};

	restorekit_open(&k, members);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	vmm = fork();
	if (vmm == 0)
		echo();
	close(ends[1]);
	ck_assert_msg(proc_pidfd(vmm, &k.r->hold.vmm, &err) == 0, "%s", err.msg);
	k.r->rec.vmm_pid = (uint32_t)vmm;
	k.r->rec.memory_bytes = PAGE_4K;
	k.r->rec.state = STATE_SERVING;
	k.r->slot.state = SLOT_READY;
}

static void end(void)
{
	if (vmm > 0) {
		kill(vmm, SIGKILL);
		waitpid(vmm, NULL, 0);
	}
	restorekit_close(&k);
}

static bool was_killed(void)
{
	int status;
	bool killed = waitpid(vmm, &status, 0) == vmm && WIFSIGNALED(status) &&
		      WTERMSIG(status) == SIGKILL;

	vmm = 0;
	return killed;
}

/* One that a signal is on its way to does not answer any more. */
static bool lives(void)
{
	char c = 'x';

	return send(ends[0], &c, 1, MSG_NOSIGNAL) == 1 && read(ends[0], &c, 1) == 1;
}

/* ---- stop ---- */

START_TEST(test_stop_of_one_that_waits)
{
	struct err err;

	restorekit_open(&k, "");
	ck_assert_int_eq(commands_stop(k.r, LATER_MS, false, &err), 0);
	ck_assert_int_eq(k.r->rec.state, STATE_ENDED);
	ck_assert_str_eq(k.r->rec.reason, "stopped");
	/* Again, and nothing happens. */
	ck_assert_int_eq(commands_stop(k.r, 0, true, &err), 0);
	ck_assert_str_eq(restorekit_events(&k), "ended ");
	end();
}
END_TEST

/* What is to become of a guest that still needs pages. */
static const struct {
	const char *members;
	bool kill, killed;
	const char *events;
} stops[] = {
	{"\"on_failure\":\"kill\"", false, true, "stopping "},
	{"\"on_failure\":\"kill\"", true, true, "stopping "},
	{"\"on_failure\":\"hold\"", true, true, "stopping "},
	{"\"on_failure\":\"poison\"", true, true, "stopping "},
	{"\"on_failure\":\"hold\"", false, false, ""},
	/* By its worker, of whom there is none now. */
	{"\"on_failure\":\"poison\"", false, false, "stopping "},
};

START_TEST(test_stop_of_one_that_serves)
{
	bool refused = !stops[_i].events[0];
	struct err err = {.msg = ""};

	serve(stops[_i].members);
	ck_assert_int_eq(commands_stop(k.r, 0, stops[_i].kill, &err), refused ? -1 : 0);
	if (refused)
		ck_assert_int_eq(err.code, ERR_STATE);
	ck_assert_str_eq(restorekit_events(&k), stops[_i].events);
	if (stops[_i].killed)
		ck_assert(was_killed());
	else
		ck_assert(lives());
	/* In the store before it was done: whoever comes next knows. */
	ck_assert_str_eq(k.r->rec.stop_reason, refused          ? ""
					       : stops[_i].kill ? "killed"
								: "stopped");
	end();
}
END_TEST

/* Nothing is done before its time, and then by whoever is there. */
START_TEST(test_grace)
{
	struct err err = {.msg = ""};

	serve("\"on_failure\":\"kill\"");
	ck_assert_msg(commands_stop(k.r, LATER_MS, false, &err) == 0, "%s", err.msg);
	ck_assert(lives());
	ck_assert_uint_gt(k.r->rec.stop_by_us, now_us());
	commands_resume_stop(k.r);
	ck_assert(lives());
	k.r->rec.stop_by_us = 1;
	commands_resume_stop(k.r);
	ck_assert(was_killed());
	end();
}
END_TEST

/* A refusal that shows only when the grace is over is told, and forgotten. */
START_TEST(test_refused_later)
{
	struct err err;

	serve("\"on_failure\":\"hold\"");
	ck_assert_int_eq(commands_stop(k.r, LATER_MS, false, &err), 0);
	k.r->rec.stop_by_us = 1;
	commands_resume_stop(k.r);
	ck_assert(lives());
	ck_assert_str_eq(k.r->rec.stop_reason, "");
	ck_assert_str_eq(restorekit_events(&k), "stopping stop-refused ");
	end();
}
END_TEST

START_TEST(test_stop_is_not_for_now)
{
	struct err err;

	serve("\"on_failure\":\"kill\"");
	k.r->rec.paused = true;
	ck_assert_int_eq(commands_stop(k.r, 0, false, &err), -1);
	ck_assert_int_eq(err.code, ERR_PAUSED);
	k.r->slot.state = SLOT_DEFERRED;
	ck_assert_int_eq(commands_stop(k.r, 0, true, &err), -1);
	ck_assert_int_eq(err.code, ERR_UNREADY);
	ck_assert(lives());
	/* Nobody else may be killed over it. */
	k.r->slot.state = SLOT_OVER;
	ck_assert_int_eq(commands_stop(k.r, 0, true, &err), 0);
	ck_assert(lives());
	ck_assert_str_eq(restorekit_events(&k), "");
	end();
}
END_TEST

/* ---- the rest ---- */

static const struct {
	enum restore_state state;
	bool paused, stopping;
	/* What pause, resume and prefetch answer; ERR_COUNT: 0. */
	enum err_code pause, resume, prefetch;
} rows[] = {
	{STATE_WAITING, false, false, ERR_STATE, ERR_STATE, ERR_STATE},
	{STATE_RECOVERING, false, false, ERR_STATE, ERR_STATE, ERR_STATE},
	{STATE_FAILED, false, false, ERR_STATE, ERR_STATE, ERR_STATE},
	/* There is no worker to tell. */
	{STATE_SERVING, false, false, ERR_STATE, ERR_COUNT, ERR_STATE},
	{STATE_SERVING, true, false, ERR_COUNT, ERR_STATE, ERR_PAUSED},
	{STATE_SERVING, false, true, ERR_STATE, ERR_COUNT, ERR_STATE},
};

static void check_answer(const char *what, int rc, const struct err *err, enum err_code code)
{
	ck_assert_msg(rc == (code == ERR_COUNT ? 0 : -1), "%s: row %d", what, rc);
	if (rc)
		ck_assert_msg(err->code == code, "%s: %s", what, err->msg);
}

START_TEST(test_others)
{
	const struct chan_prefetch want = {.mode = PREFETCH_NONE};
	struct err err = {.msg = ""};

	restorekit_open(&k, "");
	k.r->rec.state = rows[_i].state;
	k.r->rec.paused = rows[_i].paused;
	if (rows[_i].stopping)
		snprintf(k.r->rec.stop_reason, sizeof(k.r->rec.stop_reason), "stopped");
	check_answer("pause", commands_pause(k.r, &err), &err, rows[_i].pause);
	check_answer("resume", commands_resume(k.r, &err), &err, rows[_i].resume);
	check_answer("prefetch", commands_prefetch(k.r, &want, &err), &err, rows[_i].prefetch);
	/* What nobody was told of has not changed. */
	ck_assert_int_eq(k.r->rec.paused, rows[_i].paused);
	ck_assert_int_ne(k.r->rec.prefetch, PREFETCH_NONE);
	ck_assert_str_eq(restorekit_events(&k), "");
	end();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("commands");
	TCase *tc = tcase_create("commands");

	tcase_add_test(tc, test_stop_of_one_that_waits);
	tcase_add_loop_test(tc, test_stop_of_one_that_serves, 0, ARRAY_LEN(stops));
	tcase_add_test(tc, test_grace);
	tcase_add_test(tc, test_refused_later);
	tcase_add_test(tc, test_stop_is_not_for_now);
	tcase_add_loop_test(tc, test_others, 0, ARRAY_LEN(rows));
	suite_add_tcase(suite, tc);
	return suite;
}
