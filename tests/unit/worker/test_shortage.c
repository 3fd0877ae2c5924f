#include "tests/support/runner.h"
#include "worker/shortage.h"

#define S ((uint64_t)1000 * 1000)
#define BEGIN (100 * S)

START_TEST(none)
{
	struct shortage s = {0};

	ck_assert_uint_eq(shortage_wait_us(&s, BEGIN), 0);
	ck_assert(!shortage_lasts(&s));
	shortage_age(&s, BEGIN);
	shortage_end(&s);
	ck_assert_uint_eq(shortage_wait_us(&s, 0), 0);
}
END_TEST

/* Met as soon as it may be tried again: how often is bounded, and so is how long. */
START_TEST(bounded)
{
	struct shortage s = {0};
	uint64_t now = BEGIN, tries = 0;

	while (shortage_meet(&s, now)) {
		uint64_t wait = shortage_wait_us(&s, now);

		tries++;
		ck_assert_uint_ge(wait, SHORTAGE_PAUSE_MIN_US);
		ck_assert_uint_le(wait, SHORTAGE_PAUSE_MAX_US);
		ck_assert_uint_eq(shortage_wait_us(&s, now + wait), 0);
		now += wait;
	}
	ck_assert_uint_ge(now - BEGIN, SHORTAGE_MAX_US);
	ck_assert_uint_le(now - BEGIN, SHORTAGE_MAX_US + SHORTAGE_PAUSE_MAX_US);
	ck_assert_uint_le(tries, SHORTAGE_MAX_US / SHORTAGE_PAUSE_MAX_US + 10);
}
END_TEST

/* Once is nothing: a fault that was answered already may look like it. */
START_TEST(told_when_met_again)
{
	struct shortage s = {0};

	ck_assert(shortage_meet(&s, BEGIN));
	ck_assert(!shortage_lasts(&s));
	ck_assert(shortage_meet(&s, BEGIN + SHORTAGE_TOLD_US - 1));
	ck_assert(!shortage_lasts(&s));
	ck_assert(shortage_meet(&s, BEGIN + SHORTAGE_TOLD_US));
	ck_assert(shortage_lasts(&s));
	shortage_end(&s);
	ck_assert(!shortage_lasts(&s));
}
END_TEST

/* A page that was installed ends it: the next one has all the time again. */
START_TEST(anew_after_its_end)
{
	struct shortage s = {0};

	ck_assert(shortage_meet(&s, BEGIN));
	ck_assert(shortage_meet(&s, BEGIN + 2 * S - 1));
	ck_assert(shortage_meet(&s, BEGIN + 4 * S - 2));
	shortage_end(&s);
	ck_assert(shortage_meet(&s, BEGIN + 6 * S));
	ck_assert(shortage_meet(&s, BEGIN + 8 * S - 1));
}
END_TEST

/* So does time, when nobody has met it: that of an hour ago does not count. */
START_TEST(anew_after_a_while)
{
	struct shortage s = {0};

	ck_assert(shortage_meet(&s, BEGIN));
	ck_assert(shortage_meet(&s, BEGIN + S));
	shortage_age(&s, BEGIN + S + SHORTAGE_STALE_US);
	ck_assert(shortage_lasts(&s));
	shortage_age(&s, BEGIN + S + SHORTAGE_STALE_US + 1);
	ck_assert(!shortage_lasts(&s));
	ck_assert(shortage_meet(&s, BEGIN + 3600 * S));
	ck_assert_uint_eq(shortage_wait_us(&s, BEGIN + 3600 * S), SHORTAGE_PAUSE_MIN_US);
	ck_assert(shortage_meet(&s, BEGIN + 7200 * S));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("shortage");
	TCase *tc = tcase_create("shortage");

	tcase_add_test(tc, none);
	tcase_add_test(tc, bounded);
	tcase_add_test(tc, told_when_met_again);
	tcase_add_test(tc, anew_after_its_end);
	tcase_add_test(tc, anew_after_a_while);
	suite_add_tcase(suite, tc);
	return suite;
}
