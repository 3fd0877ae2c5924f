/* test_tenant - one tenant, from JSON and back */
#include "daemon/tenant.h"

#include <string.h>

#include "tests/support/runner.h"

static int parse(const char *text, const char *name, struct tenant *ret, struct err *err)
{
	cleanup_json struct json_object *o = js_parse(text, strlen(text), false, err);

	ck_assert_msg(o != NULL, "%s", err->msg);
	return tenant_parse((struct js_at){o, "tenants.a"}, name, ret, err);
}

static void check_json(const struct tenant *t, const char *want)
{
	cleanup_json struct json_object *o = json_object_new_object();

	tenant_json(t, o);
	ck_assert_str_eq(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
								   JSON_C_TO_STRING_NOSLASHESCAPE),
			 want);
}

#define NOTHING \
	"{\"uids\":[],\"gids\":[],\"snapshot_roots\":[],\"prefetch_share\":1,\"budgets\":{}}"
#define ALL                                                                                        \
	"{\"uids\":[7],\"gids\":[8],\"snapshot_roots\":[\"/\",\"/a/..b\"],\"prefetch_share\":100," \
	"\"budgets\":{\"restores\":9}}"

START_TEST(test_round)
{
	static const struct {
		const char *text, *back;
	} rows[] = {{"{}", NOTHING}, {NOTHING, NOTHING}, {ALL, ALL}};
	struct err err = {.msg = ""};
	struct tenant t;

	ck_assert_msg(parse(rows[_i].text, "acme", &t, &err) == 0, "%s", err.msg);
	ck_assert_str_eq(t.name, "acme");
	ck_assert(!t.configured);
	check_json(&t, rows[_i].back);
	tenant_fini(&t);
	tenant_fini(&t);
}
END_TEST

START_TEST(test_init)
{
	struct tenant t;

	tenant_init(&t, "acme");
	ck_assert_str_eq(t.name, "acme");
	check_json(&t, NOTHING);
}
END_TEST

START_TEST(test_refused)
{
	static const struct {
		const char *name, *text, *says;
	} rows[] = {
		{"a b", "{}", "tenant: must be a letter or digit and up to 62 more"},
		{"", "{}", "tenant: must be"},
		{"a", "{\"name\":\"a\"}", "tenants.a.name: "},
		{"a", "{\"prefetch_share\":0}", "tenants.a.prefetch_share: must be from 1 to 100"},
		{"a", "{\"prefetch_share\":101}",
		 "tenants.a.prefetch_share: must be from 0 to 100"},
		{"a", "{\"budgets\":[]}", "tenants.a.budgets: must be an object"},
		{"a", "{\"budgets\":{\"beer\":1}}", "tenants.a.budgets.beer: "},
		{"a", "{\"uids\":[-1]}", "tenants.a.uids[0]: "},
		{"a", "{\"snapshot_roots\":\"/a\"}", "tenants.a.snapshot_roots: must be an array"},
		{"a", "{\"snapshot_roots\":[\"/a\",1]}",
		 "tenants.a.snapshot_roots[1]: must be a string"},
		{"a", "{\"snapshot_roots\":[\"\"]}",
		 "tenants.a.snapshot_roots[0]: must be an absolute"},
		{"a", "{\"snapshot_roots\":[\"a\"]}",
		 "tenants.a.snapshot_roots[0]: must be an absolute"},
		{"a", "{\"snapshot_roots\":[\"/a/\"]}", "tenants.a.snapshot_roots[0]: must be an"},
		{"a", "{\"snapshot_roots\":[\"//a\"]}", "tenants.a.snapshot_roots[0]: must be an"},
		{"a", "{\"snapshot_roots\":[\"/a/../b\"]}", "tenants.a.snapshot_roots[0]: must be"},
		{"a", "{\"snapshot_roots\":[\"/b\",\"/a/.\"]}",
		 "tenants.a.snapshot_roots[1]: must be"},
	};
	struct tenant t = {.name = "kept"};
	struct err err = {.msg = ""};

	ck_assert_int_eq(parse(rows[_i].text, rows[_i].name, &t, &err), -1);
	ck_assert_int_eq(err.code, ERR_INVALID);
	ck_assert_msg(strstr(err.msg, rows[_i].says) == err.msg, "%s", err.msg);
	ck_assert_str_eq(t.name, "kept");
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("tenant");
	TCase *t = tcase_create("tenant");

	tcase_add_loop_test(t, test_round, 0, 3);
	tcase_add_test(t, test_init);
	tcase_add_loop_test(t, test_refused, 0, 16);
	suite_add_tcase(s, t);
	return s;
}
