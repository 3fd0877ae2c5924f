/* test_usage - what tenants have, counted from the restores that are there */
#include "daemon/usage.h"

#include <string.h>

#include "tests/support/runner.h"

/* Of red: a failed one that is held, and one that is not; one that has ended and not yet let go. */
static struct restore restores[] = {
	{.rec = {.id = "a", .tenant = "red", .state = STATE_WAITING, .size_bytes = 1}},
	{.rec = {.id = "b",
		 .tenant = "red",
		 .state = STATE_SERVING,
		 .size_bytes = 10,
		 .map_bytes = 3,
		 .extents = 5,
		 .files = 7}},
	{.rec = {.id = "c", .tenant = "red", .state = STATE_RECOVERING, .size_bytes = 100}},
	{.rec = {.id = "d", .tenant = "red", .state = STATE_FAILED, .size_bytes = 1000}},
	{.rec = {.id = "e", .tenant = "red", .state = STATE_FAILED, .size_bytes = 5},
	 .slot = {.state = SLOT_OVER}},
	{.rec = {.id = "f", .tenant = "red", .state = STATE_ENDED, .size_bytes = 10000}},
	{.rec = {.id = "g", .tenant = "blue", .state = STATE_ENDED, .size_bytes = 7, .files = 9},
	 .slot = {.state = SLOT_OVER}},
	{.rec = {.id = "h", .tenant = "green", .state = STATE_SERVING, .size_bytes = 8}},
};

#define ONE sizeof(struct restore)

static const struct {
	const char *tenant;
	uint64_t restores, workers, guest_bytes, records, record_bytes;
	bool any;
} rows[] = {
	{"red", 4, 5, 11111, 3, 6 * ONE + 4 * 9, true},
	{"blue", 0, 0, 0, 1, ONE, true},
	{"green", 1, 1, 8, 0, ONE, true},
	{"grey", 0, 0, 0, 0, 0, false},
	{NULL, 5, 6, 11119, 4, 8 * ONE + 4 * 9, true},
};

static void fill(struct table *t)
{
	static char request[] = "{request}";

	restores[5].rec.spec = request;
	restores[1].rec.spec = request;
	for (size_t i = 0; i < ARRAY_LEN(restores); i++)
		table_insert(t, &restores[i]);
}

START_TEST(test_count)
{
	struct table t = {0};
	struct usage u;

	fill(&t);
	usage_count(&t, NULL, rows[_i].tenant, &u);
	ck_assert_uint_eq(u.of[BUDGET_RESTORES], rows[_i].restores);
	ck_assert_uint_eq(u.of[BUDGET_WORKERS], rows[_i].workers);
	ck_assert_uint_eq(u.of[BUDGET_GUEST_BYTES], rows[_i].guest_bytes);
	ck_assert_uint_eq(u.of[BUDGET_MAP_BYTES], rows[_i].restores > 1 ? 3 : 0);
	ck_assert_uint_eq(u.of[BUDGET_ENTRIES], rows[_i].restores > 1 ? 5 : 0);
	ck_assert_uint_eq(u.of[BUDGET_FILES], rows[_i].restores > 1 ? 7 : 0);
	ck_assert_uint_eq(u.of[BUDGET_RECORDS], rows[_i].records);
	ck_assert_uint_eq(u.of[BUDGET_RECORD_BYTES], rows[_i].record_bytes);
	ck_assert_int_eq(usage_any(&t, rows[_i].tenant), rows[_i].any);
	table_fini(&t);
}
END_TEST

START_TEST(test_less)
{
	struct table t = {0};
	struct usage u;

	fill(&t);
	usage_count(&t, NULL, NULL, &u);
	for (size_t i = 0; i < ARRAY_LEN(restores); i++)
		usage_less(&u, &restores[i]);
	for (size_t b = 0; b < BUDGET_COUNT; b++)
		ck_assert_uint_eq(u.of[b], 0);
	table_fini(&t);
}
END_TEST

START_TEST(test_nothing)
{
	struct usage u = {{7}};
	struct table t = {0};

	usage_count(&t, NULL, NULL, &u);
	ck_assert_uint_eq(u.of[BUDGET_RESTORES], 0);
	ck_assert(!usage_any(&t, NULL));
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("usage");
	TCase *t = tcase_create("usage");

	tcase_add_loop_test(t, test_count, 0, ARRAY_LEN(rows));
	tcase_add_test(t, test_less);
	tcase_add_test(t, test_nothing);
	suite_add_tcase(s, t);
	return s;
}
