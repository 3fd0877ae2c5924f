/* test_pool_worker - one worker with an owner: what the owner is told, and how the worker ends */
#include "daemon/pool.h"

#include <sys/ptrace.h>
#include <sys/socket.h>

#include "tests/support/fds.h"
#include "tests/support/workerside.h"

static struct restorekit k;
static struct workerside w;
static int fds; /* open, before the test has done anything */

/* What the owner was told, in this order. */
static struct {
	char text[256];
	unsigned exits;
	int take;     /* so many descriptors of a message are kept */
	int kept[2];  /* owned */
	bool silence; /* a worker that lies; else it is abandoned */
	bool cut;     /* the owner takes the pidfd */
	int pidfd;    /* owned: that one */
} heard;

static void note(const char *what)
{
	size_t len = strlen(heard.text);

	snprintf(heard.text + len, sizeof(heard.text) - len, "%s ", what);
}

static void on_message(void *arg, const struct chan_msg *msg, int *msg_fds)
{
	ck_assert_ptr_eq(arg, k.r);
	note(chan_type_name(msg->type));
	for (int i = 0; i < heard.take; i++)
		heard.kept[i] = steal_fd(&msg_fds[i]);
}

static void on_lie(void *arg, const char *how)
{
	ck_assert_ptr_eq(arg, k.r);
	ck_assert_uint_ne(strlen(how), 0);
	note("lied");
	if (heard.silence) {
		worker_silence(k.r->worker);
		return;
	}
	worker_abandon(k.r->worker, "t");
	k.r->worker = NULL;
}

static void on_end(void *arg, const char *how)
{
	ck_assert_ptr_eq(arg, k.r);
	note(how);
	heard.exits++;
	k.r->worker = NULL;
}

static bool on_cut(void *arg, int *pidfd)
{
	ck_assert_ptr_eq(arg, k.r);
	note("cut");
	if (!heard.cut)
		return false;
	heard.pidfd = steal_fd(pidfd);
	k.r->worker = NULL;
	return true;
}

static const struct worker_hooks hooks = {on_message, on_lie, on_end, on_cut};

static void begin(void)
{
	memset(&heard, 0, sizeof(heard));
	heard.kept[0] = heard.kept[1] = heard.pidfd = -1;
	restorekit_open(&k, "");
	workerside_open(&w, &k, &hooks);
	fds = fds_count(getpid());
}

static void end(void)
{
	close_fd(&heard.kept[0]);
	close_fd(&heard.kept[1]);
	close_fd(&heard.pidfd);
	workerside_close(&w);
	restorekit_close(&k);
}

static void turn(void)
{
	workerside_turn(&w);
}

static bool has_exited(void *arg)
{
	(void)arg;
	turn();
	return heard.exits > 0;
}

static void await_exit(void)
{
	ck_assert_msg(harness_wait(has_exited, NULL, HARNESS_MS), "no exit, after: %s", heard.text);
}

static void await_reaped(void)
{
	ck_assert_msg(harness_wait(workerside_is_reaped, &w, HARNESS_MS), "it is not reaped: %s",
		      heard.text);
}

/* Said, and not heard yet. */
static void send_only(enum chan_type type)
{
	struct chan_msg msg = {0};
	struct err err = {.msg = ""};

	ck_assert_msg(chan_send(w.chan, type, &msg, NULL, 0, &err) == 0, "%s", err.msg);
}

/* ---- adopted ---- */

