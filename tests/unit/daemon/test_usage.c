/* test_usage - what tenants have, counted from the restores that are there */
#include "daemon/usage.h"

#include "tests/support/runner.h"

static struct restore restores[] = {
	{.rec = {.id = "a", .tenant = "red", .state = STATE_WAITING}},
	{.rec = {.id = "b", .tenant = "red", .state = STATE_SERVING}},
	{.rec = {.id = "c", .tenant = "red", .state = STATE_RECOVERING}},
	{.rec = {.id = "d", .tenant = "red", .state = STATE_FAILED}},
	{.rec = {.id = "e", .tenant = "blue", .state = STATE_ENDED}},
	{.rec = {.id = "f", .tenant = "green", .state = STATE_SERVING}},
};

START_TEST(test_restores)
{
	static const struct {
		const char *tenant;
		uint64_t live;
		bool any;
	} rows[] = {
		{"red", 3, true},   {"blue", 0, true}, {"green", 1, true},
		{"grey", 0, false}, {NULL, 4, true},
	};
	struct table t = {0};
	struct usage u;

	for (size_t i = 0; i < ARRAY_LEN(restores); i++)
		table_insert(&t, &restores[i]);
	usage_count(&t, rows[_i].tenant, &u);
	ck_assert_uint_eq(u.of[BUDGET_RESTORES], rows[_i].live);
	ck_assert_int_eq(usage_any(&t, rows[_i].tenant), rows[_i].any);
	table_fini(&t);
}
END_TEST

START_TEST(test_nothing)
{
	struct table t = {0};
	struct usage u = {{7}};

	usage_count(&t, NULL, &u);
	ck_assert_uint_eq(u.of[BUDGET_RESTORES], 0);
	ck_assert(!usage_any(&t, NULL));
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("usage");
	TCase *t = tcase_create("usage");

	tcase_add_loop_test(t, test_restores, 0, 5);
	tcase_add_test(t, test_nothing);
	suite_add_tcase(s, t);
	return s;
}
