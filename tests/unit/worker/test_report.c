/* test_report - what a new supervisor hears, in every phase of a job */
#include "worker/report.h"

#include "common/sock.h"
#include "tests/support/jobkit.h"

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

/* The next supervisor's end, once the job has looked for it. */
static int come_back(struct scene *s)
{
	struct chan_msg msg = {0};
	struct err err;
	int home, sup;

	snprintf(s->job.link.reconnect_path, sizeof(s->job.link.reconnect_path), "%.80s/home-%d",
		 dir, (int)getpid());
	ck_assert_msg(sock_listen(s->job.link.reconnect_path, SOCK_SEQPACKET, sock_mode(0600),
				  &home, &err) == 0,
		      "%s", err.msg);
	close_fd(&s->sup);
	supervisor_link_send(&s->job.link, CHAN_COMPLETE, &msg, NULL, 0);
	ck_assert(supervisor_link_away(&s->job.link));
	report_turn(&s->job, s->job.link.try_us - 1);
	ck_assert_msg(supervisor_link_away(&s->job.link), "before it was time");
	report_turn(&s->job, s->job.link.try_us);
	sup = accept4(home, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	ck_assert_int_ge(sup, 0);
	close(home);
	return sup;
}

/* "TYPE/descriptors", one after the other, as far as there are any. */
static void listen_to(int sup, char *ret, size_t max, struct chan_msg *ret_last)
{
	enum chan_type type;
	struct chan_msg msg;
	size_t len = 0, nfds;

	ret[0] = '\0';
	while ((type = hear(sup, &msg, &nfds)) != CHAN_NONE) {
		len += (size_t)snprintf(ret + len, max - len, "%s%s/%zu", len ? " " : "",
					chan_type_name(type), nfds);
		*ret_last = msg;
	}
	close(sup);
}

static void with_peers(struct scene *s)
{
	for (int i = 0; i < 2; i++) {
		int pair[2];

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		peers_add(&s->listener, pair[0], now_us());
		close(pair[1]);
	}
	s->listener.fd = memfd_create("listening", MFD_CLOEXEC);
}

static void known(struct scene *s)
{
	s->job.known = true;
}

static void known_with_peers(struct scene *s)
{
	with_peers(s);
	known(s);
}

static void with_everything(struct scene *s)
{
	known(s);
	s->loop.paused = s->loop.completed = s->loop.failure.on = true;
	s->loop.failure.policy = FAILURE_KILL;
	err_set(&s->loop.failure.err, ERR_SNAPSHOT, "gone bad");
	s->job.working_set.unsent = true;
}

static void surveyed(struct scene *s)
{
	s->loop.paused = s->loop.survey.on = true;
}

static const struct {
	enum job_phase phase;
	void (*prepare)(struct scene *s);
	const char *hears;
} rows[] = {
	{JOB_IDLE, known, ""},
	{JOB_LOADING, known, ""},
	{JOB_WAITING, NULL, "REATTACH/0"},
	{JOB_WAITING, known, "REATTACH/0 PROOF/2"},
	{JOB_WAITING, with_peers, "REATTACH/1 PEER/1 PEER/1"},
	{JOB_WAITING, known_with_peers, "REATTACH/1 PROOF/2 PEER/1 PEER/1"},
	{JOB_SERVING, NULL, "REATTACH/0 CONNECTED/2"},
	{JOB_SERVING, known, "REATTACH/0 PROOF/3 CONNECTED/2"},
	{JOB_SERVING, surveyed, "REATTACH/0 CONNECTED/2"},
	{JOB_SERVING, with_everything,
	 "REATTACH/0 PROOF/3 CONNECTED/2 PAUSED/0 COMPLETE/0 FAILED/0 WSET_MADE/0"},
	{JOB_REFUSED, NULL, "REATTACH/0 FAILED/1"},
	{JOB_REFUSED, known, "REATTACH/0 PROOF/2 FAILED/1"},
};

START_TEST(test_row)
{
	struct chan_msg last = {0};
	struct scene s;
	char heard[256];

	scene_open(&s);
	scene_enter(&s, rows[_i].phase);
	if (rows[_i].prepare)
		rows[_i].prepare(&s);
	listen_to(come_back(&s), heard, sizeof(heard), &last);
	ck_assert_msg(strcmp(heard, rows[_i].hears) == 0, "%s: \"%s\", not \"%s\"",
		      phase_names[rows[_i].phase], heard, rows[_i].hears);
	if (rows[_i].phase == JOB_REFUSED) {
		ck_assert_str_eq(last.failed.msg, "no good");
		ck_assert_uint_eq(last.failed.vmm_pid, 41);
		ck_assert_uint_eq(last.failed.kill, 1);
	}
	scene_close(&s);
}
END_TEST

/* The next supervisor hears how prefetch is now, and the holder once more for whom it keeps. */
START_TEST(test_prefetch_is_noted)
{
	struct chan_msg msg;
	struct scene s;
	size_t nfds;
	int sup;

	scene_open(&s);
	scene_enter(&s, JOB_SERVING);
	known(&s);
	s.loop.prefetch.mode = PREFETCH_ALL;
	s.loop.prefetch.rate_bytes_per_s = 5;
	s.loop.prefetch.room.max_resident_bytes = 6;
	s.loop.held = true;
	s.loop.lease.state = LEASE_HELD;
	sup = come_back(&s);
	ck_assert_int_eq(hear(sup, &msg, &nfds), CHAN_REATTACH);
	ck_assert_uint_eq(msg.reattach.proof, 1);
	ck_assert_int_eq(hear(sup, &msg, &nfds), CHAN_PROOF);
	ck_assert_uint_eq(msg.proof.prefetch, PREFETCH_ALL);
	ck_assert_uint_eq(msg.proof.prefetch_held, 1);
	ck_assert_uint_eq(msg.proof.rate_bytes_per_s, 5);
	ck_assert_uint_eq(msg.proof.max_resident_bytes, 6);
	ck_assert(lease_idle(&s.loop.lease));
	ck_assert_int_eq(hear(s.holder, &msg, &nfds), CHAN_CONNECTED);
	ck_assert_uint_eq(nfds, 1);
	close(sup);
	scene_close(&s);
}
END_TEST

/* How many were turned away is counted for ever, but the reason is told of the first ones. */
START_TEST(test_refused)
{
	const struct peer p = {.who = {.pid = 7, .uid = 8}, .cookie = 9};
	struct chan_msg msg;
	struct scene s;
	size_t nfds;

	scene_open(&s);
	scene_enter(&s, JOB_WAITING);
	for (unsigned i = 1; i <= CHAN_TOLD_MAX + 3; i++) {
		report_refused(&s.job, &p, "a stranger");
		ck_assert_int_eq(hear(s.sup, &msg, &nfds), CHAN_REFUSED);
		ck_assert_uint_eq(msg.refused.peer, 9);
		ck_assert_str_eq(msg.refused.why, i <= CHAN_TOLD_MAX ? "a stranger" : "");
		ck_assert_uint_eq(s.job.map.stats->refused_peers, i);
	}
	scene_close(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("report");
	TCase *t = tcase_create("a new supervisor");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_loop_test(t, test_row, 0, ARRAY_LEN(rows));
	tcase_add_test(t, test_prefetch_is_noted);
	tcase_add_test(t, test_refused);
	suite_add_tcase(s, t);
	return s;
}
