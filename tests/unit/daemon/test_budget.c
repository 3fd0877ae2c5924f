/* test_budget - what tenants may have: names, defaults, JSON */
#include "daemon/budget.h"

#include <string.h>

#include "tests/support/runner.h"

static int parse(const char *text, struct budgets *ret, struct err *err)
{
	cleanup_json struct json_object *o = js_parse(text, strlen(text), false, err);

	ck_assert_msg(o != NULL, "%s", err->msg);
	return budget_parse((struct js_at){o, "b"}, ret, err);
}

static void check_json(const struct budgets *b, const char *want)
{
	cleanup_json struct json_object *o = budget_json(b);

	ck_assert_str_eq(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), want);
}

START_TEST(test_defaults)
{
	struct budgets b;
	struct conf conf;

	conf_defaults(&conf);
	budget_init(&b);
	/* Only what the kernel limits may be without a limit, and is so by default. */
	for (enum budget i = 0; i < BUDGET_COUNT; i++)
		ck_assert_int_eq(budget_of(&b, i, &conf) == 0, budget_is_of_cgroup(i));
	check_json(&b, "{}");
	conf.max_restores_per_tenant = 7;
	ck_assert_uint_eq(budget_of(&b, BUDGET_RESTORES, &conf), 7);
	ck_assert_str_eq(budget_name(BUDGET_RESTORES), "restores");
}
END_TEST

/* Those of cgroups are bounds like others, but nothing here counts towards them. */
START_TEST(test_of_cgroup)
{
	struct err err = {.msg = ""};
	struct budgets b;
	struct conf conf;

	conf_defaults(&conf);
	budget_init(&b);
	ck_assert_msg(parse("{\"cgroup_memory_bytes\":4096,\"cgroup_pids\":0}", &b, &err) == 0,
		      "%s", err.msg);
	conf.cgroup_pids_per_tenant = 9;
	ck_assert_uint_eq(budget_of(&b, BUDGET_CGROUP_MEMORY, &conf), 4096);
	/* A tenant can be free of the host's default. */
	ck_assert_uint_eq(budget_of(&b, BUDGET_CGROUP_PIDS, &conf), 0);
	check_json(&b, "{\"cgroup_memory_bytes\":4096,\"cgroup_pids\":0}");
	ck_assert(!budget_is_counted(BUDGET_CGROUP_MEMORY) &&
		  !budget_is_counted(BUDGET_CGROUP_PIDS));
	ck_assert(!budget_is_of_cgroup(BUDGET_WORKERS) && !budget_is_of_cgroup(BUDGET_COMMANDS));
}
END_TEST

START_TEST(test_given)
{
	struct err err = {.msg = ""};
	struct budgets b;
	struct conf conf;

	conf_defaults(&conf);
	budget_init(&b);
	ck_assert_msg(parse("{\"restores\":0}", &b, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(budget_of(&b, BUDGET_RESTORES, &conf), 0);
	check_json(&b, "{\"restores\":0}");
	/* A budget that is not named stays as it is. */
	ck_assert_msg(parse("{}", &b, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(budget_of(&b, BUDGET_RESTORES, &conf), 0);
}
END_TEST

START_TEST(test_refused)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"{\"restores\":65537}", "b.restores: must be from 0 to 65536"},
		{"{\"restores\":null}", "b.restores: must be an integer"},
		{"{\"beer\":1}", "b.beer: "},
		{"{\"cgroup_pids\":4194305}", "b.cgroup_pids: must be from 0 to 4194304"},
	};
	struct err err = {.msg = ""};
	struct budgets b;

	budget_init(&b);
	ck_assert_int_eq(parse(rows[_i].text, &b, &err), -1);
	ck_assert_int_eq(err.code, ERR_INVALID);
	ck_assert_msg(strstr(err.msg, rows[_i].says) == err.msg, "%s", err.msg);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("budget");
	TCase *t = tcase_create("budget");

	tcase_add_test(t, test_defaults);
	tcase_add_test(t, test_of_cgroup);
	tcase_add_test(t, test_given);
	tcase_add_loop_test(t, test_refused, 0, 4);
	suite_add_tcase(s, t);
	return s;
}