START_TEST(test_adopted)
{
	struct worker *a = k.r->worker, *b;
	int ends[2], pidfd;
	struct err err;

	ck_assert(a->hooks == &hooks && a->arg == k.r);
	ck_assert(chan_pair(ends, &err) == 0 && proc_pidfd(w.pid, &pidfd, &err) == 0);
	b = pool_adopt(k.host.pool, w.pid, pidfd, ends[0], "0123456789012345678901234567890123");
	ck_assert(b->pid == w.pid && b->pidfd == pidfd && b->chan == ends[0]);
	ck_assert(b->start == proc_start_time(w.pid) && b->start);
	ck_assert_str_eq(b->release, "0123456789012345678901234567890");
	ck_assert(b->greeted && b->replays && !b->closed && !b->silenced && !b->hooks);
	ck_assert_uint_eq(b->allowance.left, ALLOWANCE_MAX);
	/* An adopted worker does not fill the pool. */
	ck_assert_uint_eq(pool_wanting(k.host.pool), 2);
	worker_leave(b);
	close(ends[1]);
	ck_assert_int_eq(fds_count(getpid()), fds);
	ck_assert(kill(w.pid, 0) == 0);
}
END_TEST

/* ---- messages ---- */

/* One a turn, so that no worker keeps the others waiting; its own HELLO has come long ago. */
START_TEST(test_messages)
{
	send_only(CHAN_PAUSED);
	send_only(CHAN_HELLO);
	send_only(CHAN_COMPLETE);
	turn();
	ck_assert_str_eq(heard.text, "PAUSED ");
	turn();
	ck_assert_str_eq(heard.text, "PAUSED HELLO ");
	turn();
	ck_assert_str_eq(heard.text, "PAUSED HELLO COMPLETE ");
	ck_assert_str_eq(k.r->worker->release, "a release");
}
END_TEST

/* What the owner does not take is closed. */
START_TEST(test_descriptors)
{
	int sent[2], now;
	struct chan_msg msg = {0};

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sent), 0);
	now = fds_count(getpid());
	heard.take = _i;
	workerside_say(&w, CHAN_PEER, &msg, sent, 2);
	ck_assert_int_eq(fds_count(getpid()), now + _i);
	for (int i = 0; i < _i; i++)
		ck_assert_uint_eq(sock_cookie(heard.kept[i]), sock_cookie(sent[i]));
	close(sent[0]);
	close(sent[1]);
}
END_TEST

/* The owner ends it, and of what it goes on to say nothing is heard. */
START_TEST(test_lie)
{
	heard.silence = _i;
	ck_assert_int_eq(send(w.chan, "x", 1, MSG_NOSIGNAL), 1);
	send_only(CHAN_PAUSED);
	turn();
	ck_assert_str_eq(heard.text, "lied ");
	ck_assert(workerside_was_killed(w.pid));
	await_reaped();
	ck_assert_str_eq(heard.text, _i ? "lied signal 9 (Killed) " : "lied ");
	ck_assert_int_eq(fds_count(getpid()), fds - 2);
}
END_TEST

/* ---- its channel ---- */

static uint64_t deadline_ms(void)
{
	struct timeval tv, now;

	ck_assert_ptr_nonnull(k.r->worker->deadline);
	ck_assert(evtimer_pending(k.r->worker->deadline, &tv));
	event_base_gettimeofday_cached(k.host.base, &now);
	evutil_timersub(&tv, &now, &tv);
	return (uint64_t)tv.tv_sec * 1000 + (uint64_t)tv.tv_usec / 1000;
}

static void fire_deadline(void)
{
	ck_assert_int_eq(event_del(k.r->worker->deadline), 0);
	event_active(k.r->worker->deadline, EV_TIMEOUT, 0);
}

/* A worker that hangs up usually ends by itself; its exit tells the rest. */
START_TEST(test_closes)
{
	close_fd(&w.chan);
	turn();
	ck_assert(k.r->worker->closed && !k.r->worker->silenced);
	ck_assert_uint_le(deadline_ms(), 5000);
	ck_assert_uint_gt(deadline_ms(), 0);
	/* The end of the channel is not heard all the time. */
	ck_assert(!event_pending(k.r->worker->on_chan, EV_READ, NULL));
	ck_assert(kill(w.pid, 0) == 0);
	fire_deadline();
	await_exit();
	ck_assert_str_eq(heard.text, "signal 9 (Killed) ");
}
END_TEST

