/* test_retention - which records of ended restores stay, over time and within a tenant's budgets */
#include "daemon/retention.h"

#include <string.h>

#include "daemon/store.h"
#include "daemon/usage.h"
#include "tests/support/runner.h"
#include "tests/support/storekit.h"

static struct host host;
static struct table table;
static struct store *store;
static struct retention rt;

static void begin(void)
{
	empty_dir();
	host = (struct host){.arg = NULL};
	conf_defaults(&host.conf);
	host.conf.ended_retention_ms = 1000;
	table = (struct table){0};
	watch_opening();
	store = must_open();
	host.store = store;
	retention_init(&rt, &host, &table);
}

static void end(void)
{
	while (table.n) {
		struct restore *r = table.v[0];

		retention_drop(&rt, r);
		/* What is not kept is not dropped twice. */
		retention_drop(&rt, r);
		table_remove(&table, r);
		restore_free(r);
	}
	table_fini(&table);
	store_close(store);
}

static struct restore *add(const char *id, const char *tenant, int64_t ended_ms)
{
	struct restore *r = xcalloc(1, sizeof(*r));

	restore_init(r, &host);
	r->rec = plain(id, 1);
	r->rec.spec = strdup("{}");
	snprintf(r->rec.tenant, sizeof(r->rec.tenant), "%s", tenant);
	r->rec.state = STATE_ENDED;
	r->rec.ended_ms = ended_ms;
	r->slot.state = SLOT_OVER;
	must_write(store, &r->rec, NULL, 0);
	table_insert(&table, r);
	retention_keep(&rt, r);
	return r;
}

/* The ids, in the table and in the store. */
static void left(const char *want)
{
	struct all *rows = read_all(store);
	char here[64] = "", there[64] = "";

	for (size_t i = 0; i < table.n; i++)
		strcat(here, table.v[i]->rec.id);
	for (size_t i = 0; i < rows->n; i++)
		strcat(there, rows->v[i].id);
	free_all(rows);
	ck_assert_str_eq(here, want);
	ck_assert_str_eq(there, want);
}

START_TEST(test_time)
{
	struct restore *b;

	add("a", "t", 1);
	b = add("b", "t", 2);
	add("c", "u", 3);
	add("d", "t", 2000);
	b->slot.state = SLOT_LEAVING;
	retention_expire(&rt, 1001);
	left("abcd");
	retention_expire(&rt, 1004);
	left("bd");
	b->slot.state = SLOT_OVER;
	retention_expire(&rt, 1004);
	left("d");
	retention_expire(&rt, 3001);
	left("");
}
END_TEST

/* The oldest of that tenant go, until one more fits. */
START_TEST(test_number)
{
	struct restore *b;

	host.conf.records_per_tenant = 3;
	add("a", "t", 1);
	b = add("b", "t", 2);
	add("c", "u", 3);
	retention_make_room(&rt, "t");
	left("abc");
	add("d", "t", 4);
	add("e", "t", 5);
	b->slot.state = SLOT_LEAVING;
	retention_make_room(&rt, "t");
	left("bce");
	retention_make_room(&rt, "u");
	left("bce");
	/* No budget at all: as far as can be. */
	host.conf.records_per_tenant = 0;
	retention_make_room(&rt, "t");
	left("bc");
	b->slot.state = SLOT_OVER;
	retention_make_room(&rt, "t");
	left("c");
}
END_TEST

START_TEST(test_bytes)
{
	size_t one = sizeof(struct restore) + 2 * strlen("{}");

	add("a", "t", 1);
	add("b", "t", 2);
	add("c", "t", 3);
	host.conf.record_bytes_per_tenant = 3 * one + 1;
	retention_make_room(&rt, "t");
	left("abc");
	host.conf.record_bytes_per_tenant = 3 * one;
	retention_make_room(&rt, "t");
	left("bc");
}
END_TEST

START_TEST(test_own_budget)
{
	struct tenant t;

	tenant_init(&t, "t");
	t.budgets.of[BUDGET_RECORDS] = 1;
	tenants_put(&host.tenants, &t);
	add("a", "t", 1);
	add("b", "u", 1);
	retention_make_room(&rt, "u");
	left("ab");
	retention_make_room(&rt, "t");
	left("b");
	tenants_fini(&host.tenants);
}
END_TEST

/* What cannot be forgotten for good is not forgotten. */
START_TEST(test_refusing_store)
{
	add("a", "t", 1);
	add("b", "t", 2);
	host.conf.records_per_tenant = 0;
	ck_assert_int_eq(sqlite3_exec(store_db, "PRAGMA query_only = ON", NULL, NULL, NULL),
			 SQLITE_OK);
	retention_make_room(&rt, "t");
	retention_expire(&rt, 5000);
	left("ab");
	ck_assert_int_eq(sqlite3_exec(store_db, "PRAGMA query_only = OFF", NULL, NULL, NULL),
			 SQLITE_OK);
	retention_expire(&rt, 5000);
	left("");
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("retention");
	TCase *t = tcase_create("retention");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, test_time);
	tcase_add_test(t, test_number);
	tcase_add_test(t, test_bytes);
	tcase_add_test(t, test_own_budget);
	tcase_add_test(t, test_refusing_store);
	suite_add_tcase(s, t);
	return s;
}
