/* test_adopt_wait - the worker of a former run is waited for: it comes back, ends, or is ended */
#include "daemon/adopt.h"

#include "tests/support/adoptkit.h"

/* ---- it is awaited ---- */

static bool has_moved(void *arg)
{
	(void)arg;
	workerkit_turn(&k);
	return k.r->slot.state != SLOT_AWAITED;
}

static void await_move(void)
{
	ck_assert_msg(harness_wait(has_moved, NULL, HARNESS_MS), "it waits on");
}

/* The worker's end is seen, and the worker is reaped where it is our child. */
START_TEST(test_old_worker_dies)
{
	hold_uffd();
	adopt_row(k.r);
	kill_old();
	await_move();
	check_succeeds_dead(STATE_RECOVERING);
	ck_assert(!k.r->hold.back_by && k.r->hold.old_worker < 0);
	ck_assert(kill(old, 0) < 0 && errno == ESRCH);
	old = 0;
}
END_TEST

/* The death of an awaited worker counts like that of any other. */
START_TEST(test_old_worker_dies_too_often)
{
	hold_uffd();
	adopt_row(k.r);
	k.host.conf.worker_restarts = 0;
	kill_old();
	await_move();
	ck_assert_int_eq(k.r->rec.state, STATE_FAILED);
	ck_assert_ptr_nonnull(strstr(k.r->rec.reason, FOUND_DEAD));
	old = 0;
}
END_TEST

static void fire(void)
{
	event_active(k.r->hold.back_by, EV_TIMEOUT, 0);
	workerkit_turn(&k);
}

/* A worker that lives is waited for, however long it takes. That it is missing is told once. */
START_TEST(test_time_is_over)
{
	hold_uffd();
	adopt_row(k.r);
	fire();
	ck_assert_int_eq(k.r->slot.state, SLOT_AWAITED);
	ck_assert_int_eq(k.r->rec.state, STATE_SERVING);
	ck_assert_str_eq(restorekit_events(&k), "worker-missing ");
	ck_assert(!event_pending(k.r->hold.back_by, EV_TIMEOUT, NULL));
	ck_assert(event_pending(k.r->hold.back_by, EV_READ, NULL));
	ck_assert_int_eq(kill(old, 0), 0);
	kill_old();
	await_move();
	check_succeeds_after("worker-missing worker-died ", STATE_RECOVERING);
	old = 0;
}
END_TEST

/* Its successor begins once the worker has ended. */
START_TEST(test_replaced)
{
	struct err err = {.msg = ""};

	hold_uffd();
	adopt_row(k.r);
	if (_i)
		fire();
	ck_assert_msg(recover_replace(k.r, &err) == 0, "%s", err.msg);
	await_move();
	ck_assert(kill(old, 0) < 0 && errno == ESRCH);
	check_succeeds_after(_i ? "worker-missing worker-died " : "worker-died ", STATE_RECOVERING);
	old = 0;
}
END_TEST

/* While descriptors are short no worker is accepted, which is not the worker's fault. */
START_TEST(test_time_is_over_without_room)
{
	struct timeval soon = {.tv_usec = 1};

	adopt_row(k.r);
	has_room = false;
	event_add(k.r->hold.back_by, &soon);
	fire();
	check_awaited(STATE_SERVING);
	ck_assert_uint_gt(left_s(), BACK_S / 2);
	/* The worker's end is seen all the same. */
	hold_uffd();
	kill_old();
	await_move();
	check_succeeds_dead(STATE_RECOVERING);
	old = 0;
}
END_TEST

/* The worker is @old from now on: it has said REATTACH, and stays. */
static void come_back(void)
{
	struct chan_msg msg = {.reattach.chan_version = CHAN_VERSION};
	int ready[2], chan;
	struct err err;
	char byte;

	kill_old();
	waitpid(old, NULL, 0);
	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	old = fork();
	if (old == 0) {
		snprintf(msg.reattach.key, sizeof(msg.reattach.key), "r");
		if (sock_connect(back_path, SOCK_SEQPACKET, &chan, &err) ||
		    chan_send(chan, CHAN_REATTACH, &msg, NULL, 0, &err) ||
		    write(ready[1], "!", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	k.r->rec.worker_pid = (uint32_t)old;
	k.r->rec.worker_start = proc_start_time(old);
}

/*
 * It has spoken before it died, or before its time was over; perhaps we have kept it waiting. What
 * it has said counts, and its death is that of a worker.
 */
START_TEST(test_comes_back_at_the_last_moment)
{
	come_back();
	adopt_row(k.r);
	check_awaited(STATE_SERVING);
	if (_i)
		kill_old();
	else
		fire();
	await_move();
	ck_assert_int_eq(k.r->slot.state, SLOT_READY);
	ck_assert(k.r->worker || heard.ends == 1);
	ck_assert_str_eq(restorekit_events(&k), "adopted ");
	ck_assert(!k.r->hold.back_by && k.r->hold.old_worker < 0);
	if (_i)
		old = 0;
	else
		ck_assert(!workerside_has_ended(&old));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("adopt wait");
	TCase *tc = tcase_create("awaited");

	tcase_add_checked_fixture(tc, begin_plain, end_row);
	tcase_add_test(tc, test_old_worker_dies);
	tcase_add_test(tc, test_old_worker_dies_too_often);
	tcase_add_test(tc, test_time_is_over);
	tcase_add_loop_test(tc, test_replaced, 0, 2);
	tcase_add_test(tc, test_time_is_over_without_room);
	tcase_add_loop_test(tc, test_comes_back_at_the_last_moment, 0, 2);
	suite_add_tcase(suite, tc);
	return suite;
}
