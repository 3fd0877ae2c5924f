/* test_vmm - who may be the VMM, whether it has ended, and who is killed for it; as root */
#include "daemon/vmm.h"

#include "common/uffd.h"
#include "tests/support/fds.h"
#include "tests/support/guestkit.h"

#define CALLER 4001
#define OTHER 4002
#define THIRD 4003
#define PEER_UID 4004

static struct restorekit k;
static struct guestkit guest, peer; /* whose memory it is; and who handed it over instead */

static void begin_with(const char *members)
{
	restorekit_open(&k, members);
	guestkit_start(&guest);
	guestkit_start(&peer);
	guestkit_tell(&peer, GUEST_CLOSE);
	guestkit_tell(&peer, GUEST_UNMAP);
	guestkit_serve(&guest, &k);
}

static void begin(void)
{
	begin_with("");
}

static void end(void)
{
	guestkit_end(&guest);
	guestkit_end(&peer);
	restorekit_close(&k);
}

static void hold_uffd(void)
{
	k.r->hold.uffd = guestkit_dup(guest.uffd);
}

/* It has handed the userfaultfd of the guest over. */
static void connected_by(const struct guestkit *g)
{
	k.r->rec.vmm_pid = (uint32_t)g->pid;
	k.r->rec.vmm_start = proc_start_time(g->pid);
}

static void watch(const struct guestkit *g)
{
	int pidfd = guestkit_dup(g->pidfd);

	vmm_watch(k.r, &pidfd);
	close_fd(&pidfd);
}

static bool is_over(void *arg)
{
	(void)arg;
	event_base_loop(k.host.base, EVLOOP_NONBLOCK);
	return restore_released(k.r);
}

static bool was_found(void *arg)
{
	(void)arg;
	event_base_loop(k.host.base, EVLOOP_NONBLOCK);
	return k.found > 0;
}

static void await(bool (*cond)(void *arg), const char *what)
{
	ck_assert_msg(harness_wait(cond, NULL, HARNESS_MS), "%s: never, after %s", what,
		      restorekit_events(&k));
}

/* ---- may it be ---- */

/* A process with these user ids, which has connected to the restore's socket, as root, or not. */
static pid_t start_as(uid_t real, uid_t effective, uid_t saved, bool connects)
{
	int pair[2], sock;
	struct err err;
	char byte;
	pid_t pid;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		if ((connects && sock_connect(k.r->spec.socket_path, SOCK_STREAM, &sock, &err)) ||
		    setresuid(real, effective, saved) || prctl(PR_SET_PDEATHSIG, SIGKILL) ||
		    write(pair[1], "!", 1) != 1)
			_exit(2);
		for (;;)
			pause();
	}
	close(pair[1]);
	ck_assert_int_eq(read(pair[0], &byte, 1), 1);
	close(pair[0]);
	return pid;
}

static bool is_let_in(void *arg)
{
	(void)arg;
	event_base_loop(k.host.base, EVLOOP_NONBLOCK);
	return k.r->hold.acceptor.n > 0;
}

/* clang-format off */
static const struct {
	const char *what;
	uid_t caller, real, effective, saved;
	uid_t own;        /* whom the supervisor runs as */
	uid_t peer_uid;   /* who may come */
	bool connects, may;
	bool apart; /* root's worker is not root */
	int pid_off;
} candidates[] = {
	{"the caller's", CALLER, CALLER, CALLER, CALLER, .may = true},
	{"by its real uid", CALLER, CALLER, OTHER, OTHER, .may = true},
	{"by its saved uid", CALLER, OTHER, OTHER, CALLER, .may = true},
	{"by its effective uid", CALLER, OTHER, CALLER, OTHER},
	{"another's", CALLER, OTHER, OTHER, OTHER},
	{"root's", CALLER},
	{"for root", 0, OTHER, OTHER, OTHER, .may = true},
	{"for root, by another's word", 0, OTHER, OTHER, OTHER, .apart = true},
	{"for root and root's, by another's word", 0, .apart = true},
	{"for root, known to the acceptor", 0, OTHER, OTHER, OTHER, .apart = true, .connects = true,
	 .may = true},
	{"the caller's, while root's worker is not root", CALLER, CALLER, CALLER, CALLER,
	 .apart = true, .may = true},
	{"for root, another pid", 0, OTHER, OTHER, OTHER, .pid_off = 1},
	{"the caller's, another pid", CALLER, CALLER, CALLER, CALLER, .pid_off = 1},
	{"for ourselves", CALLER, OTHER, OTHER, OTHER, .own = CALLER, .may = true},
	{"for another than ourselves", CALLER, OTHER, OTHER, OTHER, .own = THIRD},
	{"known to the acceptor", CALLER, OTHER, OTHER, OTHER, .connects = true, .may = true},
	{"the wrong peer", CALLER, OTHER, OTHER, OTHER, .peer_uid = PEER_UID, .connects = true},
};
/* clang-format on */

