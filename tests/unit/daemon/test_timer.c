/* Timers: none ends before its time. */
#include "daemon/timer.h"

#include <event2/event.h>

#include "tests/support/runner.h"

#define WAIT_US (7 * TIMER_MS)
#define WORK_US (30 * TIMER_MS)
#define TICK_US (1 * TIMER_MS)
#define ROUNDS 40

struct rounds {
	struct event_base *base;
	struct event *timer;
	struct event *tick;
	uint64_t due_us; /* of the timer */
	int n;
};

static void work(void)
{
	uint64_t begun = now_us();

	while (now_us() - begun < WORK_US)
		;
}

static void add(struct rounds *r)
{
	r->due_us = now_us() + WAIT_US;
	timer_add(r->timer, WAIT_US);
}

/* Every fourth time the loop's turn is old when the next timer is added. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct rounds *r = arg;
	uint64_t now = now_us();

	(void)fd;
	(void)what;
	ck_assert_msg(now >= r->due_us, "round %d: %ju us early", r->n,
		      (uintmax_t)(r->due_us - now));
	if (++r->n == ROUNDS) {
		event_base_loopbreak(r->base);
		return;
	}
	if (r->n % 4 == 0)
		work();
	add(r);
}

/* Other events wake the loop in between, as requests and workers do. */
static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct rounds *r = arg;

	(void)fd;
	(void)what;
	timer_add(r->tick, TICK_US);
}

START_TEST(never_early)
{
	struct rounds r = {.base = timer_base_new()};

	ck_assert_ptr_nonnull(r.base);
	r.timer = evtimer_new(r.base, on_timer, &r);
	r.tick = evtimer_new(r.base, on_tick, &r);
	timer_add(r.tick, TICK_US);
	add(&r);
	event_base_dispatch(r.base);
	ck_assert_int_eq(r.n, ROUNDS);
	timer_drop(&r.timer);
	ck_assert_ptr_null(r.timer);
	timer_drop(&r.timer);
	timer_drop(&r.tick);
	event_base_free(r.base);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("timer");
	TCase *tc = tcase_create("timer");

	tcase_add_test(tc, never_early);
	suite_add_tcase(suite, tc);
	return suite;
}
