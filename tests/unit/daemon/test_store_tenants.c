/* test_store_tenants - rows of tenants: written, replaced, removed, visited */
#include "tests/support/runner.h"
#include "tests/support/storekit.h"

struct seen {
	char text[256];
	size_t stop_at; /* 0: never */
};

static int see(void *arg, const char *name, const char *definition, struct err *err)
{
	struct seen *seen = arg;
	size_t used = strlen(seen->text);

	snprintf(seen->text + used, sizeof(seen->text) - used, "%s=%s ", name, definition);
	if (seen->stop_at && --seen->stop_at == 0)
		return err_set(err, ERR_PEER, "enough");
	return 0;
}

static void check_rows(struct store *s, const char *want)
{
	struct err err = {.msg = ""};
	struct seen seen = {{0}};

	ck_assert_msg(store_tenants(s, see, &seen, &err) == 0, "%s", err.msg);
	ck_assert_str_eq(seen.text, want);
}

static void put(struct store *s, const char *name, const char *definition)
{
	struct err err = {.msg = ""};

	ck_assert_msg(store_put_tenant(s, name, definition, &err) == 0, "%s", err.msg);
}

START_TEST(test_rows)
{
	struct store *s = must_open();
	struct err err = {.msg = ""};

	check_rows(s, "");
	put(s, "b", "{1}");
	put(s, "a", "{2}");
	put(s, "b", "{3}");
	check_rows(s, "a={2} b={3} ");
	store_close(s);
	s = must_open();
	check_rows(s, "a={2} b={3} ");
	ck_assert_int_eq(store_drop_tenant(s, "a", &err), 0);
	ck_assert_int_eq(store_drop_tenant(s, "a", &err), 0);
	check_rows(s, "b={3} ");
	store_close(s);
}
END_TEST

START_TEST(test_stopped)
{
	struct store *s = must_open();
	struct seen seen = {.stop_at = 1};
	struct err err = {.msg = ""};

	put(s, "a", "1");
	put(s, "b", "2");
	ck_assert_int_eq(store_tenants(s, see, &seen, &err), -1);
	ck_assert_int_eq(err.code, ERR_PEER);
	ck_assert_str_eq(seen.text, "a=1 ");
	check_rows(s, "a=1 b=2 ");
	store_close(s);
}
END_TEST

START_TEST(test_refused)
{
	struct store *s = must_open();
	struct err err = {.msg = ""};

	ck_assert_int_eq(store_put_tenant(s, "", "{}", &err), -1);
	ck_assert_int_eq(err.code, ERR_INVALID);
	/* The statement and the transaction are over. */
	put(s, "a", "1");
	check_rows(s, "a=1 ");
	store_close(s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("store_tenants");
	TCase *t = tcase_create("store_tenants");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_checked_fixture(t, empty_dir, NULL);
	tcase_add_test(t, test_rows);
	tcase_add_test(t, test_stopped);
	tcase_add_test(t, test_refused);
	suite_add_tcase(s, t);
	return s;
}