static void listen_for_peers(void)
{
	struct err err = {.msg = ""};
	int fd = -1;

	ck_assert_int_eq(unlink(k.r->spec.socket_path), 0);
	ck_assert_msg(sock_listen(k.r->spec.socket_path, SOCK_STREAM, sock_mode(0600), &fd, &err) ==
			      0,
		      "%s", err.msg);
	acceptor_open(&k.r->hold.acceptor, &fd, 0, true);
}

START_TEST(test_may_be)
{
	int pidfd = -1;
	struct err err;
	bool may;
	pid_t pid;

	restorekit_open(&k, "");
	k.host.user.apart = candidates[_i].apart;
	listen_for_peers();
	k.r->rec.caller_uid = candidates[_i].caller;
	k.r->spec.peer_uid = candidates[_i].peer_uid;
	pid = start_as(candidates[_i].real, candidates[_i].effective, candidates[_i].saved,
		       candidates[_i].connects);
	ck_assert_int_eq(proc_pidfd(pid, &pidfd, &err), 0);
	if (candidates[_i].connects)
		await(is_let_in, "let in");
	ck_assert_int_eq(seteuid(candidates[_i].own), 0);
	may = vmm_may_be(k.r, pidfd, (uint32_t)(pid + candidates[_i].pid_off), -1);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_msg(may == candidates[_i].may, "%s", candidates[_i].what);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	/* Nobody can be harmed by what is not there. */
	ck_assert_msg(vmm_may_be(k.r, pidfd, (uint32_t)pid + 1, -1), "%s", candidates[_i].what);
	close(pidfd);
	restorekit_close(&k);
}
END_TEST

START_TEST(test_may_not_be_what_is_no_process)
{
	ck_assert_int_eq(k.r->rec.caller_uid, 0);
	ck_assert(vmm_may_be(k.r, guest.pidfd, (uint32_t)guest.pid, -1));
	ck_assert(!vmm_may_be(k.r, guest.uffd, (uint32_t)guest.pid, -1));
	ck_assert(!vmm_may_be(k.r, -1, (uint32_t)guest.pid, -1));
}
END_TEST

/* Of root's worker a process is believed that holds the guest's own uffd, but not ourselves. */
START_TEST(test_shown_by_the_uffd)
{
	int self = -1, another = -1, kept;
	struct err err;

	k.host.user.apart = true;
	ck_assert_int_eq(proc_pidfd(getpid(), &self, &err), 0);
	ck_assert_int_eq(uffd_open(0, &another, &err), 0);
	ck_assert(vmm_may_be(k.r, guest.pidfd, (uint32_t)guest.pid, guest.uffd));
	ck_assert(!vmm_may_be(k.r, guest.pidfd, (uint32_t)guest.pid, another));
	ck_assert(!vmm_may_be(k.r, guest.pidfd, (uint32_t)guest.pid, -1));
	ck_assert(!vmm_may_be(k.r, peer.pidfd, (uint32_t)peer.pid, guest.uffd));
	ck_assert(!vmm_may_be(k.r, self, (uint32_t)getpid(), guest.uffd));
	/* What is not shown is not known. */
	kept = guestkit_dup(guest.pidfd);
	ck_assert(vmm_check(k.r, &kept, (uint32_t)guest.pid, guest.uffd));
	ck_assert_int_ge(kept, 0);
	ck_assert(vmm_check(k.r, &kept, (uint32_t)guest.pid, another));
	ck_assert_int_eq(kept, -1);
	/* Of any other worker it is a lie. */
	k.r->rec.caller_uid = CALLER;
	kept = guestkit_dup(guest.pidfd);
	ck_assert(!vmm_check(k.r, &kept, (uint32_t)guest.pid, guest.uffd));
	close(kept);
	close(self);
	close(another);
}
END_TEST

