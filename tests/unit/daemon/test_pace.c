/* test_pace - so many calls a second, for each tenant */
#include "daemon/pace.h"

#include "tests/support/runner.h"

#define SECOND ((uint64_t)1000000)

static struct pace p;
static uint64_t wait_us;

static void begin(void)
{
	p = (struct pace){0};
}

static void end(void)
{
	pace_fini(&p);
	pace_fini(&p);
}

/* How many calls are let through at that time. */
static unsigned burst(const char *tenant, uint64_t per_s, uint64_t now_us)
{
	unsigned n = 0;

	while (pace_take(&p, tenant, per_s, now_us, &wait_us))
		n++;
	return n;
}

START_TEST(test_rate)
{
	ck_assert_uint_eq(burst("t", 10, 5 * SECOND), 10);
	ck_assert_uint_eq(wait_us, SECOND / 10);
	ck_assert_uint_eq(burst("t", 10, 5 * SECOND + SECOND / 20), 0);
	ck_assert_uint_eq(wait_us, SECOND / 20);
	ck_assert_uint_eq(burst("t", 10, 5 * SECOND + SECOND / 10), 1);
	ck_assert_uint_eq(burst("t", 10, 5 * SECOND + SECOND / 2), 4);
	/* What was not used is not kept for ever. */
	ck_assert_uint_eq(burst("t", 10, 500 * SECOND), 10);
}
END_TEST

START_TEST(test_slowest)
{
	ck_assert_uint_eq(burst("t", 1, 0), 1);
	ck_assert_uint_eq(burst("t", 1, SECOND - 1), 0);
	ck_assert_uint_eq(wait_us, 1);
	ck_assert_uint_eq(burst("t", 1, SECOND), 1);
}
END_TEST

START_TEST(test_each_its_own)
{
	ck_assert_uint_eq(burst("t", 5, SECOND), 5);
	ck_assert_uint_eq(burst("u", 7, SECOND), 7);
	ck_assert_uint_eq(burst("t", 5, SECOND), 0);
	/* Another rate from now on. */
	ck_assert_uint_eq(burst("t", 50, SECOND + SECOND / 2), 25);
}
END_TEST

/* Names that come and go cost no memory, and none that still counts is lost. */
START_TEST(test_many)
{
	uint64_t now = SECOND;
	char name[16];

	ck_assert_uint_eq(burst("kept", 2, now), 2);
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "t%u", i);
		ck_assert(pace_take(&p, name, 1000000, now + i, &wait_us));
	}
	ck_assert_uint_le(p.n, 200);
	ck_assert_uint_eq(burst("kept", 2, now + 10000), 0);
	/* As many as are busy at once are kept. */
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "b%u", i);
		ck_assert_uint_eq(burst(name, 1, now), 1);
	}
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "b%u", i);
		ck_assert_uint_eq(burst(name, 1, now + SECOND / 2), 0);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("pace");
	TCase *t = tcase_create("pace");

	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, test_rate);
	tcase_add_test(t, test_slowest);
	tcase_add_test(t, test_each_its_own);
	tcase_add_test(t, test_many);
	suite_add_tcase(s, t);
	return s;
}
