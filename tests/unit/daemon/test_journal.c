/* test_journal - changes that the store can take later, and those that it never can */
#include "daemon/journal.h"
#include "daemon/timer.h"

#include <event2/event.h>
#include <string.h>

#include "tests/support/runner.h"
#include "tests/support/storekit.h"

static struct event_base *base;
static struct store *store;
static struct journal *journal;
static struct restore_record rec, other; /* of one id, and two tenants */

static const struct restore_record *on_record(void *arg, const char *key)
{
	(void)arg;
	if (strcmp(key, other.key) == 0)
		return &other;
	return strcmp(key, rec.key) == 0 ? &rec : NULL;
}

static void on_written(void *arg)
{
	(void)arg;
}

static const struct journal_hooks hooks = {on_record, on_written};

static void begin(void)
{
	empty_dir();
	rec = plain("a", 1);
	other = plain("b", 1);
	memcpy(other.id, rec.id, sizeof(other.id));
	snprintf(other.tenant, sizeof(other.tenant), "another");
	base = timer_base_new();
	store = must_open();
	journal = journal_new(base, store, &hooks, NULL);
}

static void end(void)
{
	journal_free(journal);
	store_close(store);
	event_base_free(base);
}

static int add_text(void *arg, const struct store_event *e, struct err *err)
{
	char **text = arg, *before = *text;

	(void)err;
	ck_assert_int_gt(asprintf(text, "%s%s %s %s\n", before, e->type, e->restore, e->data), 0);
	free(before);
	return 0;
}

static void check_events(uint64_t after, uint64_t max, const char *events)
{
	const struct store_filter filter = {.after = after};
	cleanup_free char *text = strdup("");
	struct err err;

	ck_assert_int_eq(store_events(store, &filter, max, add_text, &text, &err), 0);
	ck_assert_str_eq(text, events);
}

static void check_row(uint64_t revision)
{
	struct all *all = read_all(store);

	ck_assert_uint_eq(all->n, 1);
	ck_assert_uint_eq(all->v[0].revision, revision);
	free_all(all);
}

static void check_written(const char *events, uint64_t revision)
{
	check_events(0, 100, events);
	check_row(revision);
}

/* By an operator's shell, as long as it is open. */
static sqlite3 *lock_store(void)
{
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	return db;
}

static bool is_through(void *arg)
{
	struct err err;

	(void)arg;
	event_base_loop(base, EVLOOP_NONBLOCK);
	return journal_check(journal, &err) == 0;
}

/* Larger than any text may be. */
static struct json_object *too_big(void)
{
	const size_t len = (size_t)129 << 20;
	struct json_object *data = json_object_new_object();
	char *text = malloc(len);

	ck_assert_ptr_nonnull(text);
	memset(text, 'x', len);
	json_object_object_add(data, "detail", json_object_new_string_len(text, (int)len));
	free(text);
	return data;
}

/* The row is written, and what comes next does not wait. */
START_TEST(test_event_that_can_never_be_written)
{
	struct err err;

	begin();
	journal_add(journal, &rec, "first", NULL);
	rec.revision = 2;
	if (_i)
		journal_add(journal, &rec, "second", too_big());
	else
		journal_add(journal, &rec, "", NULL);
	ck_assert_int_eq(journal_check(journal, &err), 0);
	check_written("first a {}\nevents-lost  {\"count\":1,\"unwritable\":1}\n", 2);
	journal_add(journal, &rec, "third", NULL);
	check_written("first a {}\nevents-lost  {\"count\":1,\"unwritable\":1}\nthird a {}\n", 2);
	end();
}
END_TEST

START_TEST(test_row_that_can_never_be_written)
{
	begin();
	journal_add(journal, &rec, "first", NULL);
	rec.key[0] = '\0';
	journal_add(journal, &rec, "second", NULL);
	check_written("first a {}\nevents-lost  {\"count\":1,\"unwritable\":1}\n", 1);
	end();
}
END_TEST

/* Behind a lock everything waits, in order; what can never be written goes then, and no more. */
START_TEST(test_among_those_that_wait)
{
	struct err err;
	sqlite3 *shell;

	begin();
	journal_add(journal, &rec, "first", NULL);
	shell = lock_store();
	journal_add(journal, &rec, "second", NULL);
	rec.revision = 2;
	journal_add(journal, &rec, "", NULL);
	journal_add(journal, NULL, "third", NULL);
	ck_assert_int_eq(journal_check(journal, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.msg, "3 changes wait"));
	ck_assert_int_eq(sqlite3_close(shell), SQLITE_OK);
	ck_assert(harness_wait(is_through, NULL, 10000));
	check_written("first a {}\nsecond a {}\nthird  {}\n"
		      "events-lost  {\"count\":1,\"unwritable\":1}\n",
		      2);
	end();
}
END_TEST

