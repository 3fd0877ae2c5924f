/* test_store_events - the event log: kept, filtered, trimmed, and found without a search */
#include "daemon/store.h"

#include <inttypes.h>
#include <string.h>

#include "tests/support/runner.h"
#include "tests/support/storekit.h"

/* ---- what is kept ---- */

static int compare_event(void *arg, const struct store_event *e, struct err *err)
{
	const struct store_event **want = arg;

	(void)err;
	ck_assert_uint_eq(e->seq, (*want)->seq);
	ck_assert_int_eq(e->time_ms, (*want)->time_ms);
	ck_assert_str_eq(e->type, (*want)->type);
	ck_assert_str_eq(e->tenant, (*want)->tenant);
	ck_assert_str_eq(e->restore, (*want)->restore);
	ck_assert_str_eq(e->data, (*want)->data ? (*want)->data : "{}");
	(*want)++;
	return 0;
}

START_TEST(test_events_reopen)
{
	static const struct store_event rows[] = {
		{1, -5, "created", "t", "a", "{\"x\":\"ü\"}"},
		{2, INT64_MAX, "connected", "t", "b", NULL},
		{3, 0, "started", "", "", "{}"},
	};
	const struct store_event *want = rows;
	struct store *s;
	struct err err;

	empty_dir();
	s = must_open();
	must_range(s, 1, 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		must_write(s, NULL, &rows[i], rows[i].seq);
	ck_assert_int_eq(store_write(s, NULL, &rows[0], NULL, &err), 0);
	store_close(s);
	s = must_open();
	ck_assert_int_eq(store_events(s, NULL, 3, compare_event, &want, &err), 0);
	ck_assert_ptr_eq(want, rows + ARRAY_LEN(rows));
	must_range(s, 1, 4);
	store_close(s);
}
END_TEST

START_TEST(test_trim)
{
	/* The clock was set back between 5 and 6. */
	static const int64_t times[] = {10, 20, 30, 40, 50, 25, 60};
	static const struct {
		int64_t before;
		uint64_t oldest;
	} rows[] = {{0, 1}, {10, 1}, {11, 2}, {21, 3}, {30, 3}, {31, 4}, {41, 5}, {51, 7}, {61, 8}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct store_event e = event_at(70, "t", "a");
		struct err err = {.msg = ""};
		struct store *s;

		empty_dir();
		s = must_open();
		for (size_t k = 0; k < ARRAY_LEN(times); k++) {
			struct store_event old = event_at(times[k], "t", "a");

			must_write(s, NULL, &old, k + 1);
		}
		ck_assert_msg(store_trim_events(s, rows[i].before, &err) == 0, "row %zu: %s", i,
			      err.msg);
		must_range(s, rows[i].oldest, 7);
		/* Numbers are never used again, not even after all were dropped. */
		if (rows[i].oldest == 8) {
			store_close(s);
			s = must_open();
			must_range(s, 8, 7);
		}
		must_write(s, NULL, &e, 8);
		must_range(s, rows[i].oldest, 8);
		store_close(s);
	}
}
END_TEST

/* The range as that tenant sees it. */
static void sees(struct store *s, const char *tenant, uint64_t oldest, uint64_t newest)
{
	uint64_t o = 77, n = 77;
	struct err err = {.msg = ""};

	ck_assert_msg(store_event_range(s, tenant, &o, &n, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(o, oldest);
	ck_assert_uint_eq(n, newest);
}

static int list_count(void *arg, const char *tenant, uint64_t events, struct err *err)
{
	char *text = arg;

	(void)err;
	snprintf(text + strlen(text), 64 - strlen(text), "%s:%" PRIu64 " ", tenant, events);
	return 0;
}

static void counts(struct store *s, const char *want)
{
	char text[64] = "";
	struct err err = {.msg = ""};

	ck_assert_msg(store_event_counts(s, list_count, text, &err) == 0, "%s", err.msg);
	ck_assert_str_eq(text, want);
}

static void trim(struct store *s, const char *tenant, uint64_t keep)
{
	struct err err = {.msg = ""};

	ck_assert_msg(store_trim_tenant(s, tenant, keep, &err) == 0, "%s", err.msg);
}

/* One loses its oldest; others lose nothing, and are told of nothing. */
START_TEST(test_trim_tenant)
{
	struct err err = {.msg = ""};
	struct store *s;

	empty_dir();
	s = must_open();
	for (uint64_t i = 1; i <= 10; i++) {
		struct store_event e = event_at((int64_t)i, i % 2 ? "odd" : "even", "a");

		must_write(s, NULL, &e, i);
	}
	counts(s, "even:5 odd:5 ");
	trim(s, "odd", 5);
	trim(s, "none", 0);
	sees(s, NULL, 1, 10);
	trim(s, "odd", 2);
	counts(s, "even:5 odd:2 ");
	sees(s, "odd", 6, 10);
	sees(s, "even", 1, 10);
	/* Who reads all has lost some, too. */
	sees(s, NULL, 6, 10);
	trim(s, "odd", 0);
	sees(s, "odd", 10, 10);
	ck_assert_int_eq(store_trim_events(s, 5, &err), 0);
	counts(s, "even:3 ");
	sees(s, "even", 6, 10);
	sees(s, "odd", 10, 10);
	/* What is said of each is over once all have lost as much. */
	ck_assert_int_eq(store_trim_events(s, 11, &err), 0);
	sees(s, "odd", 11, 10);
	store_close(s);
	in_shell("DELETE FROM event_floors WHERE tenant = '*'");
	s = must_open();
	sees(s, NULL, 1, 10);
	store_close(s);
}
END_TEST

/* ---- which ones ---- */

struct seqs {
	char text[256];
};

static int list_seq(void *arg, const struct store_event *e, struct err *err)
{
	struct seqs *q = arg;
	size_t len = strlen(q->text);

	(void)err;
	snprintf(q->text + len, sizeof(q->text) - len, "%" PRIu64 " ", e->seq);
	return 0;
}

static const struct store_event mixed[] = {
	{.type = "x", .tenant = "t", .restore = "a"},  /* 1 */
	{.type = "x", .tenant = "t", .restore = "b"},  /* 2 */
	{.type = "x", .tenant = "u", .restore = "a"},  /* 3 */
	{.type = "x", .tenant = "", .restore = ""},    /* 4 */
	{.type = "x", .tenant = "t", .restore = "a"},  /* 5 */
	{.type = "x", .tenant = "tt", .restore = "a"}, /* 6 */
};

static const struct {
	struct store_filter filter; /* tenant, restore, after */
	size_t max;
	const char *want;
} filtered[] = {
	{{NULL, NULL, 0}, 100, "1 2 3 4 5 6 "},
	{{"", "", 0}, SIZE_MAX, "1 2 3 4 5 6 "},
	{{NULL, NULL, 4}, 100, "5 6 "},
	{{NULL, NULL, 1}, 2, "2 3 "},
	{{NULL, NULL, 0}, 0, ""},
	{{NULL, NULL, 6}, 100, ""},
	{{NULL, NULL, UINT64_MAX}, 100, ""},
	{{"t", NULL, 0}, 100, "1 2 5 "},
	{{"t", "", 1}, 100, "2 5 "},
	{{NULL, "a", 0}, 100, "1 3 5 6 "},
	{{"", "a", 2}, 2, "3 5 "},
	{{"t", "a", 0}, 100, "1 5 "},
	{{"t", "a", 1}, 100, "5 "},
	{{"u", "b", 0}, 100, ""},
	{{"none", NULL, 0}, 100, ""},
	{{"' OR 1 --", NULL, 0}, 100, ""},
};

START_TEST(test_filters)
{
	struct store *s;

	empty_dir();
	s = must_open();
	for (size_t i = 0; i < ARRAY_LEN(mixed); i++)
		must_write(s, NULL, &mixed[i], i + 1);
	for (size_t i = 0; i < ARRAY_LEN(filtered); i++) {
		struct seqs q = {""};
		struct err err = {.msg = ""};

		ck_assert_msg(store_events(s, &filtered[i].filter, filtered[i].max, list_seq, &q,
					   &err) == 0,
			      "row %zu: %s", i, err.msg);
		ck_assert_msg(strcmp(q.text, filtered[i].want) == 0, "row %zu: %s", i, q.text);
	}
	store_close(s);
}
END_TEST

/* ---- many ---- */

#define MANY 10000

static int ignore_event(void *arg, const struct store_event *e, struct err *err)
{
	(void)e;
	(void)err;
	(*(int *)arg)++;
	return 0;
}

static int count_step(void *arg)
{
	(*(uint64_t *)arg)++;
	return 0;
}

/* In steps of SQLite's machine, which are the same whatever else the host does. */
static uint64_t cost_of(struct store *s, const struct store_filter *filter, int want)
{
	uint64_t steps = 0;
	struct err err;
	int found = 0;

	sqlite3_progress_handler(store_db, 1, count_step, &steps);
	ck_assert_int_eq(store_events(s, filter, SIZE_MAX, ignore_event, &found, &err), 0);
	sqlite3_progress_handler(store_db, 0, NULL, NULL);
	ck_assert_int_eq(found, want);
	return steps;
}

static uint64_t cost_of_range(struct store *s)
{
	uint64_t steps = 0;

	sqlite3_progress_handler(store_db, 1, count_step, &steps);
	must_range(s, 1, MANY);
	sqlite3_progress_handler(store_db, 0, NULL, NULL);
	return steps;
}

START_TEST(test_many_events)
{
	static const struct store_filter filters[] = {{NULL, "r1"}, {"t1", NULL}, {"t1", "r1"}};
	struct store *s;
	struct err err;
	uint64_t all;

	empty_dir();
	watch_opening();
	s = must_open();
	for (uint64_t i = 0; i < MANY; i++) {
		struct restore_record r = plain("r", i);
		struct store_event e = event_at((int64_t)i, "t", "r");

		if (i == MANY - 1)
			e = event_at((int64_t)i, "t1", "r1");
		must_write(s, &r, &e, i + 1);
	}
	/* One out of many is found, not searched for; nor is the range counted. */
	all = cost_of(s, NULL, MANY);
	for (size_t i = 0; i < ARRAY_LEN(filters); i++)
		ck_assert_msg(cost_of(s, &filters[i], 1) * 20 < all, "filter %zu scans", i);
	ck_assert_msg(cost_of_range(s) * 20 < all, "the range is counted");
	/* The last one is another tenant's. */
	ck_assert_int_eq(store_trim_tenant(s, "t", 10, &err), 0);
	must_range(s, MANY - 10, MANY);
	store_close(s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("store_events");
	TCase *t = tcase_create("events");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_test(t, test_events_reopen);
	tcase_add_test(t, test_trim);
	tcase_add_test(t, test_trim_tenant);
	tcase_add_test(t, test_filters);
	tcase_add_test(t, test_many_events);
	suite_add_tcase(s, t);
	return s;
}
