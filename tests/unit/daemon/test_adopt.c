/* test_adopt - a new supervisor takes up a row: what is still there, and what follows from it */
#include "daemon/adopt.h"

#include "daemon/notify.h"
#include "tests/support/adoptkit.h"

#define OTHER_UID 4711

/* ---- a row ---- */

START_TEST(test_awaits_worker)
{
	adopt_row(k.r);
	check_awaited(STATE_SERVING);
	ck_assert_int_eq(behind(k.r->hold.vmm), guest.pid);
	ck_assert_int_lt(k.r->hold.uffd, 0);
	/* The pidfds of worker and VMM. */
	ck_assert_int_eq(fds_count(getpid()), fds + 2);
}
END_TEST

/* The worker has ended, is another process by now, or was never known. */
START_TEST(test_worker_is_dead)
{
	hold_uffd();
	if (_i == 0)
		kill_old();
	else if (_i == 1)
		k.r->rec.worker_start++;
	else
		k.r->rec.worker_pid = 0;
	adopt_row(k.r);
	check_succeeds_dead(STATE_RECOVERING);
	ck_assert_int_eq(behind(k.r->hold.vmm), guest.pid);
	ck_assert_int_eq(workerside_has_ended(&old), _i == 0);
}
END_TEST

/* The worker's death counts: too many, and the guest is given up. */
START_TEST(test_death_counts)
{
	hold_uffd();
	kill_old();
	k.host.conf.worker_restarts = 0;
	adopt_row(k.r);
	ck_assert_int_eq(k.r->rec.state, STATE_FAILED);
	ck_assert_ptr_nonnull(strstr(k.r->rec.reason, FOUND_DEAD));
}
END_TEST

/* A process of that pid which began at another time is not the VMM; the worker's uffd tells. */
START_TEST(test_vmm_is_another_process)
{
	k.r->rec.vmm_start += (uint64_t)_i;
	adopt_row(k.r);
	check_awaited(STATE_SERVING);
	ck_assert_int_eq(k.r->hold.vmm < 0, _i);
	ck_assert_ptr_null(k.r->hold.ask_vmm);
}
END_TEST

/* Neither process is there; or the worker is, and its uffd says that the guest has ended. */
START_TEST(test_vmm_has_ended)
{
	guestkit_kill(&guest);
	if (_i == 0)
		kill_old();
	/* Also of a VMM whose process was not known. */
	if (_i == 2)
		k.r->rec.vmm_pid = 0;
	adopt_row(k.r);
	ck_assert_int_eq(k.r->rec.state, STATE_ENDED);
	ck_assert_str_eq(k.r->rec.reason, "vmm-exited");
	ck_assert_str_eq(restorekit_events(&k), "ended ");
	ck_assert(restore_released(k.r) && !restorekit_exists(&k, "maps"));
	ck_assert_int_eq(fds_count(getpid()), fds);
}
END_TEST

/* systemd's: the last descriptor of so many, and the only one that it names like this. */
static void keep_uffd(const char *id)
{
	int fd = guestkit_dup(guest.uffd);
	char names[1024] = "", n[16], pid[16];
	size_t len = 0;

	for (int i = 3; i < fd; i++)
		len += (size_t)snprintf(names + len, sizeof(names) - len, "x:");
	snprintf(names + len, sizeof(names) - len, "uffd.%s", id);
	snprintf(n, sizeof(n), "%d", fd - 2);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", n, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	notify_open();
}

/* A uffd that systemd kept over the restart is taken, also while the worker lives. */
START_TEST(test_kept_uffd)
{
	keep_uffd(_i ? "another" : "r");
	adopt_row(k.r);
	check_awaited(STATE_SERVING);
	ck_assert_int_eq(k.r->hold.uffd >= 0, !_i);
}
END_TEST

/* The restore has a uffd. */
START_TEST(test_kept_uffd_is_not_needed)
{
	int own;

	hold_uffd();
	own = k.r->hold.uffd;
	keep_uffd("r");
	adopt_row(k.r);
	ck_assert_int_eq(k.r->hold.uffd, own);
	ck_assert_int_ge(notify_take("r"), 0);
}
END_TEST

/* The process that connected has ended, and the memory lives: the uffd is asked from now on. */
START_TEST(test_uffd_without_process)
{
	hold_uffd();
	k.r->rec.vmm_start++;
	if (_i)
		be_waiting();
	adopt_row(k.r);
	check_awaited(_i ? STATE_WAITING : STATE_SERVING);
	ck_assert_int_eq(k.r->hold.life.since_us != 0, !_i);
}
END_TEST

/* No VMM has connected: the worker is awaited, or another worker begins. */
START_TEST(test_waiting)
{
	be_waiting();
	if (_i == 1)
		kill_old();
	/* The worker has a uffd all the same, of a guest that has ended. */
	if (_i == 2)
		guestkit_kill(&guest);
	adopt_row(k.r);
	if (_i == 1)
		check_succeeds_dead(STATE_WAITING);
	else
		check_awaited(STATE_WAITING);
}
END_TEST