/* A row alone waits like any change, and takes no event's place. */
START_TEST(test_row_alone)
{
	sqlite3 *shell;

	begin();
	journal_add(journal, &rec, "first", NULL);
	rec.revision = 2;
	journal_add(journal, &rec, NULL, NULL);
	check_written("first a {}\n", 2);
	shell = lock_store();
	rec.revision = 3;
	journal_add(journal, &rec, NULL, NULL);
	for (int i = 0; i < JOURNAL_WAITING_MAX; i++)
		journal_add(journal, NULL, "kept", NULL);
	check_row(2);
	ck_assert_int_eq(sqlite3_close(shell), SQLITE_OK);
	ck_assert(harness_wait(is_through, NULL, HARNESS_MS));
	check_row(3);
	check_events(0, 2, "first a {}\nkept  {}\n");
	end();
}
END_TEST

/* The oldest events are lost, but no restore's row. */
START_TEST(test_too_many_wait)
{
	enum { LOST = 10, KEPT = JOURNAL_WAITING_MAX };
	struct err err;
	sqlite3 *shell;

	begin();
	journal_add(journal, &rec, "first", NULL);
	shell = lock_store();
	for (int i = 0; i < LOST; i++) {
		rec.revision++;
		journal_add(journal, &rec, "lost", NULL);
	}
	for (int i = 0; i < KEPT; i++)
		journal_add(journal, NULL, i < KEPT - 1 ? "kept" : "last", NULL);
	ck_assert_int_eq(journal_check(journal, &err), -1);
	/* And the row, once for all of its events. */
	ck_assert_msg(strstr(err.msg, "4097 changes wait"), "%s", err.msg);
	ck_assert_int_eq(sqlite3_close(shell), SQLITE_OK);
	ck_assert(harness_wait(is_through, NULL, HARNESS_MS));
	check_events(0, 3, "first a {}\nevents-lost  {\"count\":10,\"unwritable\":0}\nkept  {}\n");
	check_events(2 + KEPT - 1, 100, "last  {}\n");
	check_row(1 + LOST);
	end();
}
END_TEST

/* Nor that of a restore whose id another tenant uses, too. */
START_TEST(test_one_id)
{
	struct all *all;
	sqlite3 *shell;

	begin();
	shell = lock_store();
	journal_add(journal, &other, "lost", NULL);
	journal_add(journal, &rec, "lost", NULL);
	for (int i = 0; i < JOURNAL_WAITING_MAX; i++)
		journal_add(journal, NULL, "kept", NULL);
	ck_assert_int_eq(sqlite3_close(shell), SQLITE_OK);
	ck_assert(harness_wait(is_through, NULL, HARNESS_MS));
	all = read_all(store);
	ck_assert_uint_eq(all->n, 2);
	ck_assert_str_eq(all->v[0].tenant, "another");
	ck_assert_str_eq(all->v[1].tenant, rec.tenant);
	free_all(all);
	end();
}
END_TEST

/* Nothing begins that cannot be written, and it is not counted as lost. */
START_TEST(test_now_or_never)
{
	struct err err;

	begin();
	journal_add(journal, &rec, "first", NULL);
	rec.revision = 2;
	ck_assert_int_eq(journal_add_now(journal, &rec, "", NULL, &err), -1);
	ck_assert_int_eq(err.code, ERR_INVALID);
	check_written("first a {}\n", 1);
	end();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("journal");
	TCase *tc = tcase_create("journal");

	tcase_add_unchecked_fixture(tc, make_dir, remove_dir);
	tcase_add_loop_test(tc, test_event_that_can_never_be_written, 0, 2);
	tcase_add_test(tc, test_row_that_can_never_be_written);
	tcase_add_test(tc, test_among_those_that_wait);
	tcase_add_test(tc, test_row_alone);
	tcase_add_test(tc, test_too_many_wait);
	tcase_add_test(tc, test_one_id);
	tcase_add_test(tc, test_now_or_never);
	suite_add_tcase(suite, tc);
	return suite;
}
