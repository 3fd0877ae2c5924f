/* test_life - how often the userfaultfd is asked whether its address space lives */
#include "common/life.h"

#include <sys/eventfd.h>

#include "tests/support/harness.h"
#include "tests/fakes/vmm/touch.h"

#define START ((uint64_t)1000 * 1000 * 1000)
#define MS ((uint64_t)1000)

START_TEST(not_begun)
{
	struct life l = {0};

	ck_assert_uint_eq(life_wait_us(&l, START), UINT64_MAX);
	ck_assert_int_eq(life_ask(&l, -1, START), LIFE_WAIT);
}
END_TEST

/* At once, then in growing steps; after a second it is somewhere else, which is said once. */
START_TEST(lives)
{
	struct life l = {0};
	struct touch_mem m;
	uint64_t now = START, pause = MS;
	unsigned said = 0, asked = 0;

	touch_open(&m, 0, 1);
	life_begin(&l, now);
	for (; now < START + 10000 * MS; asked++) {
		enum life_step step;

		ck_assert_uint_eq(life_wait_us(&l, now), 0);
		step = life_ask(&l, m.uffd, now);
		ck_assert_int_eq(life_ask(&l, -1, now), LIFE_WAIT);
		ck_assert_msg(step != LIFE_ELSEWHERE || now >= START + LIFE_ELSEWHERE_US,
			      "after %llu us", (unsigned long long)(now - START));
		said += step == LIFE_ELSEWHERE;
		ck_assert_msg(l.elsewhere || now < START + LIFE_ELSEWHERE_US, "not said");
		ck_assert_uint_eq(life_wait_us(&l, now), pause);
		now += pause;
		pause = min_u64(pause * 2, 1000 * MS);
		/* To begin again changes nothing. */
		life_begin(&l, now);
	}
	ck_assert_uint_eq(said, 1);
	ck_assert_uint_lt(asked, 20);
	touch_close(&m);
}
END_TEST

START_TEST(ends)
{
	cleanup_fd int nobody = eventfd(0, EFD_CLOEXEC);
	struct life l = {0};
	struct touch_mem m;

	touch_open(&m, 0, 1);
	life_begin(&l, START);
	ck_assert_int_eq(life_ask(&l, m.uffd, START), LIFE_WAIT);
	ck_assert_int_eq(life_ask(&l, nobody, START + MS - 1), LIFE_WAIT);
	ck_assert_int_eq(life_ask(&l, nobody, START + MS), LIFE_GONE);
	touch_close(&m);
}
END_TEST

/* While it cannot be told, it is not said. */
START_TEST(busy)
{
	struct touch discard = {.body = touch_discard};
	struct life l = {0};
	struct touch_mem m;

	touch_open(&m, UF_FEATURE_REMOVE, 2);
	discard.m = &m;
	touch_start(&discard);
	ck_assert(touch_readable(m.uffd, HARNESS_MS));
	life_begin(&l, START);
	ck_assert_int_eq(life_ask(&l, m.uffd, START + 5000 * MS), LIFE_WAIT);
	ck_assert(!l.elsewhere);
	touch_read_one(m.uffd);
	touch_join(&discard);
	ck_assert_int_eq(life_ask(&l, m.uffd, START + 6000 * MS), LIFE_ELSEWHERE);
	touch_close(&m);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("life");
	TCase *tc = tcase_create("life");

	tcase_add_test(tc, not_begun);
	tcase_add_test(tc, lives);
	tcase_add_test(tc, ends);
	tcase_add_test(tc, busy);
	suite_add_tcase(s, tc);
	return s;
}
