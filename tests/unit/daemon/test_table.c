/* test_table - restores by id */
#include "daemon/table.h"

#include <check.h>
#include <string.h>

#include "tests/support/runner.h"

#define MANY 200

static struct restore restores[MANY];

/* In an order that is not theirs. */
static void fill(struct table *t)
{
	for (size_t i = 0; i < MANY; i++) {
		struct restore *r = &restores[i * 77 % MANY];

		snprintf(r->rec.id, sizeof(r->rec.id), "r-%03zu", i * 77 % MANY);
		table_insert(t, r);
	}
}

START_TEST(test_in_order)
{
	struct table t = {0};
	const char *after = "";
	size_t n = 0;

	ck_assert_ptr_null(table_next(&t, ""));
	fill(&t);
	ck_assert_uint_eq(t.n, MANY);
	for (struct restore *r; (r = table_next(&t, after)); after = r->rec.id)
		ck_assert_ptr_eq(r, &restores[n++]);
	ck_assert_uint_eq(n, MANY);
	/* Also behind one that is not there. */
	ck_assert_ptr_eq(table_next(&t, "r-0040"), &restores[5]);
	table_fini(&t);
}
END_TEST

START_TEST(test_find_and_remove)
{
	struct restore other = {.rec.id = "r-007"};
	struct table t = {0};

	fill(&t);
	ck_assert_ptr_eq(table_find(&t, "r-007"), &restores[7]);
	ck_assert_ptr_null(table_find(&t, "r-"));
	/* Another restore of the same id is not in it. */
	table_remove(&t, &other);
	ck_assert_ptr_eq(table_find(&t, "r-007"), &restores[7]);
	for (size_t i = 0; i < MANY; i += 2)
		table_remove(&t, &restores[i]);
	table_remove(&t, &restores[0]);
	ck_assert_uint_eq(t.n, MANY / 2);
	for (size_t i = 0; i < MANY; i++)
		ck_assert_ptr_eq(table_find(&t, restores[i].rec.id), i % 2 ? &restores[i] : NULL);
	table_fini(&t);
}
END_TEST

START_TEST(test_of_worker)
{
	struct table t = {0};

	fill(&t);
	restores[7].rec.worker_pid = restores[9].rec.worker_pid = 123;
	restores[7].rec.worker_start = 1;
	restores[9].rec.worker_start = 2;
	ck_assert_ptr_eq(table_of_worker(&t, 123, 2), &restores[9]);
	ck_assert_ptr_eq(table_of_worker(&t, 123, 1), &restores[7]);
	ck_assert_ptr_null(table_of_worker(&t, 123, 3));
	ck_assert_ptr_null(table_of_worker(&t, 124, 1));
	table_fini(&t);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("table");
	TCase *tc = tcase_create("table");

	tcase_add_test(tc, test_in_order);
	tcase_add_test(tc, test_find_and_remove);
	tcase_add_test(tc, test_of_worker);
	suite_add_tcase(suite, tc);
	return suite;
}
