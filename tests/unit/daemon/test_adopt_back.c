/* test_adopt_back - a worker that has lost its channel: awaited, taken back, or refused */
#include "daemon/adopt.h"

#include <sys/socket.h>

#include "common/uffd.h"
#include "daemon/conversation.h"
#include "tests/support/fds.h"
#include "tests/support/workerside.h"

#define BACK_S 30
#define PEERS 3

static struct restorekit k;
static struct workerside w;

/* The worker has a channel, and no owner. */
static struct worker *back;

static void begin(void)
{
	restorekit_open(&k, "");
	workerside_open(&w, &k, &conversation_worker_hooks);
	back = steal_ptr(&k.r->worker);
	worker_own(back, NULL, NULL);
	k.r->rec.worker_start = back->start;
	k.r->rec.state = STATE_WAITING;
	k.r->slot.state = SLOT_AWAITED;
	/* The store's file is open from then on. */
	ck_assert_str_eq(restorekit_events(&k), "");
}

static void end(void)
{
	if (!k.r->worker) {
		worker_own(back, &conversation_worker_hooks, k.r);
		k.r->worker = back;
	}
	workerside_close(&w);
	restorekit_close(&k);
}

static int listening(void)
{
	struct err err = {.msg = ""};
	int fd = -1;

	unlink(k.r->spec.socket_path);
	ck_assert_msg(sock_listen(k.r->spec.socket_path, SOCK_STREAM, sock_mode(0600), &fd, &err) ==
			      0,
		      "%s", err.msg);
	return fd;
}

/* A peer that the worker knows of, which brings it once more when it comes back. Returns its end. */
static int keep_peer(bool told)
{
	int pair[2], listen_fd;

	if (k.r->hold.acceptor.fd < 0) {
		listen_fd = listening();
		restore_listen(k.r, &listen_fd, 0);
	}
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	acceptor_keep(&k.r->hold.acceptor, &pair[0], NULL);
	ck_assert_int_lt(pair[0], 0);
	k.r->hold.acceptor.peers[k.r->hold.acceptor.n - 1].told = told;
	return pair[1];
}

static uint64_t left_s(void)
{
	struct timeval tv, now;

	ck_assert_ptr_nonnull(k.r->hold.back_by);
	ck_assert(event_pending(k.r->hold.back_by, EV_TIMEOUT, &tv));
	event_base_gettimeofday_cached(k.host.base, &now);
	evutil_timersub(&tv, &now, &tv);
	return (uint64_t)tv.tv_sec;
}

/* As supervisor.c does while the worker is missed. */
static void miss(void)
{
	struct err err = {.msg = ""};

	ck_assert_msg(proc_pidfd(w.pid, &k.r->hold.old_worker, &err) == 0, "%s", err.msg);
	k.r->hold.back_by = evtimer_new(k.host.base, NULL, NULL);
	timer_add(k.r->hold.back_by, BACK_S * TIMER_S);
}

static bool take_back(int *listen_fd)
{
	return adopt_back(k.r, back, listen_fd, PEERS);
}

static bool take_back_without(void)
{
	int none = -1;

	return take_back(&none);
}

/* ---- cut ---- */

/* The lease is free for others; what only the worker has read is brought once more. */
START_TEST(test_cut)
{
	int before, pidfd, told, kept;
	pid_t behind;
	uid_t uid;

	worker_own(back, &conversation_worker_hooks, k.r);
	k.r->worker = back;
	k.r->slot.state = SLOT_AWAITED;
	told = keep_peer(true);
	kept = keep_peer(false);
	lease_scheduler_ask(k.host.leases, &k.r->claim, "t", 1, 1);
	ck_assert_int_ne(k.r->claim.state, CLAIM_NONE);
	before = fds_count(getpid());
	pidfd = steal_fd(&back->pidfd);
	adopt_cut(k.r, &pidfd);
	ck_assert_int_lt(pidfd, 0);
	ck_assert_ptr_null(k.r->worker);
	ck_assert_int_eq(k.r->slot.state, SLOT_AWAITED);
	ck_assert(proc_behind(k.r->hold.old_worker, &behind, &uid, &uid) == 0 && behind == w.pid);
	ck_assert_uint_le(left_s(), BACK_S);
	ck_assert_uint_gt(left_s(), 0);
	ck_assert_int_eq(k.r->claim.state, CLAIM_NONE);
	ck_assert_uint_eq(k.r->hold.acceptor.n, 1);
	ck_assert(!k.r->hold.acceptor.peers[0].told);
	ck_assert_int_eq(fds_count(getpid()), before - 1);
	ck_assert_str_eq(restorekit_events(&k), "");
	timer_drop(&k.r->hold.back_by);
	back->pidfd = steal_fd(&k.r->hold.old_worker);
	close(told);
	close(kept);
}
END_TEST

