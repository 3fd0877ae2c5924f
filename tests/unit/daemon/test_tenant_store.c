/* test_tenant_store - tenants of the API: in memory as in the store */
#include "daemon/tenant_store.h"

#include "tests/support/runner.h"
#include "tests/support/storekit.h"

static struct tenant made(const char *name, const char *text)
{
	struct err err = {.msg = ""};
	cleanup_json struct json_object *o = js_parse(text, strlen(text), false, &err);
	struct tenant t;

	ck_assert_msg(o && tenant_parse((struct js_at){o, ""}, name, &t, &err) == 0, "%s", err.msg);
	return t;
}

static void put(struct store *s, struct tenants *ts, const char *name, const char *text)
{
	struct tenant t = made(name, text);
	struct err err = {.msg = ""};

	ck_assert_msg(tenant_store_put(s, ts, &t, &err) == 0, "%s", err.msg);
}

static void put_in_vain(struct store *s, struct tenants *ts, const char *name, const char *text,
			enum err_code code)
{
	struct tenant t = made(name, text);
	struct err err = {.msg = ""};

	ck_assert_int_eq(tenant_store_put(s, ts, &t, &err), -1);
	ck_assert_msg(err.code == code, "%d: %s", err.code, err.msg);
	tenant_fini(&t);
}

/* As after a restart; @ts has what the tenants file says. */
static void load(struct store *s, struct tenants *ts)
{
	struct err err = {.msg = ""};

	ck_assert_msg(tenant_store_load(s, ts, &err) == 0, "%s", err.msg);
}

START_TEST(test_kept)
{
	struct tenants ts = {0}, again = {0};
	struct store *s = must_open();
	const struct tenant *t;

	put(s, &ts, "red", "{\"uids\":[5],\"budgets\":{\"restores\":3}}");
	put(s, &ts, "blue", "{}");
	put(s, &ts, "blue", "{\"prefetch_share\":9}");
	load(s, &again);
	ck_assert_uint_eq(again.n, 2);
	t = tenants_find(&again, "red");
	ck_assert(user_set_has_uid(&t->users, 5));
	ck_assert(!t->configured);
	ck_assert_uint_eq(t->budgets.of[BUDGET_RESTORES], 3);
	ck_assert_uint_eq(tenants_find(&again, "blue")->prefetch_share, 9);
	tenants_fini(&ts);
	tenants_fini(&again);
	store_close(s);
}
END_TEST

static void must_remove(struct store *s, struct tenants *ts, const char *name)
{
	struct err err = {.msg = ""};

	ck_assert_msg(tenant_store_remove(s, ts, name, &err) == 0, "%s", err.msg);
}

static void remove_in_vain(struct store *s, struct tenants *ts, const char *name,
			   enum err_code code)
{
	struct err err = {.msg = ""};

	ck_assert_int_eq(tenant_store_remove(s, ts, name, &err), -1);
	ck_assert_int_eq(err.code, code);
}

START_TEST(test_removed)
{
	struct tenants ts = {0}, again = {0};
	struct store *s = must_open();

	put(s, &ts, "red", "{}");
	must_remove(s, &ts, "red");
	ck_assert_ptr_null(tenants_find(&ts, "red"));
	remove_in_vain(s, &ts, "red", ERR_NOTFOUND);
	load(s, &again);
	ck_assert_uint_eq(again.n, 0);
	tenants_fini(&ts);
	store_close(s);
}
END_TEST

/* What the file says, wins; the rows stay for the day on which it no longer does. */
START_TEST(test_file_wins)
{
	struct tenant red = made("red", "{\"uids\":[7]}");
	struct tenants ts = {0}, again = {0};
	struct store *s = must_open();

	put(s, &ts, "red", "{\"uids\":[5]}");
	put(s, &ts, "blue", "{\"uids\":[7]}");
	put(s, &ts, "green", "{}");
	red.configured = true;
	tenants_put(&again, &red);
	load(s, &again);
	ck_assert_uint_eq(again.n, 2);
	ck_assert(user_set_has_uid(&tenants_find(&again, "red")->users, 7));
	ck_assert_ptr_null(tenants_find(&again, "blue"));
	put_in_vain(s, &again, "red", "{}", ERR_STATE);
	put_in_vain(s, &again, "blue", "{\"uids\":[7]}", ERR_CONFLICT);
	remove_in_vain(s, &again, "red", ERR_STATE);
	tenants_fini(&again);
	load(s, &again);
	ck_assert_uint_eq(again.n, 3);
	tenants_fini(&again);
	tenants_fini(&ts);
	store_close(s);
}
END_TEST

START_TEST(test_damaged)
{
	static const char *const rows[] = {
		"INSERT INTO tenants VALUES ('a', '{')",
		"INSERT INTO tenants VALUES ('a', '{\"beer\":1}')",
		"INSERT INTO tenants VALUES ('../a', '{}')",
	};
	struct tenants ts = {0};
	struct err err = {.msg = ""};
	struct store *s = must_open();

	store_close(s);
	in_shell(rows[_i]);
	s = must_open();
	ck_assert_int_eq(tenant_store_load(s, &ts, &err), -1);
	ck_assert_int_eq(err.code, ERR_SYSTEM);
	ck_assert_msg(strstr(err.msg, "the store's row of tenant "), "%s", err.msg);
	tenants_fini(&ts);
	store_close(s);
}
END_TEST

/* A store that refuses changes nothing. */
START_TEST(test_refusing_store)
{
	struct tenants ts = {0};
	struct store *s;
	char *msg = NULL;

	watch_opening();
	s = must_open();
	put(s, &ts, "red", "{\"uids\":[5]}");
	ck_assert_int_eq(sqlite3_exec(store_db, "PRAGMA query_only = ON", NULL, NULL, &msg),
			 SQLITE_OK);
	put_in_vain(s, &ts, "red", "{\"uids\":[6]}", ERR_SYSTEM);
	remove_in_vain(s, &ts, "red", ERR_SYSTEM);
	ck_assert(user_set_has_uid(&tenants_find(&ts, "red")->users, 5));
	tenants_fini(&ts);
	store_close(s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("tenant_store");
	TCase *t = tcase_create("tenant_store");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_checked_fixture(t, empty_dir, NULL);
	tcase_add_test(t, test_kept);
	tcase_add_test(t, test_removed);
	tcase_add_test(t, test_file_wins);
	tcase_add_loop_test(t, test_damaged, 0, 3);
	tcase_add_test(t, test_refusing_store);
	suite_add_tcase(s, t);
	return s;
}
