/* test_recover_successor - another worker takes a restore over: with what, and how often */
#include "daemon/recover.h"

#include "tests/support/recoverkit.h"

#define HOUR_MS 3600000
#define DEAD_SINCE_US ((uint64_t)10 * 1000 * 1000)

/* ---- another takes over ---- */

/* Its worker may still leave. */
static bool is_released(void *arg)
{
	workerkit_turn(arg);
	return slot_is_released(&k.r->slot);
}

/* A VMM that only the page map knew is known from now on, and its end the restore's. */
START_TEST(test_vmm_of_the_map_lives)
{
	meet_untold();
	recover_worker(k.r, HOW, true);
	check_succeeds(STATE_RECOVERING, "connected worker-died ");
	ck_assert_int_eq(k.r->rec.vmm_pid, guest.pid);
	ck_assert_uint_eq(k.r->rec.vmm_start, proc_start_time(guest.pid));
	ck_assert(k.r->hold.vmm >= 0 && k.r->hold.uffd >= 0);
	ck_assert(!restorekit_exists(&k, "uffd"));
	guestkit_kill(&guest);
	ck_assert_msg(harness_wait(is_released, &k, HARNESS_MS), "its end is not seen");
	ck_assert_str_eq(restorekit_events(&k), "connected worker-died ended ");
}
END_TEST

static bool is_let_in(void *arg)
{
	workerkit_turn(arg);
	return k.r->hold.acceptor.n > 0;
}

static void listen_for_vmm(void)
{
	struct err err = {.msg = ""};
	int fd = -1;

	ck_assert_int_eq(unlink(k.r->spec.socket_path), 0);
	ck_assert_msg(sock_listen(k.r->spec.socket_path, SOCK_STREAM, sock_mode(0600), &fd, &err) ==
			      0,
		      "%s", err.msg);
	acceptor_open(&k.r->hold.acceptor, &fd, 0, true);
}

/* Its message is in the connection that is kept, and the userfaultfd nowhere else. */
START_TEST(test_vmm_of_the_map_is_connected)
{
	listen_for_vmm();
	guestkit_tell(&guest, GUEST_CONNECT);
	guestkit_tell(&guest, GUEST_CLOSE);
	ck_assert_msg(harness_wait(is_let_in, &k, HARNESS_MS), "nobody is let in");
	meet_untold();
	recover_worker(k.r, HOW, true);
	check_succeeds(STATE_RECOVERING, "connected worker-died ");
	ck_assert(k.r->hold.vmm >= 0 && k.r->hold.uffd >= 0);
	ck_assert_int_eq(uffd_life(k.r->hold.uffd), UF_LIVES);
	ck_assert_uint_eq(k.r->hold.acceptor.n, 0);
	guestkit_kill(&guest);
	ck_assert_int_eq(uffd_life(k.r->hold.uffd), UF_ENDED);
}
END_TEST

/* Nobody has come yet: all begins anew, and the same socket goes on. */
START_TEST(test_waits_on)
{
	struct stat before, after;
	char path[CONF_PATH_MAX + 1];

	workerkit_snapshot(&k);
	listen_for_vmm();
	host_path(&k.host, "maps", "r", path);
	ck_assert_int_eq(stat(path, &before), 0);
	k.r->slot.state = SLOT_EMPTY;
	recover_worker(k.r, HOW, true);
	check_succeeds(STATE_WAITING, "worker-died ");
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert_uint_ne(before.st_ino, after.st_ino);
	ck_assert_int_eq(k.r->hold.uffd, -1);
	ck_assert_msg(workerkit_hear(&k) == CHAN_READY, "%s", heard.msg.failed.msg);
	ck_assert(acceptor_listens(heard.fd));
	ck_assert(restorekit_exists(&k, "uffd"));
}
END_TEST

static const struct {
	bool uffd; /* else it is fetched from the VMM */
	enum restore_state before, then, recovered;
	const char *events;
} successions[] = {
	{true, STATE_SERVING, STATE_RECOVERING, STATE_SERVING, "worker-died recovered "},
	{false, STATE_SERVING, STATE_RECOVERING, STATE_SERVING, "worker-died recovered "},
	{true, STATE_RECOVERING, STATE_RECOVERING, STATE_SERVING, "worker-died recovered "},
	/* It held, for somebody to look at it: its pages that are there stay so. */
	{true, STATE_FAILED, STATE_FAILED, STATE_FAILED, "worker-died recovered "},
};