/* ---- taken back ---- */

static const struct {
	enum slot_state slot;
	enum restore_state before, after;
} taken[] = {
	{SLOT_AWAITED, STATE_WAITING, STATE_WAITING},
	{SLOT_AWAITED, STATE_SERVING, STATE_SERVING},
	{SLOT_AWAITED, STATE_RECOVERING, STATE_SERVING},
	{SLOT_AWAITED, STATE_FAILED, STATE_FAILED},
	{SLOT_EMPTY, STATE_SERVING, STATE_SERVING},
};

START_TEST(test_back)
{
	int before = fds_count(getpid()), listen_fd = listening();
	uint64_t cookie = sock_cookie(listen_fd);

	miss();
	k.r->slot.state = taken[_i].slot;
	k.r->rec.state = taken[_i].before;
	ck_assert(take_back(&listen_fd));
	ck_assert(k.r->worker == back && back->arg == k.r);
	ck_assert_ptr_eq(back->hooks, &conversation_worker_hooks);
	ck_assert_int_eq(k.r->slot.state, SLOT_READY);
	ck_assert_int_eq(k.r->rec.state, taken[_i].after);
	/* No worker is missed any more. */
	ck_assert_ptr_null(k.r->hold.back_by);
	ck_assert_int_lt(k.r->hold.old_worker, 0);
	/* The worker's socket, and how many peers the worker brings. */
	ck_assert_int_lt(listen_fd, 0);
	ck_assert_uint_eq(sock_cookie(k.r->hold.acceptor.fd), cookie);
	ck_assert_uint_eq(k.r->hold.acceptor.awaited, PEERS);
	ck_assert_int_eq(k.r->hold.acceptor.on_peer != NULL, taken[_i].after == STATE_WAITING);
	ck_assert_int_eq(fds_count(getpid()), before + 1);
	ck_assert_str_eq(workerside_told(&w), "KNOWN ");
	ck_assert_str_eq(restorekit_events(&k), "adopted ");
	ck_assert_str_eq(restorekit_data(&k), "{}");
	ck_assert_uint_eq(k.changed, 1);
}
END_TEST

/* The worker brings no socket: that of the restore stays. */
START_TEST(test_back_without_socket)
{
	int listen_fd = listening();
	uint64_t cookie = sock_cookie(listen_fd);

	restore_listen(k.r, &listen_fd, 0);
	ck_assert(take_back_without());
	ck_assert_uint_eq(sock_cookie(k.r->hold.acceptor.fd), cookie);
}
END_TEST

/* A stop that was wanted before. */
START_TEST(test_back_to_be_stopped)
{
	pid_t vmm = workerside_fork();
	struct err err = {.msg = ""};

	ck_assert_int_eq(proc_pidfd(vmm, &k.r->hold.vmm, &err), 0);
	k.r->rec.state = STATE_SERVING;
	k.r->rec.vmm_pid = (uint32_t)vmm;
	snprintf(k.r->rec.stop_reason, sizeof(k.r->rec.stop_reason), "killed");
	ck_assert(take_back_without());
	ck_assert(workerside_was_killed(vmm));
	ck_assert_int_eq(waitpid(vmm, NULL, 0), vmm);
}
END_TEST