/* ---- has it ended ---- */

static const struct {
	bool uffd, pidfd; /* what is held: of the guest, and of its peer */
	bool guest_ended, peer_ended;
	bool ended;
} ends[] = {
	{.guest_ended = true, .peer_ended = true},
	{.pidfd = true},
	{.pidfd = true, .guest_ended = true},
	{.pidfd = true, .peer_ended = true, .ended = true},
	{.uffd = true},
	{.uffd = true, .guest_ended = true, .ended = true},
	{.uffd = true, .pidfd = true},
	/* The userfaultfd alone decides. */
	{.uffd = true, .pidfd = true, .peer_ended = true},
	{.uffd = true, .pidfd = true, .guest_ended = true, .ended = true},
	{.uffd = true, .pidfd = true, .guest_ended = true, .peer_ended = true, .ended = true},
};

START_TEST(test_has_ended)
{
	if (ends[_i].uffd)
		hold_uffd();
	if (ends[_i].pidfd)
		k.r->hold.vmm = guestkit_dup(peer.pidfd);
	if (ends[_i].guest_ended)
		guestkit_kill(&guest);
	if (ends[_i].peer_ended)
		guestkit_kill(&peer);
	ck_assert_int_eq(vmm_has_ended(k.r), ends[_i].ended);
}
END_TEST

/* ---- its end is noticed ---- */

static const struct {
	bool uffd, worker; /* where the userfaultfd is: with us, with a worker that may come back */
	bool over;
} watched[] = {
	{false, false, true},
	{true, false, true},
	{true, true, true},
	{false, true, false},
};

static bool is_asked(void *arg)
{
	(void)arg;
	event_base_loop(k.host.base, EVLOOP_NONBLOCK);
	return k.r->hold.life.since_us && !evtimer_pending(k.r->hold.ask_vmm, NULL);
}

