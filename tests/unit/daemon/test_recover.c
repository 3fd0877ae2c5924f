/* test_recover - what is found out once a worker has died, and what is done where none takes over */
#include "daemon/recover.h"

#include "tests/support/recoverkit.h"

#define CALLER 4001
#define ENDING_S 10

/* ---- it is over ---- */

START_TEST(test_vmm_has_ended)
{
	guestkit_serve(&guest, &k);
	hold_vmm();
	if (_i)
		hold_uffd();
	guestkit_kill(&guest);
	recover_worker(k.r, HOW, true);
	check_over(STATE_ENDED, "vmm-exited", "ended ");
}
END_TEST

/* Only the page map knew of it. */
START_TEST(test_vmm_of_the_map_has_ended)
{
	meet_untold();
	guestkit_kill(&guest);
	recover_worker(k.r, HOW, true);
	check_over(STATE_ENDED, "vmm-exited", "connected ended ");
	ck_assert_uint_eq(k.r->rec.memory_bytes, GUESTKIT_BYTES);
	ck_assert_uint_eq(k.r->rec.page_bytes, PAGE_4K);
}
END_TEST

/* A process of another user than the caller's: what the page map says is the worker's word. */
START_TEST(test_vmm_of_the_map_is_not_believed)
{
	k.r->rec.caller_uid = CALLER;
	meet_untold();
	recover_worker(k.r, HOW, true);
	check_over(STATE_ENDED, "vmm-exited", "connected ended ");
	ck_assert(guestkit_lives(&guest));
}
END_TEST

/* ---- nobody can ---- */

static const struct {
	enum slot_state slot;
	enum restore_state state;
	const char *members;
	bool left;
} unrecoverable[] = {
	{SLOT_LOST, STATE_SERVING, "", true},
	{SLOT_LOST, STATE_FAILED, "\"on_failure\":\"hold\"", true},
	{SLOT_EMPTY, STATE_FAILED, "\"on_failure\":\"kill\"", true},
	{SLOT_EMPTY, STATE_FAILED, "\"on_failure\":\"hold\"", false},
	{SLOT_EMPTY, STATE_FAILED, "\"on_failure\":\"poison\"", false},
};

START_TEST(test_unrecoverable)
{
	begin_with(unrecoverable[_i].members);
	guestkit_serve(&guest, &k);
	hold_uffd();
	k.r->slot.state = unrecoverable[_i].slot;
	k.r->rec.state = unrecoverable[_i].state;
	recover_worker(k.r, HOW, true);
	ck_assert_int_eq(!k.r->worker, unrecoverable[_i].left);
	ck_assert_str_eq(restorekit_events(&k), unrecoverable[_i].left ? "" : "worker-died ");
	ck_assert_int_eq(k.r->rec.state, unrecoverable[_i].state);
	ck_assert(k.r->hold.uffd >= 0 && guestkit_lives(&guest));
	end();
}
END_TEST

static const struct {
	const char *members;
	bool known; /* its process */
	bool killed, over;
	const char *reason;
} without_uffd[] = {
	{"\"on_failure\":\"kill\"", true, true, false, "holds no userfaultfd with its regions"},
	{"\"on_failure\":\"poison\"", true, true, false, "holds no userfaultfd with its regions"},
	{"\"on_failure\":\"hold\"", true, false, false, "holds no userfaultfd with its regions"},
	{"\"on_failure\":\"kill\"", false, false, true, "is not known"},
};

/* The memory is there, and none but the dead worker had the userfaultfd. */
START_TEST(test_no_uffd)
{
	begin_with(without_uffd[_i].members);
	guestkit_serve(&guest, &k);
	guestkit_tell(&guest, GUEST_CLOSE);
	if (without_uffd[_i].known)
		hold_vmm();
	else
		k.r->rec.vmm_pid = 0;
	recover_worker(k.r, HOW, true);
	ck_assert_int_eq(k.r->rec.state, STATE_FAILED);
	ck_assert_ptr_nonnull(strstr(k.r->rec.reason, "nobody has the userfaultfd for another"));
	ck_assert_msg(strstr(k.r->rec.reason, without_uffd[_i].reason), "%s", k.r->rec.reason);
	ck_assert_str_eq(restorekit_events(&k), "failed ");
	ck_assert_int_eq(restore_released(k.r), without_uffd[_i].over);
	ck_assert(!k.r->worker && k.r->hold.uffd < 0);
	if (without_uffd[_i].killed)
		ck_assert(guestkit_was_killed(&guest));
	else
		ck_assert(guestkit_lives(&guest));
	end();
}
END_TEST

