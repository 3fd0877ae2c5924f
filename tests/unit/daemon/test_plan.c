/* test_plan - what follows from what is known after a death: every rule, and every two facts */
#include "daemon/plan.h"

#include <check.h>

#include "common/base.h"
#include "tests/support/runner.h"

#define MAP_LOST FACT(FACT_MAP_LOST)
#define GUEST FACT(FACT_GUEST)
#define OVER FACT(FACT_OVER)
#define WORKER FACT(FACT_WORKER)
#define HOPELESS FACT(FACT_UNRECOVERABLE)
#define BEGUN FACT(FACT_BEGUN)
#define UFFD FACT(FACT_UFFD)
#define NO_MEMORY FACT(FACT_NO_MEMORY)
#define ALONE FACT(FACT_LEFT_ALONE)
#define OFTEN FACT(FACT_TOO_OFTEN)

static const struct {
	unsigned facts;
	enum plan plan;
} rows[] = {
	/* Nobody has come: a successor waits on, as often as it takes, but not for ever. */
	{0, PLAN_SUCCEED},
	{OFTEN, PLAN_FAIL_DEATHS},
	{OVER, PLAN_END_EXITED},
	{OVER | OFTEN, PLAN_END_EXITED},
	/* A guest is there, and we have its userfaultfd. */
	{BEGUN | UFFD, PLAN_SUCCEED},
	{BEGUN | UFFD | OFTEN, PLAN_FAIL_DEATHS},
	{BEGUN | UFFD | OVER, PLAN_END_EXITED},
	/* Nobody has it: why? */
	{BEGUN, PLAN_FAIL_UFFD},
	{BEGUN | OFTEN, PLAN_FAIL_UFFD},
	{BEGUN | NO_MEMORY, PLAN_AWAIT_END},
	{BEGUN | NO_MEMORY | OFTEN, PLAN_AWAIT_END},
	{BEGUN | ALONE, PLAN_END_RELEASED},
	{BEGUN | ALONE | OFTEN, PLAN_END_RELEASED},
	{BEGUN | OVER, PLAN_END_EXITED},
	/* Nobody can serve it: only its end changes that. */
	{HOPELESS, PLAN_LEAVE},
	{HOPELESS | OVER, PLAN_END_EXITED},
	{HOPELESS | BEGUN, PLAN_LEAVE},
	/* Of a former run. */
	{WORKER, PLAN_AWAIT_WORKER},
	{WORKER | OVER, PLAN_END_EXITED},
	{MAP_LOST, PLAN_END_EXITED},
	{MAP_LOST | GUEST, PLAN_FAIL_MAP},
	{MAP_LOST | WORKER, PLAN_END_EXITED},
	{MAP_LOST | GUEST | WORKER, PLAN_FAIL_MAP},
};

START_TEST(test_row)
{
	enum plan plan = plan_of(rows[_i].facts);

	ck_assert_msg(plan == rows[_i].plan, "facts %#x: %s, not %s", rows[_i].facts,
		      plan_name(plan), plan_name(rows[_i].plan));
}
END_TEST

/* Whatever else is known, a guest that has begun never goes on without its userfaultfd. */
START_TEST(test_never_without_uffd)
{
	for (unsigned facts = 0; facts < 1u << FACT_COUNT; facts++) {
		enum plan plan = plan_of(facts);

		ck_assert_int_lt(plan, PLAN_COUNT);
		if (facts & BEGUN && !(facts & UFFD))
			ck_assert_msg(plan != PLAN_SUCCEED, "facts %#x", facts);
		if (facts & OVER && !(facts & MAP_LOST))
			ck_assert_msg(plan == PLAN_END_EXITED, "facts %#x", facts);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("plan");
	TCase *tc = tcase_create("rules");

	tcase_add_loop_test(tc, test_row, 0, ARRAY_LEN(rows));
	tcase_add_test(tc, test_never_without_uffd);
	suite_add_tcase(suite, tc);
	return suite;
}