static const struct {
	const char *what;
	enum restore_state state;
	bool elsewhere;
	uint32_t uid_off;
	bool own;
} sockets[] = {
	{"in our directory", STATE_WAITING, false, 0, true},
	{"in our directory, for another", STATE_WAITING, false, OTHER_UID, true},
	{"elsewhere, for ourselves", STATE_WAITING, true, 0, true},
	{"elsewhere, for another", STATE_WAITING, true, OTHER_UID, false},
	{"when nobody is waited for", STATE_SERVING, false, 0, false},
};

/* Which socket is ours to unlink. */
START_TEST(test_own_socket)
{
	if (sockets[_i].state == STATE_WAITING)
		be_waiting();
	if (sockets[_i].elsewhere)
		snprintf(k.r->rec.socket_path, sizeof(k.r->rec.socket_path), "%s/s", k.dir);
	k.r->rec.caller_uid += sockets[_i].uid_off;
	adopt_row(k.r);
	ck_assert_msg(k.r->hold.own_socket == sockets[_i].own, "%s", sockets[_i].what);
	ck_assert_int_eq(k.r->hold.foreign_dir, sockets[_i].elsewhere);
}
END_TEST

static void lose_map(void)
{
	char path[CONF_PATH_MAX + 1];

	host_path(&k.host, "maps", "r", path);
	ck_assert_int_eq(unlink(path), 0);
}

/* With its guest, the page states are lost; the VMM is known by its process, or by its uffd. */
START_TEST(test_map_is_lost)
{
	lose_map();
	if (_i) {
		hold_uffd();
		k.r->rec.vmm_start++;
	}
	adopt_row(k.r);
	ck_assert_int_eq(k.r->rec.state, STATE_FAILED);
	ck_assert_msg(strstr(k.r->rec.reason, "its page states are lost: ") &&
			      strstr(k.r->rec.reason, "/maps/r"),
		      "%s", k.r->rec.reason);
	ck_assert_ptr_nonnull(strstr(restorekit_events(&k), "failed "));
}
END_TEST

/* The VMM has ended, so no guest hangs on the lost page map. */
START_TEST(test_map_is_lost_at_the_end)
{
	if (_i)
		hold_uffd();
	guestkit_kill(&guest);
	lose_map();
	adopt_row(k.r);
	ck_assert_int_eq(k.r->rec.state, STATE_ENDED);
	ck_assert_str_eq(restorekit_events(&k), "ended ");
}
END_TEST

static const struct {
	const char *members;
	enum restore_state state;
	bool dead; /* the worker */
	bool killed;
} failed[] = {
	{"\"on_failure\":\"kill\"", STATE_FAILED, false, true},
	{"\"on_failure\":\"hold\"", STATE_FAILED, false, false},
	{"\"on_failure\":\"kill\"", STATE_SERVING, false, false},
	{"\"on_failure\":\"kill\"", STATE_FAILED, true, true},
};

/* The former supervisor may have died before it killed the VMM. */
START_TEST(test_failed)
{
	begin_row(failed[_i].members);
	k.r->rec.state = failed[_i].state;
	hold_uffd();
	if (failed[_i].dead)
		kill_old();
	adopt_row(k.r);
	if (failed[_i].killed)
		ck_assert(guestkit_was_killed(&guest));
	else
		ck_assert(guestkit_lives(&guest));
	/* No worker can do more for a VMM that is being killed. */
	ck_assert_int_eq(k.r->slot.state == SLOT_AWAITED, !failed[_i].dead);
	ck_assert(!k.r->worker && k.r->rec.worker_restarts == 0);
	end_row();
}
END_TEST

static void add_row(TCase *tc)
{
	tcase_add_test(tc, test_awaits_worker);
	tcase_add_loop_test(tc, test_worker_is_dead, 0, 3);
	tcase_add_test(tc, test_death_counts);
	tcase_add_loop_test(tc, test_vmm_is_another_process, 0, 2);
	tcase_add_loop_test(tc, test_vmm_has_ended, 0, 3);
	tcase_add_loop_test(tc, test_kept_uffd, 0, 2);
	tcase_add_test(tc, test_kept_uffd_is_not_needed);
	tcase_add_loop_test(tc, test_uffd_without_process, 0, 2);
	tcase_add_loop_test(tc, test_waiting, 0, 3);
	tcase_add_loop_test(tc, test_own_socket, 0, ARRAY_LEN(sockets));
	tcase_add_loop_test(tc, test_map_is_lost, 0, 2);
	tcase_add_loop_test(tc, test_map_is_lost_at_the_end, 0, 2);
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("adopt");
	TCase *tc = tcase_create("row");

	tcase_add_checked_fixture(tc, begin_plain, end_row);
	add_row(tc);
	suite_add_tcase(suite, tc);
	tc = tcase_create("failed");
	tcase_add_loop_test(tc, test_failed, 0, ARRAY_LEN(failed));
	suite_add_tcase(suite, tc);
	return suite;
}