/* The successor is a real one, and says that it has all that it needs. */
START_TEST(test_succeeds)
{
	begin_with("\"on_failure\":\"hold\"");
	guestkit_serve(&guest, &k);
	note_in_map(true, false);
	hold_vmm();
	if (successions[_i].uffd)
		hold_uffd();
	k.r->rec.state = successions[_i].before;
	recover_worker(k.r, HOW, true);
	check_succeeds(successions[_i].then, "worker-died ");
	ck_assert_int_eq(uffd_life(k.r->hold.uffd), UF_LIVES);
	ck_assert_msg(workerkit_hear(&k) == CHAN_READY, "%s", heard.msg.failed.msg);
	ck_assert_uint_eq(heard.msg.ready.size_bytes, GUESTKIT_BYTES);
	slot_event(&k.r->slot, SLOT_LOADED);
	recover_done(k.r);
	ck_assert_int_eq(k.r->rec.state, successions[_i].recovered);
	ck_assert_str_eq(restorekit_events(&k), successions[_i].events);
	ck_assert(guestkit_lives(&guest));
	end();
}
END_TEST

/* A stop whose time came while nobody served. */
START_TEST(test_stops_once_recovered)
{
	guestkit_serve(&guest, &k);
	hold_vmm();
	hold_uffd();
	k.r->spec.on_failure = FAILURE_KILL;
	k.r->slot.state = SLOT_READY;
	k.r->rec.state = STATE_RECOVERING;
	snprintf(k.r->rec.stop_reason, sizeof(k.r->rec.stop_reason), "stopped");
	k.r->rec.stop_by_us = 1;
	recover_done(k.r);
	ck_assert_int_eq(k.r->rec.state, STATE_SERVING);
	ck_assert(guestkit_was_killed(&guest));
}
END_TEST

/* ---- again and again ---- */

static const struct {
	unsigned max, deaths;
	uint64_t window_ms;
	bool counted, fails;
} deaths[] = {
	{0, 0, HOUR_MS, true, true},
	{1, 0, HOUR_MS, true, false},
	{5, 4, HOUR_MS, true, false},
	{5, 5, HOUR_MS, true, true},
	/* It was wanted. */
	{0, 0, HOUR_MS, false, false},
	{5, 5, HOUR_MS, false, false},
	/* The others are long ago. */
	{5, 5, 1000, true, false},
};

START_TEST(test_dies_again)
{
	guestkit_serve(&guest, &k);
	hold_vmm();
	hold_uffd();
	k.host.conf.worker_restarts = deaths[_i].max;
	k.host.conf.worker_restart_window_ms = deaths[_i].window_ms;
	k.r->spec.on_failure = FAILURE_KILL;
	k.r->slot.deaths = deaths[_i].deaths;
	k.r->slot.deaths_since_us = now_us() - DEAD_SINCE_US;
	recover_worker(k.r, HOW, deaths[_i].counted);
	if (!deaths[_i].fails) {
		check_succeeds(STATE_RECOVERING, "worker-died ");
		ck_assert(guestkit_lives(&guest));
		return;
	}
	ck_assert_int_eq(k.r->rec.state, STATE_FAILED);
	ck_assert_str_eq(k.r->rec.reason, "its workers die again and again, the last by " HOW);
	ck_assert_str_eq(restorekit_events(&k), "failed ");
	ck_assert(!k.r->worker && guestkit_was_killed(&guest));
}
END_TEST

/* ---- the successor is none ---- */

START_TEST(test_no_successor)
{
	char path[CONF_PATH_MAX + 1];

	guestkit_serve(&guest, &k);
	hold_vmm();
	hold_uffd();
	k.r->spec.on_failure = FAILURE_KILL;
	host_path(&k.host, "maps", "r", path);
	ck_assert_int_eq(unlink(path), 0);
	recover_worker(k.r, HOW, true);
	ck_assert_int_eq(k.r->rec.state, STATE_FAILED);
	ck_assert_msg(strstr(k.r->rec.reason, "no worker could take over: open the page map"), "%s",
		      k.r->rec.reason);
	ck_assert_str_eq(restorekit_events(&k), "worker-died failed ");
	ck_assert(!k.r->worker && k.r->slot.state == SLOT_EMPTY);
	ck_assert(guestkit_was_killed(&guest));
	/* The one that was chosen is ended. */
	workerkit_await_none(&k);
}
END_TEST

