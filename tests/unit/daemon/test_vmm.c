/* test_vmm - whether the VMM has ended, and who is killed for it; as root */
#include "daemon/vmm.h"

#include "common/uffd.h"
#include "tests/support/fds.h"
#include "tests/support/guestkit.h"

#define CALLER 4001

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
	tcase_add_loop_test(alone, test_elsewhere_after_failure, 0, 2);
	suite_add_tcase(suite, alone);
	tcase_add_checked_fixture(tc, begin, end);
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