START_TEST(test_watch)
{
	int before;

	/* The store's file is open from then on. */
	ck_assert_str_eq(restorekit_events(&k), "");
	before = fds_count(getpid());
	if (watched[_i].uffd)
		hold_uffd();
	if (watched[_i].worker)
		k.r->slot.state = SLOT_AWAITED;
	watch(&guest);
	ck_assert_int_ge(k.r->hold.vmm, 0);
	event_base_loop(k.host.base, EVLOOP_NONBLOCK);
	ck_assert(!restore_released(k.r) && !k.r->hold.ask_vmm);
	guestkit_kill(&guest);
	if (!watched[_i].over) {
		await(is_asked, "its end seen");
		ck_assert(!restore_released(k.r));
		ck_assert_str_eq(restorekit_events(&k), "");
		return;
	}
	await(is_over, "over");
	ck_assert_int_eq(k.r->rec.state, STATE_ENDED);
	ck_assert_str_eq(k.r->rec.reason, "vmm-exited");
	ck_assert_str_eq(restorekit_events(&k), "ended ");
	ck_assert_uint_eq(k.ended, 1);
	ck_assert(k.r->hold.vmm < 0 && k.r->hold.uffd < 0 && !restorekit_exists(&k, "maps"));
	/* The page map, for its last counters. */
	holdings_close_map(&k.r->hold);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* The first one that is known stays it, and another pidfd is the caller's. */
START_TEST(test_watch_once)
{
	int first = guestkit_dup(guest.pidfd), second = guestkit_dup(peer.pidfd), held = first;

	vmm_watch(k.r, &first);
	ck_assert_int_eq(first, -1);
	ck_assert_int_eq(k.r->hold.vmm, held);
	vmm_watch(k.r, &second);
	ck_assert_int_ge(second, 0);
	ck_assert_int_eq(k.r->hold.vmm, held);
	ck_assert_ptr_null(k.r->hold.ask_vmm);
	close(second);
	guestkit_kill(&peer);
	event_base_loop(k.host.base, EVLOOP_NONBLOCK);
	ck_assert(!restore_released(k.r));
	guestkit_kill(&guest);
	await(is_over, "over");
}
END_TEST

/* Who handed it over was gone before: the userfaultfd is asked at once. */
START_TEST(test_watch_without_peer)
{
	int none = -1;

	hold_uffd();
	guestkit_kill(&guest);
	vmm_watch(k.r, &none);
	ck_assert_ptr_nonnull(k.r->hold.ask_vmm);
	await(is_over, "over");
	ck_assert_str_eq(k.r->rec.reason, "vmm-exited");
}
END_TEST

/* ---- it lives elsewhere ---- */

/* The peer ended longer ago than a VMM takes to end. */
static void peer_has_ended(void)
{
	hold_uffd();
	connected_by(&peer);
	watch(&peer);
	k.r->limits_sent_us = 1;
	k.r->hold.life = (struct life){.since_us = 1, .pause_us = LIFE_ELSEWHERE_US};
	guestkit_kill(&peer);
}

START_TEST(test_elsewhere)
{
	uint64_t revision = k.r->rec.revision;

	peer_has_ended();
	await(was_found, "found");
	ck_assert_int_eq(k.r->rec.vmm_pid, guest.pid);
	ck_assert_int_eq(k.r->rec.vmm_uid, geteuid());
	ck_assert_uint_eq(k.r->rec.vmm_start, proc_start_time(guest.pid));
	ck_assert_uint_gt(k.r->rec.revision, revision);
	ck_assert_uint_eq(k.r->limits_sent_us, 0);
	ck_assert_str_eq(restorekit_events(&k), "vmm-elsewhere ");
	ck_assert_ptr_nonnull(strstr(restorekit_data(&k), "\"vmm\":"));
	ck_assert_ptr_null(strstr(restorekit_data(&k), "null"));
	/* From now on its end is the restore's. */
	ck_assert(k.r->hold.vmm >= 0 && !k.r->hold.life.since_us);
	guestkit_kill(&guest);
	await(is_over, "over");
	ck_assert_str_eq(restorekit_events(&k), "vmm-elsewhere ended ");
}
END_TEST

/* Nobody who could be looked into has it; or who has it may not be it. */
START_TEST(test_elsewhere_unknown)
{
	struct err err = {.msg = ""};

	if (_i)
		k.r->rec.caller_uid = CALLER;
	else
		guestkit_tell(&guest, GUEST_CLOSE);
	peer_has_ended();
	await(was_found, "found");
	ck_assert_uint_eq(k.r->rec.vmm_pid, 0);
	ck_assert_uint_eq(k.r->rec.vmm_start, 0);
	ck_assert_str_eq(restorekit_events(&k), "vmm-elsewhere ");
	ck_assert_ptr_nonnull(strstr(restorekit_data(&k), "null"));
	ck_assert(!restore_released(k.r) && k.r->hold.uffd >= 0);
	/* Served on, asked after, not killed. */
	ck_assert(evtimer_pending(k.r->hold.ask_vmm, NULL));
	ck_assert_int_eq(vmm_kill(k.r, &err), -1);
	ck_assert_int_eq(err.code, ERR_NOTFOUND);
	ck_assert(guestkit_lives(&guest));
	guestkit_kill(&guest);
	await(is_over, "over");
	ck_assert_str_eq(restorekit_events(&k), "vmm-elsewhere ended ");
}
END_TEST

/* What was meant for the VMM has met its peer: now it meets the VMM, where that was wanted. */
START_TEST(test_elsewhere_after_failure)
{
	static const char *const members[] = {"\"on_failure\":\"kill\"", "\"on_failure\":\"hold\""};

	begin_with(members[_i]);
	k.r->rec.state = STATE_FAILED;
	peer_has_ended();
	await(was_found, "found");
	if (_i)
		ck_assert(guestkit_lives(&guest));
	else
		ck_assert(guestkit_was_killed(&guest));
	end();
}
END_TEST

/* ---- it is killed ---- */

static const struct {
	const char *what;
	bool uffd, by_peer; /* who handed it over; else the guest itself */
	bool map_lost;      /* then who handed it over is all that is known */
	bool guest_ended;
	bool guest_killed, peer_killed;
	bool refused;
	const char *events; /* of vmm_end() */
} kills[] = {
	{"the guest", false, false, .guest_killed = true, .events = ""},
	{"with its userfaultfd", true, false, .guest_killed = true, .events = ""},
	{"it has ended", true, true, .guest_ended = true, .events = ""},
	{"it has ended, and is known", false, false, .guest_ended = true, .events = ""},
	{"another process", true, true, .guest_killed = true, .events = "vmm-elsewhere "},
	{"nobody knows which", false, true, .refused = true, .events = "kill-failed "},
	{"by its peer alone", false, true, .map_lost = true, .peer_killed = true, .events = ""},
};

static void prepare_kill(int row)
{
	const struct guestkit *by = kills[row].by_peer ? &peer : &guest;
	char path[CONF_PATH_MAX + 1];

	if (kills[row].uffd)
		hold_uffd();
	connected_by(by);
	watch(by);
	host_path(&k.host, "maps", "r", path);
	if (kills[row].map_lost)
		ck_assert_int_eq(unlink(path), 0);
	if (kills[row].guest_ended)
		guestkit_kill(&guest);
}

static void check_killed(struct guestkit *g, bool killed, const char *what)
{
	if (killed)
		ck_assert_msg(guestkit_was_killed(g), "%s", what);
	else if (g->pid)
		ck_assert_msg(guestkit_lives(g), "%s", what);
}

START_TEST(test_kill)
{
	const char *what = kills[_i].what;
	struct err err = {.code = ERR_COUNT};
	int rc;

	prepare_kill(_i);
	rc = vmm_kill(k.r, &err);
	ck_assert_msg(rc == (kills[_i].refused ? -1 : 0), "%s: %s", what, err.msg);
	if (kills[_i].refused)
		ck_assert_msg(err.code == ERR_NOTFOUND, "%s: %s", what, err.msg);
	check_killed(&guest, kills[_i].guest_killed, what);
	check_killed(&peer, kills[_i].peer_killed, what);
}
END_TEST

/* The same, and where it is refused an event says why. */
START_TEST(test_end)
{
	const char *what = kills[_i].what;

	prepare_kill(_i);
	vmm_end(k.r);
	ck_assert_msg(strcmp(restorekit_events(&k), kills[_i].events) == 0, "%s: %s", what,
		      restorekit_events(&k));
	if (kills[_i].refused)
		ck_assert_msg(strstr(restorekit_data(&k), "end the VMM yourself"), "%s: %s", what,
			      restorekit_data(&k));
	check_killed(&guest, kills[_i].guest_killed, what);
	check_killed(&peer, kills[_i].peer_killed, what);
}
END_TEST

/* Of a VMM nothing is known: there is nothing to end, and nothing to tell. */
START_TEST(test_end_without_vmm)
{
	vmm_end(k.r);
	ck_assert_str_eq(restorekit_events(&k), "");
	ck_assert(guestkit_lives(&guest) && guestkit_lives(&peer));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("vmm");
	TCase *alone = tcase_create("alone"), *tc = tcase_create("vmm");

	if (geteuid() != 0) {
		printf("1..0 # SKIP other users, and looking into processes, need root\n");
		return NULL;
	}
	tcase_add_loop_test(alone, test_may_be, 0, ARRAY_LEN(candidates));
	tcase_add_loop_test(alone, test_elsewhere_after_failure, 0, 2);
	suite_add_tcase(suite, alone);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_may_not_be_what_is_no_process);
	tcase_add_test(tc, test_shown_by_the_uffd);
	tcase_add_loop_test(tc, test_has_ended, 0, ARRAY_LEN(ends));
	tcase_add_loop_test(tc, test_watch, 0, ARRAY_LEN(watched));
	tcase_add_test(tc, test_watch_once);
	tcase_add_test(tc, test_watch_without_peer);
	tcase_add_test(tc, test_elsewhere);
	tcase_add_loop_test(tc, test_elsewhere_unknown, 0, 2);
	tcase_add_loop_test(tc, test_kill, 0, ARRAY_LEN(kills));
	tcase_add_loop_test(tc, test_end, 0, ARRAY_LEN(kills));
	tcase_add_test(tc, test_end_without_vmm);
	suite_add_tcase(suite, tc);
	return suite;
}
