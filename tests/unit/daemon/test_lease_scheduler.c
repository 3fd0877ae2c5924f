/* test_lease_scheduler - the messages that the leases of leases.h become, and when */
#include "daemon/lease_scheduler.h"

#include <event2/event.h>
#include <string.h>

#include "daemon/timer.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define HOUR_MS 3600000
#define SLICE_MS 100
#define CLAIMS 3
#define ANSWER_US 1000000 /* how long a worker may take to give its lease back */

static struct event_base *base;
static struct conf conf;
static struct lease_scheduler *ls;
static struct claim claims[CLAIMS];
/* What the worker of each was told last. */
static struct {
	unsigned granted, revoked;
	struct chan_lease grant;
} told[CLAIMS];

static void tell(struct claim *c, enum chan_type type, struct chan_msg *msg)
{
	size_t i = (size_t)(c - claims);

	ck_assert_uint_lt(i, CLAIMS);
	ck_assert(type == CHAN_LEASE_GRANT || type == CHAN_LEASE_REVOKE);
	if (type == CHAN_LEASE_GRANT) {
		told[i].granted++;
		told[i].grant = msg->lease;
	} else {
		told[i].revoked++;
	}
}

static const struct lease_scheduler_hooks hooks = {tell};

static void open_with(uint64_t leases, uint64_t slice_ms)
{
	conf.prefetch_leases = leases;
	conf.prefetch_slice_ms = slice_ms;
	ls = lease_scheduler_new(base, &conf, &hooks);
}

static void begin(void)
{
	memset(claims, 0, sizeof(claims));
	memset(told, 0, sizeof(told));
	conf_defaults(&conf);
	base = timer_base_new();
}

static void end(void)
{
	for (size_t i = 0; i < CLAIMS; i++)
		lease_scheduler_back(ls, &claims[i]);
	lease_scheduler_free(ls);
	event_base_free(base);
}

static void ask(size_t i)
{
	lease_scheduler_ask(ls, &claims[i], "t", 1, (uint32_t)(100 + i));
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static bool becomes(void *arg)
{
	const unsigned *n = arg;

	turn();
	return *n > 0;
}

static void await_first(unsigned *n)
{
	ck_assert(harness_wait(becomes, n, HARNESS_MS));
}

/* Not where it was asked, but in the next turn; and with the number of the ask. */
START_TEST(test_grant)
{
	open_with(2, HOUR_MS);
	for (size_t i = 0; i < CLAIMS; i++)
		ask(i);
	ck_assert_uint_eq(told[0].granted, 0);
	turn();
	ck_assert(told[0].granted == 1 && told[1].granted == 1 && told[2].granted == 0);
	ck_assert_uint_eq(told[1].grant.ask, 101);
	ck_assert_uint_eq(told[0].revoked, 0);
	/* The room of one that is given back is the next one's. */
	lease_scheduler_back(ls, &claims[0]);
	turn();
	ck_assert_uint_eq(told[2].granted, 1);
	ck_assert_int_eq(claims[0].state, CLAIM_NONE);
}
END_TEST

/* All leases together have the rate of the configuration. */
static const struct {
	uint64_t rate, leases, each;
} rates[] = {{0, 3, 0}, {3000, 3, 1000}, {1000, 3, 333}, {2, 3, 1}};

START_TEST(test_rate)
{
	conf.prefetch_bytes_per_s = rates[_i].rate;
	open_with(rates[_i].leases, HOUR_MS);
	ask(0);
	turn();
	ck_assert_uint_eq(told[0].granted, 1);
	ck_assert_uint_eq(told[0].grant.rate_bytes_per_s, rates[_i].each);
}
END_TEST

/* Half of the CPUs, at least one. */
START_TEST(test_as_many_as_cpus)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	size_t expected = cpus > 3 ? min_u64((uint64_t)cpus / 2, CLAIMS) : 1;
	size_t granted = 0;

	open_with(0, HOUR_MS);
	for (size_t i = 0; i < CLAIMS; i++)
		ask(i);
	turn();
	for (size_t i = 0; i < CLAIMS; i++)
		granted += told[i].granted;
	ck_assert_uint_eq(granted, expected);
}
END_TEST

/* One that others wait for goes on to them once its slice is over, and it has answered. */
START_TEST(test_slice)
{
	uint64_t since = now_us();

	open_with(1, SLICE_MS);
	ask(0);
	turn();
	ask(1);
	await_first(&told[0].revoked);
	ck_assert_uint_ge(now_us() - since, SLICE_MS * 1000);
	ck_assert_uint_eq(told[1].granted, 0);
	ask(0);
	turn();
	ck_assert_uint_eq(told[1].granted, 1);
	ck_assert_uint_eq(told[0].granted, 1);
	/* And back, in turns. */
	await_first(&told[1].revoked);
	lease_scheduler_back(ls, &claims[1]);
	turn();
	ck_assert_uint_eq(told[0].granted, 2);
}
END_TEST

/* Nobody waits: it is kept, and no timer runs. */
START_TEST(test_alone)
{
	open_with(1, 0);
	ask(0);
	turn();
	turn();
	ck_assert(told[0].granted == 1 && told[0].revoked == 0);
	ck_assert_int_eq(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 0);
	lease_scheduler_back(ls, &claims[0]);
	turn();
	/* Who has none gives none back. */
	lease_scheduler_back(ls, &claims[0]);
	ck_assert_int_eq(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 0);
}
END_TEST

/* A worker that hangs keeps the others waiting only so long; at a rate, it may pay for its step. */
START_TEST(test_no_answer)
{
	const uint64_t rate = 4 * PAGE_2M;
	uint64_t asked, allowed = ANSWER_US + (_i ? 1000000 / 4 : 0);

	conf.prefetch_bytes_per_s = _i ? rate : 0;
	open_with(1, 0);
	ask(0);
	turn();
	asked = now_us();
	ask(1);
	await_first(&told[1].granted);
	ck_assert_uint_eq(told[0].revoked, 1);
	ck_assert_uint_ge(now_us() - asked, allowed);
	ck_assert_int_eq(claims[0].state, CLAIM_OVERDUE);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("lease scheduler");
	TCase *tc = tcase_create("lease scheduler");

	lease_scheduler_free(NULL);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_grant);
	tcase_add_loop_test(tc, test_rate, 0, ARRAY_LEN(rates));
	tcase_add_test(tc, test_as_many_as_cpus);
	tcase_add_test(tc, test_slice);
	tcase_add_test(tc, test_alone);
	tcase_add_loop_test(tc, test_no_answer, 0, 2);
	suite_add_tcase(suite, tc);
	return suite;
}
