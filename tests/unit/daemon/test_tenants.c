/* test_tenants - the tenants of a host: from their file, changed, and found */
#include "daemon/tenants.h"

#include <string.h>

#include "tests/support/harness.h"
#include "tests/support/runner.h"

static char *dir;

static void make_dir(void)
{
	dir = harness_tmpdir();
}

static void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
}

static int load(const char *text, struct tenants *ret, struct err *err)
{
	struct conf conf;
	FILE *f;

	conf_defaults(&conf);
	snprintf(conf.tenants_file, sizeof(conf.tenants_file), "%s/t.json", dir);
	f = fopen(conf.tenants_file, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
	return tenants_load(&conf, ret, err);
}

static void loaded(const char *text, struct tenants *ret)
{
	struct err err = {.msg = ""};

	ck_assert_msg(load(text, ret, &err) == 0, "%s", err.msg);
}

static struct tenant made(const char *name, const char *text)
{
	struct err err = {.msg = ""};
	cleanup_json struct json_object *o = js_parse(text, strlen(text), false, &err);
	struct tenant t;

	ck_assert_msg(o && tenant_parse((struct js_at){o, ""}, name, &t, &err) == 0, "%s", err.msg);
	return t;
}

static void put(struct tenants *ts, const char *name, const char *text)
{
	struct tenant t = made(name, text);
	struct err err = {.msg = ""};

	ck_assert_msg(tenants_check(ts, &t, &err) == 0, "%s", err.msg);
	tenants_put(ts, &t);
	/* It is theirs now. */
	ck_assert_ptr_null(t.users.uids);
}

/* ---- the file ---- */

#define FILE_TEXT                                                              \
	"{\"admins\":{\"uids\":[1]},\"observers\":{\"gids\":[2]},\"tenants\":" \
	"{\"red\":{\"uids\":[3],\"budgets\":{\"restores\":4}},\"blue\":{\"gids\":[3]}}}"

START_TEST(test_file)
{
	struct tenants ts;

	loaded(FILE_TEXT, &ts);
	ck_assert_uint_eq(ts.n, 2);
	ck_assert_str_eq(ts.v[0]->name, "blue");
	ck_assert(ts.v[0]->configured);
	ck_assert(user_set_has_uid(&tenants_find(&ts, "red")->users, 3));
	ck_assert(user_set_has_uid(&ts.admins, 1));
	ck_assert(user_set_has_gid(&ts.observers, 2));
	ck_assert(!ts.each_user);
	tenants_fini(&ts);
	tenants_fini(&ts);
	loaded("{}", &ts);
	ck_assert_uint_eq(ts.n, 0);
	tenants_fini(&ts);
}
END_TEST

START_TEST(test_no_file)
{
	struct err err = {.msg = ""};
	struct tenants ts;
	struct conf conf;

	conf_defaults(&conf);
	conf.each_user_is_tenant = true;
	ck_assert_int_eq(tenants_load(&conf, &ts, &err), 0);
	ck_assert_uint_eq(ts.n, 0);
	ck_assert(ts.each_user);
	tenants_fini(&ts);
	snprintf(conf.tenants_file, sizeof(conf.tenants_file), "%s/none.json", dir);
	ck_assert_int_eq(tenants_load(&conf, &ts, &err), -1);
	ck_assert_int_eq(err.code, ERR_PATH);
	ck_assert_msg(strstr(err.msg, "/none.json: no such file"), "%s", err.msg);
}
END_TEST

START_TEST(test_file_refused)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"{\"tenant\":{}}", "/t.json: tenant: "},
		{"{\"admins\":[]}", "/t.json: admins: must be an object"},
		{"{\"admins\":{\"names\":[]}}", "/t.json: admins.names: "},
		{"{\"observers\":{\"uids\":[\"a\"]}}", "/t.json: observers.uids[0]: must be"},
		{"{\"tenants\":[]}", "/t.json: tenants: must be an object"},
		{"{\"tenants\":{\"a\":1}}", "/t.json: tenants.a: must be an object"},
		{"{\"tenants\":{\"a b\":{}}}", "/t.json: tenant: must be a letter"},
		{"{\"tenants\":{\"a\":{\"uids\":[1.5]}}}", "/t.json: tenants.a.uids[0]: must be"},
		{"{\"tenants\":{\"a\":{\"uids\":[5]},\"b\":{\"uids\":[5]}}}",
		 "/t.json: tenants.b: uids: 5 acts for tenant a already"},
		{"{\"tenants\":{\"a\":{\"gids\":[5]},\"b\":{\"gids\":[4,5]}}}",
		 "/t.json: tenants.b: gids: group 5 acts for tenant a already"},
		{"{", "/t.json: "},
	};
	struct tenants ts = {.n = 77};
	struct err err = {.msg = ""};

	ck_assert_int_eq(load(rows[_i].text, &ts, &err), -1);
	ck_assert_msg(strstr(err.msg, rows[_i].says), "%s", err.msg);
	ck_assert_uint_eq(ts.n, 77);
}
END_TEST

