/* test_table - restores by id and tenant, and by key */
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
		/* The other way round. */
		snprintf(r->rec.key, sizeof(r->rec.key), "%03zu", MANY - i * 77 % MANY);
		table_insert(t, r);
	}
}

START_TEST(test_in_order)
{
	struct table t = {0};
	size_t n = 0;

	ck_assert_ptr_null(table_next(&t, "", ""));
	fill(&t);
	ck_assert_uint_eq(t.n, MANY);
	for (struct restore *r = table_next(&t, "", ""); r; r = table_next(&t, r->rec.id, ""))
		ck_assert_ptr_eq(r, &restores[n++]);
	ck_assert_uint_eq(n, MANY);
	/* Also behind one that is not there. */
	ck_assert_ptr_eq(table_next(&t, "r-0040", ""), &restores[5]);
	table_fini(&t);
}
END_TEST

START_TEST(test_find_and_remove)
{
	struct restore other = {.rec = {.id = "r-007", .key = "193"}};
	struct table t = {0};

	fill(&t);
	ck_assert_ptr_eq(table_find(&t, "r-007", NULL), &restores[7]);
	ck_assert_ptr_null(table_find(&t, "r-", NULL));
	ck_assert_ptr_null(table_find(&t, "r-007", "another"));
	ck_assert_ptr_eq(table_of_key(&t, "193"), &restores[7]);
	ck_assert_ptr_null(table_of_key(&t, "r-007"));
	/* Another restore of the same key is not in it. */
	table_remove(&t, &other);
	ck_assert_ptr_eq(table_find(&t, "r-007", NULL), &restores[7]);
	for (size_t i = 0; i < MANY; i += 2)
		table_remove(&t, &restores[i]);
	table_remove(&t, &restores[0]);
	ck_assert_uint_eq(t.n, MANY / 2);
	for (size_t i = 0; i < MANY; i++) {
		struct restore *want = i % 2 ? &restores[i] : NULL;

		ck_assert_ptr_eq(table_find(&t, restores[i].rec.id, NULL), want);
		ck_assert_ptr_eq(table_of_key(&t, restores[i].rec.key), want);
	}
	table_fini(&t);
}
END_TEST

/* Of different tenants: side by side, in the order of their names. */
START_TEST(test_one_id)
{
	static struct restore same[] = {
		{.rec = {.key = "k1", .id = "a", .tenant = "red"}},
		{.rec = {.key = "k3", .id = "b", .tenant = "blue"}},
		{.rec = {.key = "k2", .id = "b", .tenant = "red"}},
		{.rec = {.key = "k0", .id = "c", .tenant = "blue"}},
	};
	static const size_t order[] = {2, 0, 3, 1};
	struct table t = {0};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		table_insert(&t, &same[order[i]]);
	for (struct restore *r = table_next(&t, "", ""); r;
	     r = table_next(&t, r->rec.id, r->rec.tenant))
		ck_assert_ptr_eq(r, &same[n++]);
	ck_assert_uint_eq(n, ARRAY_LEN(same));
	ck_assert_ptr_eq(table_find(&t, "b", "red"), &same[2]);
	ck_assert_ptr_eq(table_find(&t, "b", "blue"), &same[1]);
	ck_assert_ptr_null(table_find(&t, "b", "green"));
	ck_assert_ptr_eq(table_find(&t, "b", NULL), &same[1]);
	ck_assert_ptr_eq(table_of_key(&t, "k2"), &same[2]);
	table_remove(&t, &same[1]);
	ck_assert_ptr_null(table_find(&t, "b", "blue"));
	ck_assert_ptr_eq(table_find(&t, "b", NULL), &same[2]);
	ck_assert_ptr_null(table_of_key(&t, "k3"));
	ck_assert_ptr_eq(table_of_key(&t, "k2"), &same[2]);
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
	tcase_add_test(tc, test_one_id);
	tcase_add_test(tc, test_of_worker);
	suite_add_tcase(suite, tc);
	return suite;
}