/* Also nobody knows what is in the pages. */
START_TEST(test_map_is_lost)
{
	struct err why;

	guestkit_serve(&guest, &k);
	hold_vmm();
	k.r->spec.on_failure = FAILURE_KILL;
	err_set(&why, ERR_SYSTEM, "a test");
	recover_act(k.r, PLAN_LEAVE, HOW, &why);
	recover_act(k.r, PLAN_AWAIT_WORKER, HOW, &why);
	ck_assert_str_eq(restorekit_events(&k), "");
	recover_act(k.r, PLAN_FAIL_MAP, HOW, &why);
	ck_assert_str_eq(k.r->rec.reason, "its page states are lost: a test");
	ck_assert_str_eq(restorekit_events(&k), "failed ");
	ck_assert(guestkit_was_killed(&guest));
}
END_TEST

/* ---- the VMM has no memory ---- */

static void lose_memory(void)
{
	struct timeval tv, now;

	guestkit_serve(&guest, &k);
	k.r->spec.on_failure = FAILURE_HOLD;
	guestkit_tell(&guest, GUEST_UNMAP);
	guestkit_tell(&guest, GUEST_CLOSE);
	hold_vmm();
	recover_worker(k.r, HOW, true);
	ck_assert_int_eq(k.r->rec.state, STATE_RECOVERING);
	ck_assert_str_eq(restorekit_events(&k), "vmm-ending ");
	ck_assert_ptr_nonnull(strstr(restorekit_data(&k), "\"pid\":"));
	ck_assert(!k.r->worker && !restore_released(k.r) && k.r->hold.vmm >= 0);
	ck_assert(evtimer_pending(k.r->hold.no_memory, &tv));
	event_base_gettimeofday_cached(k.host.base, &now);
	evutil_timersub(&tv, &now, &tv);
	ck_assert_int_le(tv.tv_sec, ENDING_S);
}

START_TEST(test_ends_without_memory)
{
	lose_memory();
	guestkit_kill(&guest);
	ck_assert_msg(harness_wait(is_over, &k, HARNESS_MS), "its end is not seen");
	check_over(STATE_ENDED, "vmm-exited", "vmm-ending ended ");
	ck_assert_ptr_null(k.r->hold.no_memory);
}
END_TEST

static bool has_fired(void *arg)
{
	workerkit_turn(arg);
	return !evtimer_pending(k.r->hold.no_memory, NULL);
}

/* As if its time were over. */
static void fire(void)
{
	ck_assert_int_eq(event_del(k.r->hold.no_memory), 0);
	event_active(k.r->hold.no_memory, EV_TIMEOUT, 0);
	ck_assert_msg(harness_wait(has_fired, &k, HARNESS_MS), "no turn");
}

START_TEST(test_does_not_end_without_memory)
{
	lose_memory();
	fire();
	ck_assert_int_eq(k.r->rec.state, STATE_FAILED);
	ck_assert_msg(strstr(k.r->rec.reason, "no memory any more, and does not end"), "%s",
		      k.r->rec.reason);
	ck_assert_str_eq(restorekit_events(&k), "vmm-ending failed ");
	/* Its end is still the restore's. */
	ck_assert(guestkit_lives(&guest) && !restore_released(k.r));
	guestkit_kill(&guest);
	ck_assert_msg(harness_wait(is_over, &k, HARNESS_MS), "its end is not seen");
	check_over(STATE_FAILED, "does not end", "vmm-ending failed released ");
}
END_TEST