/* It dies when it has been chosen, and has not been given the restore. */
static void kill_chosen(void *arg, struct restore *r)
{
	struct pollfd p = {.events = POLLIN};
	struct err err;

	(void)arg;
	if (!r->worker || heard.ends)
		return;
	p.fd = r->worker->pidfd;
	ck_assert_int_eq(proc_kill(p.fd, &err), 0);
	ck_assert_int_eq(poll(&p, 1, harness_scale_ms(HARNESS_MS)), 1);
}

START_TEST(test_successor_is_dying)
{
	static struct host_hooks hooks;

	hooks = restorekit_host;
	guestkit_serve(&guest, &k);
	hold_vmm();
	hold_uffd();
	hooks.changed = kill_chosen;
	k.host.hooks = &hooks;
	recover_worker(k.r, HOW, true);
	/* One more death, which is heard of like any other. */
	check_succeeds(STATE_RECOVERING, "worker-died ");
	ck_assert_msg(harness_wait(workerkit_has_ended, &k, HARNESS_MS), "it lives");
	ck_assert_int_eq(slot_event(&k.r->slot, SLOT_EXITED), SLOT_SUCCEED);
	recover_worker(k.r, HOW, true);
	ck_assert_uint_eq(k.r->rec.worker_restarts, 2);
	ck_assert_str_eq(restorekit_events(&k), "worker-died worker-died ");
	ck_assert(k.r->worker && guestkit_lives(&guest));
}
END_TEST

/* ---- on request ---- */

static const struct {
	enum slot_state slot, then;
	enum restore_state state;
	bool refused;
} replacements[] = {
	{SLOT_READY, SLOT_REPLACING, STATE_SERVING},
	{SLOT_READY, SLOT_REPLACING, STATE_WAITING},
	{SLOT_LOADING, SLOT_REPLACING_LOADER, STATE_RECOVERING},
	{SLOT_REPLACING, SLOT_REPLACING, STATE_SERVING},
	{SLOT_READY, SLOT_READY, STATE_FAILED, true},
	{SLOT_CREATING, SLOT_CREATING, STATE_WAITING, true},
	{SLOT_LOST, SLOT_LOST, STATE_SERVING, true},
};

static bool worker_lives(void)
{
	return k.r->worker && !proc_ended(k.r->worker->pidfd);
}

START_TEST(test_replace)
{
	struct err err = {.msg = ""};

	guestkit_serve(&guest, &k);
	hold_uffd();
	note_in_map(true, false);
	recover_worker(k.r, HOW, true);
	ck_assert_int_eq(workerkit_hear(&k), CHAN_READY);
	k.r->slot.state = replacements[_i].slot;
	k.r->rec.state = replacements[_i].state;
	ck_assert_int_eq(recover_replace(k.r, &err), replacements[_i].refused ? -1 : 0);
	ck_assert_int_eq(k.r->slot.state, replacements[_i].then);
	if (replacements[_i].refused) {
		ck_assert_int_eq(err.code, ERR_STATE);
		ck_assert(worker_lives());
		return;
	}
	ck_assert_msg(harness_wait(workerkit_has_ended, &k, HARNESS_MS), "it lives");
	ck_assert_int_eq(slot_event(&k.r->slot, SLOT_EXITED), SLOT_SUCCEED_UNCOUNTED);
	/* Now there is none. */
	ck_assert_int_eq(recover_replace(k.r, &err), -1);
	ck_assert_int_eq(err.code, ERR_STATE);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("successor");
	TCase *tc = tcase_create("successor"), *policy = tcase_create("policy");

	if (geteuid() != 0) {
		printf("1..0 # SKIP looking into other processes needs root\n");
		return NULL;
	}
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_vmm_of_the_map_lives);
	tcase_add_test(tc, test_vmm_of_the_map_is_connected);
	tcase_add_test(tc, test_waits_on);
	tcase_add_test(tc, test_stops_once_recovered);
	tcase_add_loop_test(tc, test_dies_again, 0, ARRAY_LEN(deaths));
	tcase_add_test(tc, test_no_successor);
	tcase_add_test(tc, test_successor_is_dying);
	tcase_add_loop_test(tc, test_replace, 0, ARRAY_LEN(replacements));
	suite_add_tcase(suite, tc);
	tcase_add_loop_test(policy, test_succeeds, 0, ARRAY_LEN(successions));
	suite_add_tcase(suite, policy);
	return suite;
}
