/* test_event_retention - events of each tenant, and of all: who loses which */
#include "daemon/event_retention.h"

#include <inttypes.h>
#include <string.h>

#include "tests/support/runner.h"
#include "tests/support/storekit.h"

static const struct {
	uint64_t counts[5]; /* up to a 0 */
	uint64_t most, level;
} levels[] = {
	{{0}, 5, UINT64_MAX},
	{{5}, 5, UINT64_MAX},
	{{5}, 4, 4},
	{{3, 5}, 8, UINT64_MAX},
	{{5, 3}, 7, 4},
	{{5, 3}, 6, 3},
	{{5, 3}, 5, 2},
	{{100, 1, 1, 1}, 10, 7},
	{{100, 100, 1}, 20, 9},
	{{4, 4, 4}, 2, 0},
	{{UINT64_MAX, 1}, UINT64_MAX, UINT64_MAX - 1},
};

START_TEST(test_level)
{
	uint64_t counts[5];
	size_t n = 0;

	while (n < 5 && levels[_i].counts[n]) {
		counts[n] = levels[_i].counts[n];
		n++;
	}
	ck_assert_uint_eq(event_retention_level(counts, n, levels[_i].most), levels[_i].level);
}
END_TEST

/* ---- with a store ---- */

static struct conf conf;
static struct tenants ts;
static struct event_retention er;
static struct store *store;
static uint64_t seq;

static void begin(void)
{
	empty_dir();
	conf_defaults(&conf);
	ts = (struct tenants){0};
	er = (struct event_retention){0};
	store = must_open();
	seq = 0;
}

static void end(void)
{
	tenants_fini(&ts);
	store_close(store);
}

static void add(const char *tenant, size_t n, int64_t time_ms)
{
	for (; n; n--) {
		struct store_event e = event_at(time_ms, tenant, "a");

		must_write(store, NULL, &e, ++seq);
	}
}

static void run(int64_t now_ms)
{
	struct err err = {.msg = ""};

	ck_assert_msg(event_retention_run(&er, store, &ts, &conf, now_ms, &err) == 0, "%s",
		      err.msg);
}

static int list_count(void *arg, const char *tenant, uint64_t events, struct err *err)
{
	char *text = arg;

	(void)err;
	snprintf(text + strlen(text), 64 - strlen(text), "%s:%" PRIu64 " ", tenant, events);
	return 0;
}

static void kept(const char *want)
{
	struct err err = {.msg = ""};
	char text[64] = "";

	ck_assert_msg(store_event_counts(store, list_count, text, &err) == 0, "%s", err.msg);
	ck_assert_str_eq(text, want);
}

START_TEST(test_of_each)
{
	struct tenant big;

	conf.events_per_tenant = 10;
	tenant_init(&big, "big");
	big.budgets.of[BUDGET_EVENTS] = 20;
	tenants_put(&ts, &big);
	add("", 30, 1);
	add("big", 30, 1);
	add("red", 30, 1);
	add("blue", 5, 1);
	run(1);
	kept(":30 big:20 blue:5 red:10 ");
}
END_TEST

/* A flood costs the one who made it. */
START_TEST(test_of_all)
{
	conf.event_retention_count = 30;
	add("quiet", 5, 1);
	add("flood", 100, 1);
	add("busy", 15, 1);
	run(1);
	kept("busy:12 flood:12 quiet:5 ");
}
END_TEST

START_TEST(test_age)
{
	conf.event_retention_age_ms = 1000;
	add("a", 3, 1);
	add("b", 2, 500);
	run(1001);
	kept("a:3 b:2 ");
	run(1002);
	kept("b:2 ");
}
END_TEST

/* They are counted when there may be too many, and at the first look. */
START_TEST(test_counted_now_and_then)
{
	conf.events_per_tenant = 1000;
	add("a", 1001, 1);
	run(1);
	kept("a:1000 ");
	add("a", 255, 1);
	run(1);
	kept("a:1255 ");
	add("a", 1, 1);
	run(1);
	kept("a:1000 ");
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("event_retention");
	TCase *pure = tcase_create("level"), *t = tcase_create("store");

	tcase_add_loop_test(pure, test_level, 0, ARRAY_LEN(levels));
	suite_add_tcase(s, pure);
	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, test_of_each);
	tcase_add_test(t, test_of_all);
	tcase_add_test(t, test_age);
	tcase_add_test(t, test_counted_now_and_then);
	suite_add_tcase(s, t);
	return s;
}