/* The worker's former channel is closed, and was not missed yet: nothing is left of it. */
START_TEST(test_back_before_it_is_missed)
{
	struct worker *former;
	struct err err = {.msg = ""};
	int ends[2], pidfd, told = keep_peer(true), before = fds_count(getpid());

	ck_assert(chan_pair(ends, &err) == 0 && proc_pidfd(w.pid, &pidfd, &err) == 0);
	former = pool_adopt(k.host.pool, w.pid, pidfd, ends[0], "a release");
	worker_own(former, &conversation_worker_hooks, k.r);
	former->closed = true;
	k.r->worker = former;
	k.r->slot.state = SLOT_READY;
	lease_scheduler_ask(k.host.leases, &k.r->claim, "t", 1, 1);
	ck_assert(take_back_without());
	ck_assert_ptr_eq(k.r->worker, back);
	ck_assert_int_eq(k.r->slot.state, SLOT_READY);
	ck_assert_int_eq(k.r->claim.state, CLAIM_NONE);
	ck_assert_uint_eq(k.r->hold.acceptor.n, 0);
	close(told);
	close(ends[1]);
	ck_assert_int_eq(fds_count(getpid()), before - 2);
	ck_assert_str_eq(restorekit_events(&k), "adopted ");
	ck_assert_str_eq(workerside_told(&w), "KNOWN ");
}
END_TEST

/* Whatever the former channel was at, a worker that comes back has loaded. */
START_TEST(test_slot_after_back)
{
	static const enum slot_state slots[] = {SLOT_LOADING, SLOT_READY, SLOT_REPLACING,
						SLOT_REPLACING_LOADER};
	struct err err = {.msg = ""};
	int ends[2], pidfd;

	ck_assert(chan_pair(ends, &err) == 0 && proc_pidfd(w.pid, &pidfd, &err) == 0);
	k.r->worker = pool_adopt(k.host.pool, w.pid, pidfd, ends[0], "a release");
	k.r->worker->closed = true;
	k.r->slot.state = slots[_i];
	ck_assert(take_back_without());
	ck_assert_int_eq(k.r->slot.state, SLOT_READY);
	close(ends[1]);
}
END_TEST

/* ---- refused ---- */

static const struct {
	const char *what;
	enum slot_state slot;
	uint32_t pid_off, start_off;
	bool has_worker;
} refused[] = {
	{"is leaving", SLOT_LEAVING, 0, 0, false},
	{"is over", SLOT_OVER, 0, 0, false},
	{"another process", SLOT_AWAITED, 1, 0, false},
	{"another process of that pid", SLOT_AWAITED, 0, 1, false},
	{"has a worker", SLOT_READY, 0, 0, true},
};

/* Nothing has changed, neither of the restore nor of the worker. */
START_TEST(test_refused)
{
	int told = keep_peer(true), listen_fd = listening(), fd = listen_fd, before, old, own;
	struct worker other = {.pid = back->pid, .start = back->start};
	struct restore_record rec;

	miss();
	old = k.r->hold.old_worker;
	own = k.r->hold.acceptor.fd;
	k.r->rec.state = STATE_RECOVERING;
	k.r->rec.worker_pid += refused[_i].pid_off;
	k.r->rec.worker_start += refused[_i].start_off;
	k.r->slot.state = refused[_i].slot;
	if (refused[_i].has_worker)
		k.r->worker = &other;
	before = fds_count(getpid());
	rec = k.r->rec;
	ck_assert_msg(!take_back(&listen_fd), "%s", refused[_i].what);
	ck_assert_mem_eq(&rec, &k.r->rec, sizeof(rec));
	ck_assert_ptr_eq(k.r->worker, refused[_i].has_worker ? &other : NULL);
	ck_assert_int_eq(k.r->slot.state, refused[_i].slot);
	ck_assert_int_eq(k.r->hold.old_worker, old);
	ck_assert_uint_gt(left_s(), 0);
	ck_assert(k.r->hold.acceptor.n == 1 && k.r->hold.acceptor.fd == own);
	ck_assert(!back->hooks && !back->arg && listen_fd == fd);
	ck_assert_int_eq(fds_count(getpid()), before);
	ck_assert_str_eq(workerside_told(&w), "");
	ck_assert_str_eq(restorekit_events(&k), "");
	ck_assert_uint_eq(k.changed, 0);
	k.r->worker = NULL;
	close(listen_fd);
	close(told);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("adopt back");
	TCase *tc = tcase_create("adopt back");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_cut);
	tcase_add_loop_test(tc, test_back, 0, ARRAY_LEN(taken));
	tcase_add_test(tc, test_back_without_socket);
	tcase_add_test(tc, test_back_to_be_stopped);
	tcase_add_test(tc, test_back_before_it_is_missed);
	tcase_add_loop_test(tc, test_slot_after_back, 0, 4);
	tcase_add_loop_test(tc, test_refused, 0, ARRAY_LEN(refused));
	suite_add_tcase(suite, tc);
	return suite;
}