/* It ended at the last moment, and its pidfd has not had its turn. */
START_TEST(test_ends_in_time_without_memory)
{
	lose_memory();
	ck_assert_int_eq(event_del(k.r->hold.on_vmm), 0);
	guestkit_kill(&guest);
	fire();
	ck_assert_int_eq(k.r->rec.state, STATE_RECOVERING);
	ck_assert_str_eq(restorekit_events(&k), "vmm-ending ");
}
END_TEST

/* ---- it was left alone ---- */

START_TEST(test_left_alone)
{
	static const char *const events[] = {"ended ", "complete ended ", "ended "};

	guestkit_serve(&guest, &k);
	guestkit_tell(&guest, GUEST_RELEASE);
	note_in_map(_i > 0, true);
	k.r->rec.complete = _i > 1;
	hold_vmm();
	recover_worker(k.r, HOW, true);
	check_over(STATE_ENDED, "released", events[_i]);
	ck_assert_int_eq(k.r->rec.complete, _i > 0);
	ck_assert(guestkit_lives(&guest));
}
END_TEST

/* ---- is it over, for who adopts ---- */

static const struct {
	bool uffd, vmm, worker; /* who can be asked; the worker has the userfaultfd */
	bool pid;               /* somebody had connected */
	enum restore_state state;
	bool over, over_later; /* while the VMM lives, and when it has ended */
} asked[] = {
	{true, false, false, true, STATE_SERVING, false, true},
	{false, true, false, true, STATE_SERVING, false, true},
	{false, false, true, true, STATE_SERVING, false, true},
	{false, false, false, true, STATE_SERVING, true, true},
	{false, false, false, false, STATE_FAILED, true, true},
	{false, false, false, false, STATE_WAITING, false, false},
};

/* A process with nothing but what the test holds: the guest's userfaultfd. */
static pid_t start_holder(int *ret_pidfd)
{
	pid_t pid = fork();
	struct err err;

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	ck_assert_int_eq(proc_pidfd(pid, ret_pidfd, &err), 0);
	return pid;
}

START_TEST(test_is_over)
{
	int worker = -1;
	pid_t holder = start_holder(&worker);

	if (asked[_i].uffd)
		hold_uffd();
	if (asked[_i].vmm)
		k.r->hold.vmm = guestkit_dup(guest.pidfd);
	k.r->rec.vmm_pid = asked[_i].pid ? (uint32_t)guest.pid : 0;
	k.r->rec.worker_pid = (uint32_t)holder;
	k.r->rec.state = asked[_i].state;
	if (!asked[_i].worker)
		close_fd(&worker);
	ck_assert_int_eq(recover_is_over(k.r, worker), asked[_i].over);
	ck_assert_int_eq(recover_has_begun(k.r), asked[_i].state != STATE_WAITING);
	guestkit_kill(&guest);
	ck_assert_int_eq(recover_is_over(k.r, worker), asked[_i].over_later);
	close_fd(&worker);
	kill(holder, SIGKILL);
	ck_assert_int_eq(waitpid(holder, NULL, 0), holder);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("recover");
	TCase *tc = tcase_create("recover"), *policy = tcase_create("policy");

	if (geteuid() != 0) {
		printf("1..0 # SKIP looking into other processes needs root\n");
		return NULL;
	}
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_loop_test(tc, test_vmm_has_ended, 0, 2);
	tcase_add_test(tc, test_vmm_of_the_map_has_ended);
	tcase_add_test(tc, test_vmm_of_the_map_is_not_believed);
	tcase_add_test(tc, test_map_is_lost);
	tcase_add_test(tc, test_ends_without_memory);
	tcase_add_test(tc, test_does_not_end_without_memory);
	tcase_add_test(tc, test_ends_in_time_without_memory);
	tcase_add_loop_test(tc, test_left_alone, 0, 3);
	tcase_add_loop_test(tc, test_is_over, 0, ARRAY_LEN(asked));
	suite_add_tcase(suite, tc);
	tcase_add_loop_test(policy, test_unrecoverable, 0, ARRAY_LEN(unrecoverable));
	tcase_add_loop_test(policy, test_no_uffd, 0, ARRAY_LEN(without_uffd));
	suite_add_tcase(suite, policy);
	return suite;
}