/* There was no room for its descriptor. The owner may take the pidfd, and wait for the worker. */
START_TEST(test_cut)
{
	int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct chan_msg msg = {0};
	struct rlimit limit = harness_limit_fds(0);

	heard.cut = _i;
	workerside_say(&w, CHAN_PEER, &msg, &file, 1);
	setrlimit(RLIMIT_NOFILE, &limit);
	close(file);
	ck_assert_str_eq(heard.text, "cut ");
	if (_i) {
		ck_assert_int_eq(fds_count(getpid()), fds - 1);
		ck_assert(!proc_ended(heard.pidfd));
		kill(w.pid, SIGKILL);
		ck_assert_int_eq(waitpid(w.pid, NULL, 0), w.pid);
		ck_assert(proc_ended(heard.pidfd));
		return;
	}
	/* The worker lives and has not hung up. It is killed if it does not end. */
	ck_assert(!k.r->worker->closed);
	ck_assert(!event_pending(k.r->worker->on_chan, EV_READ, NULL));
	fire_deadline();
	await_exit();
	ck_assert_str_eq(heard.text, "cut signal 9 (Killed) ");
}
END_TEST

/* ---- send ---- */

/* What it is asked it may answer; by a lease it earns nothing. */
START_TEST(test_send)
{
	static const enum chan_type types[] = {CHAN_PEER, CHAN_LEASE_GRANT};
	int file = open("/dev/null", O_RDONLY | O_CLOEXEC), got[CHAN_FDS_MAX];
	struct chan_msg msg = {0};
	struct err err = {.msg = ""};

	k.r->worker->allowance.left = 5;
	ck_assert_int_eq(worker_send(k.r->worker, types[_i], &msg, &file, 1, &err), 0);
	ck_assert_uint_eq(k.r->worker->allowance.left, _i ? 5 : 5 + ALLOWANCE_ANSWERS);
	ck_assert_int_eq(fcntl(file, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(chan_recv(w.chan, &msg, got, &err), CHAN_GOT);
	ck_assert_int_eq(msg.type, types[_i]);
	ck_assert(got[0] >= 0 && got[1] < 0);
	chan_close_fds(got);
	close(file);
}
END_TEST

/* The worker is gone, or does not read. */
START_TEST(test_cannot_send)
{
	struct chan_msg msg = {0};
	struct err err = {.msg = ""};
	int rc = 0;

	if (_i == 0)
		close_fd(&w.chan);
	while (rc == 0) {
		k.r->worker->allowance.left = 5;
		rc = worker_send(k.r->worker, CHAN_PAUSE, &msg, NULL, 0, &err);
	}
	ck_assert_int_eq(err.code, ERR_UNREADY);
	ck_assert_uint_eq(k.r->worker->allowance.left, 5);
}
END_TEST

/* ---- exit ---- */

/* What it said last counts, also where the loop hears of the exit first. */
START_TEST(test_last_words)
{
	send_only(CHAN_PAUSED);
	send_only(CHAN_COMPLETE);
	send_only(CHAN_GONE);
	kill(w.pid, SIGKILL);
	ck_assert(workerside_was_killed(w.pid));
	event_del(k.r->worker->on_chan);
	await_exit();
	ck_assert_str_eq(heard.text, "PAUSED COMPLETE GONE signal 9 (Killed) ");
	await_reaped();
	ck_assert_int_eq(fds_count(getpid()), fds - 2);
	ck_assert_uint_eq(heard.exits, 1);
}
END_TEST

/* Of one that was silenced only the exit is told. */
START_TEST(test_silence)
{
	send_only(CHAN_PAUSED);
	worker_silence(k.r->worker);
	ck_assert(k.r->worker->silenced && !k.r->worker->closed);
	ck_assert(workerside_was_killed(w.pid));
	await_exit();
	ck_assert_str_eq(heard.text, "signal 9 (Killed) ");
}
END_TEST

/* In the kernel the exit may take long: the owner forgets the worker now, the pool when it ends. */
START_TEST(test_abandon)
{
	send_only(CHAN_PAUSED);
	worker_abandon(k.r->worker, "t");
	k.r->worker = NULL;
	ck_assert_int_eq(fds_count(getpid()), fds);
	ck_assert(workerside_was_killed(w.pid));
	await_reaped();
	ck_assert_str_eq(heard.text, "");
	ck_assert_int_eq(fds_count(getpid()), fds - 2);
}
END_TEST

/* The supervisor leaves, and the guest does not notice. */
START_TEST(test_leave)
{
	int fd[CHAN_FDS_MAX];
	struct chan_msg msg;
	struct err err;

	worker_expect_exit(k.r->worker, 1);
	worker_leave(k.r->worker);
	k.r->worker = NULL;
	turn();
	ck_assert_int_eq(fds_count(getpid()), fds - 2);
	ck_assert_int_eq(chan_recv(w.chan, &msg, fd, &err), CHAN_CLOSED);
	ck_assert(!workerside_has_ended(&w.pid));
	ck_assert_str_eq(heard.text, "");
	kill(w.pid, SIGKILL);
	ck_assert_int_eq(waitpid(w.pid, NULL, 0), w.pid);
}
END_TEST

/* The first deadline is the one that counts. */
START_TEST(test_expect_exit)
{
	struct event *first;
	uint64_t ms;

	worker_expect_exit(k.r->worker, HARNESS_MS);
	ms = deadline_ms();
	ck_assert_uint_le(ms, HARNESS_MS);
	ck_assert_uint_gt(ms, 10000);
	first = k.r->worker->deadline;
	worker_expect_exit(k.r->worker, 1);
	ck_assert_ptr_eq(k.r->worker->deadline, first);
	ck_assert_uint_gt(deadline_ms(), 1);
	turn();
	ck_assert(!workerside_has_ended(&w.pid));
	fire_deadline();
	await_exit();
	ck_assert_str_eq(heard.text, "signal 9 (Killed) ");
}
END_TEST

/* Keeps the process, also once it has ended, until it is told to end. */
static pid_t trace(pid_t pid)
{
	int ready[2];
	pid_t tracer;
	char byte;

	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	tracer = fork();
	if (tracer == 0) {
		if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) || write(ready[1], "!", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return tracer;
}

static bool has_died(void *arg)
{
	(void)arg;
	return proc_ended(k.r->worker->pidfd);
}

/* Another process keeps us from reaping it: the owner hears of the end all the same, and once. */
START_TEST(test_traced)
{
	pid_t tracer = trace(w.pid);

	kill(w.pid, SIGKILL);
	ck_assert(harness_wait(has_died, NULL, HARNESS_MS));
	send_only(CHAN_PAUSED);
	await_exit();
	ck_assert_str_eq(heard.text, "PAUSED killed while traced ");
	/* The owner hears no more, and the loop does not spin on a process that cannot be reaped. */
	send_only(CHAN_PAUSED);
	turn();
	ck_assert(kill(w.pid, 0) == 0);
	ck_assert_int_eq(fds_count(getpid()), fds);
	kill(tracer, SIGKILL);
	ck_assert_int_eq(waitpid(tracer, NULL, 0), tracer);
	await_reaped();
	ck_assert_str_eq(heard.text, "PAUSED killed while traced ");
	ck_assert_int_eq(fds_count(getpid()), fds - 2);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("pool worker");
	TCase *tc = tcase_create("pool worker");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_adopted);
	tcase_add_test(tc, test_messages);
	tcase_add_loop_test(tc, test_descriptors, 0, 3);
	tcase_add_loop_test(tc, test_lie, 0, 2);
	tcase_add_test(tc, test_closes);
	tcase_add_loop_test(tc, test_cut, 0, 2);
	tcase_add_loop_test(tc, test_send, 0, 2);
	tcase_add_loop_test(tc, test_cannot_send, 0, 2);
	tcase_add_test(tc, test_last_words);
	tcase_add_test(tc, test_silence);
	tcase_add_test(tc, test_abandon);
	tcase_add_test(tc, test_leave);
	tcase_add_test(tc, test_expect_exit);
	tcase_add_test(tc, test_traced);
	suite_add_tcase(suite, tc);
	return suite;
}