/* ---- changes ---- */

#define MANY 100

START_TEST(test_in_order)
{
	struct tenants ts = {0};
	const char *after = "";
	const struct tenant *t;
	char name[16];
	size_t n = 0;

	for (size_t i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "t-%03zu", i * 37 % MANY);
		put(&ts, name, "{}");
	}
	for (; (t = tenants_next(&ts, after)); after = t->name) {
		snprintf(name, sizeof(name), "t-%03zu", n++);
		ck_assert_str_eq(t->name, name);
		ck_assert_ptr_eq(tenants_find(&ts, name), t);
	}
	ck_assert_uint_eq(n, MANY);
	for (size_t i = 0; i < MANY; i += 2) {
		snprintf(name, sizeof(name), "t-%03zu", i);
		tenants_remove(&ts, name);
		tenants_remove(&ts, name);
		ck_assert_ptr_null(tenants_find(&ts, name));
	}
	ck_assert_uint_eq(ts.n, MANY / 2);
	ck_assert_str_eq(tenants_next(&ts, "t-000")->name, "t-001");
	tenants_fini(&ts);
}
END_TEST

START_TEST(test_replaced)
{
	struct sock_peer five = {.uid = 5}, six = {.uid = 6};
	const struct tenant *t;
	struct tenants ts = {0};
	struct err err;

	put(&ts, "a", "{\"uids\":[5]}");
	put(&ts, "a", "{\"uids\":[5,6]}");
	ck_assert_uint_eq(ts.n, 1);
	ck_assert_int_eq(tenants_of(&ts, &six, &t, &err), 0);
	ck_assert_str_eq(t->name, "a");
	put(&ts, "a", "{\"uids\":[6]}");
	ck_assert_int_eq(tenants_of(&ts, &five, &t, &err), 0);
	ck_assert_ptr_null(t);
	put(&ts, "b", "{\"uids\":[5]}");
	tenants_fini(&ts);
}
END_TEST

static void refused(const struct tenants *ts, const char *name, const char *text,
		    enum err_code code)
{
	struct tenant t = made(name, text);
	struct err err = {.msg = ""};

	ck_assert_int_eq(tenants_check(ts, &t, &err), -1);
	ck_assert_msg(err.code == code && err.msg[0], "%d: %s", err.code, err.msg);
	tenant_fini(&t);
}

START_TEST(test_refused)
{
	struct tenants ts;
	char name[16];

	loaded(FILE_TEXT, &ts);
	refused(&ts, "red", "{}", ERR_STATE);
	refused(&ts, "green", "{\"uids\":[3]}", ERR_CONFLICT);
	refused(&ts, "green", "{\"gids\":[9,3]}", ERR_CONFLICT);
	put(&ts, "green", "{\"uids\":[9],\"gids\":[9]}");
	while (ts.n < TENANTS_MAX) {
		snprintf(name, sizeof(name), "t%zu", ts.n);
		put(&ts, name, "{}");
	}
	refused(&ts, "last", "{}", ERR_QUOTA);
	put(&ts, "green", "{}");
	tenants_fini(&ts);
}
END_TEST

/* ---- what they may have ---- */

START_TEST(test_budget_and_share)
{
	struct tenants ts = {0};
	struct conf conf;

	conf_defaults(&conf);
	conf.max_restores_per_tenant = 50;
	put(&ts, "a", "{\"budgets\":{\"restores\":7},\"prefetch_share\":3}");
	put(&ts, "b", "{}");
	ck_assert_uint_eq(tenants_budget(&ts, &conf, "a", BUDGET_RESTORES), 7);
	ck_assert_uint_eq(tenants_budget(&ts, &conf, "b", BUDGET_RESTORES), 50);
	ck_assert_uint_eq(tenants_budget(&ts, &conf, "none", BUDGET_RESTORES), 50);
	ck_assert_uint_eq(tenants_prefetch_share(&ts, "a"), 3);
	ck_assert_uint_eq(tenants_prefetch_share(&ts, "b"), 1);
	ck_assert_uint_eq(tenants_prefetch_share(&ts, "none"), 1);
	tenants_fini(&ts);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("tenants");
	TCase *t = tcase_create("tenants");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_test(t, test_file);
	tcase_add_test(t, test_no_file);
	tcase_add_loop_test(t, test_file_refused, 0, 11);
	tcase_add_test(t, test_in_order);
	tcase_add_test(t, test_replaced);
	tcase_add_test(t, test_refused);
	tcase_add_test(t, test_budget_and_share);
	suite_add_tcase(s, t);
	return s;
}
