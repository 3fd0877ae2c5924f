/*
 * What guests touch first is recorded, replayed for the next, and changed with their habits.
 */
#include <string.h>

#include "tests/support/habits.h"
#include "tests/support/hugepool.h"
#include "tests/support/runner.h"
#include "tests/fakes/vmm/vmm.h"

/* ---- stories ---- */

START_TEST(recorded_and_replayed)
{
	struct json_object *o;
	struct harness_reply r;
	struct habits t;
	struct stage s;
	uint64_t faults;

	habits_open(&t, "");
	habits_begin(&s, &t, "first", HABITS_NONE, t.working_set);
	o = stage_ask(&s, "GET", "", NULL);
	ck_assert(scene_flag(o, "working_set.record"));
	ck_assert_str_eq(scene_text(o, "working_set.state"), "recording");
	ck_assert_str_eq(scene_text(o, "working_set.path"), "");
	json_object_put(o);
	habits_none(&t, "first", "restore first has no working set");
	habits_touch(&s);
	ck_assert_uint_eq(habits_finish(&s), HABITS_PAGES);
	habits_check(&t, "first", WSET_MEMBER, 1);
	o = scene_show(&t.scene, "first");
	ck_assert_str_eq(scene_text(o, "working_set.state"), "recorded");
	ck_assert_uint_eq(scene_number(o, "working_set.pages"), HABITS_PAGES);
	json_object_put(o);
	harness_http(t.scene.d.socket, "GET", "/v1/events?restore=first", NULL, &r);
	/* A run that took its time is two, of different groups. */
	ck_assert_msg(strstr(r.body, "\"working-set-recorded\"") &&
			      strstr(r.body, "\"data\":{\"pages\":256,\"runs\":1") &&
			      strstr(r.body, "\"restores\":1}"),
		      "%s", r.body);
	harness_reply_fini(&r);

	/* All but the sample is there before the guest asks for it. */
	faults = habits_round(&t, "second", HABITS_REPLAY, t.working_set, false);
	ck_assert_msg(faults <= HABITS_PAGES / 8, "%ju faults", (uintmax_t)faults);
	habits_check(&t, "second", WSET_MEMBER, 2);
	/* Whoever records nothing leaves nothing out. */
	faults = habits_round(&t, "third", HABITS_REPLAY "," HABITS_QUIET, t.working_set, false);
	ck_assert_uint_eq(faults, 0);
	habits_events(&t, "third", "ended", "working-set");
	habits_check(&t, "third", WSET_MEMBER, 2);
	habits_close(&t);
}
END_TEST

/* The default mode: first the set, then everything. */
START_TEST(all_of_it_with_the_set_first)
{
	struct json_object *o;
	struct habits t;
	struct stage s;

	habits_open(&t, "");
	habits_round(&t, "first", HABITS_NONE, t.working_set, false);
	habits_begin(&s, &t, "second", "\"when_complete\":\"release\"", t.working_set);
	stage_check(&s, scene_vmm_lives(&s.vmm), "gone");
	o = stage_ended(&s, "released");
	ck_assert(scene_flag(o, "complete"));
	json_object_put(o);
	habits_touch(&s);
	scene_vmm_go(&s.vmm);
	stage_check(&s, stage_end(&s) == 0, "not right");
	stage_check(&s, strstr(stage_printed(&s), "verified 2048"), "not all");
	stage_fini(&s);
	/* Nobody touched anything, so nothing was learnt. */
	habits_check(&t, "second", WSET_MEMBER, 1);
	habits_events(&t, "second", "ended", "working-set");
	habits_close(&t);
}
END_TEST

/* Prefetch of nothing but the set, on request, beside a guest that runs. */
START_TEST(replay_on_request)
{
	struct json_object *o;
	struct habits t;
	struct stage s;

	habits_open(&t, "");
	habits_round(&t, "first", HABITS_NONE, t.working_set, false);
	habits_begin(&s, &t, "second", HABITS_NONE "," HABITS_QUIET, t.working_set);
	stage_tell(&s, "PUT", "/prefetch", "{\"mode\":\"working-set\"}");
	stage_check(&s, harness_wait(habits_is_replayed, &s, SCENE_MS), "it is not replayed");
	o = stage_ask(&s, "GET", "", NULL);
	ck_assert_uint_eq(scene_number(o, "memory.resident_bytes"), HABITS_PAGES * PAGE_4K);
	json_object_put(o);
	habits_touch(&s);
	ck_assert_uint_eq(habits_finish(&s), 0);
	habits_close(&t);
}
END_TEST

/* The last one is not for prefetch. */
#define HUGE_PAGES (HABITS_SIZE / PAGE_2M + 1)
static struct hugepool pool;

static void open_pool(void)
{
	if (!hugepool_open(&pool, HUGE_PAGES))
		fputs("# there are no huge pages to be had\n", stderr);
}

static void close_pool(void)
{
	hugepool_close(&pool);
}

/* Each page size has a set of its own, but the other one's is better than none. */
START_TEST(huge_pages)
{
	const char *const all = "0+3 --page-size 2M";
	struct habits t;
	struct wset set;

	if (hugepool_free() < HUGE_PAGES)
		return;
	habits_open(&t, "");
	habits_round(&t, "small", HABITS_NONE, t.working_set, false);
	ck_assert_uint_eq(habits_round(&t, "a", HABITS_REPLAY "," HABITS_QUIET, all, false), 0);
	ck_assert_uint_eq(habits_round(&t, "b", HABITS_NONE, all, false), 3);
	set = habits_set(&t, "b");
	ck_assert_uint_eq(set.page_bytes, PAGE_2M);
	ck_assert_uint_eq(set.restores, 2);
	ck_assert_uint_eq(set.pages, 3);
	wset_fini(&set);
	habits_check(&t, "small", WSET_MEMBER, 1);
	habits_close(&t);
}
END_TEST

/* What is not needed any more goes, what is new and repeats comes in, what came once does not. */
START_TEST(habits_change)
{
	static const char *const days[] = {"100+20,300+2", "200+20,301,500", "200+20,301,600+3",
					   "200+20,301,700"};
	struct habits t;
	struct wset set;

	habits_open(&t, "");
	for (size_t i = 0; i < ARRAY_LEN(days); i++) {
		cleanup_free char *id = scene_format("day-%zu", i);

		habits_round(&t, id, HABITS_NONE, days[i], true);
	}
	set = habits_set(&t, "day-3");
	for (uint64_t page = 0; page < HABITS_ALL; page++) {
		unsigned want = (page >= 200 && page < 220) || page == 301 ? 3 : page == 700;

		ck_assert_msg(habits_score(&set, page) == want, "page %ju has score %u, not %u",
			      (uintmax_t)page, habits_score(&set, page), want);
	}
	ck_assert_uint_eq(set.restores, 4);
	wset_fini(&set);
	habits_close(&t);
}
END_TEST

/* Also when all of it is replayed each time: then the sample tells. */
START_TEST(replayed_pages_are_let_go_of)
{
	uint64_t pages = HABITS_PAGES;
	struct habits t;

	habits_open(&t, "");
	habits_round(&t, "before", HABITS_NONE, t.working_set, true);
	for (int i = 0; i < 5; i++) {
		cleanup_free char *id = scene_format("after-%d", i);
		/* One that is always new: without a fault it cannot be told whether there is a guest. */
		cleanup_free char *list = scene_format("2000+20,%d", 1900 + i);
		struct wset set;

		habits_round(&t, id, HABITS_REPLAY, list, true);
		set = habits_set(&t, id);
		ck_assert_uint_ge(habits_score(&set, 2000), i ? WSET_MEMBER : WSET_CANDIDATE);
		ck_assert_uint_eq(habits_score(&set, 1900 + (uint64_t)i), WSET_CANDIDATE);
		ck_assert_uint_eq(habits_score(&set, 1899 + (uint64_t)i), 0);
		ck_assert_uint_le(set.pages - 21, pages);
		pages = set.pages - 21;
		wset_fini(&set);
	}
	/* In five restores, a page is in the sample with one chance in seven. */
	ck_assert_uint_lt(pages, HABITS_PAGES);
	ck_assert_uint_gt(pages, HABITS_PAGES / 2);
	habits_close(&t);
}
END_TEST

/* False: the host was too busy, the guest came to its pages when the window was over. */
static bool live_long(struct habits *t, uint64_t window_ms)
{
	uint64_t before_us = now_us();
	struct stage s;

	habits_begin(&s, t, "long", HABITS_NONE, t->working_set);
	habits_touch(&s);
	if (now_us() - before_us >= window_ms * 1000) {
		habits_finish(&s);
		return false;
	}
	habits_await(&s, "recorded");
	scene_vmm_go(&s.vmm);
	stage_check(&s, stage_hears(&s, "verified 2048"), "it does not touch the rest");
	ck_assert_uint_eq(habits_finish(&s), HABITS_ALL);
	habits_check(t, "long", WSET_MEMBER, 1);
	return true;
}

START_TEST(long_lives_do_not_swell_it)
{
	uint64_t window_ms = 500;
	struct habits t;
	struct stage s;

	habits_open_window(&t, window_ms);
	while (!live_long(&t, window_ms)) {
		habits_close(&t);
		window_ms *= 4;
		habits_open_window(&t, window_ms);
	}
	/* Nor does one that did nothing in its window. */
	habits_begin(&s, &t, "late", HABITS_NONE, t.working_set);
	habits_await(&s, "off");
	habits_touch(&s);
	ck_assert_uint_eq(habits_finish(&s), HABITS_PAGES);
	habits_check(&t, "late", WSET_MEMBER, 1);
	habits_close(&t);
}
END_TEST

/* A pause ends it: the VMM is about to read all of its memory. */
START_TEST(pause_ends_it)
{
	struct habits t;
	struct stage s;

	habits_open(&t, "");
	habits_begin(&s, &t, "paused", HABITS_NONE, t.working_set);
	habits_touch(&s);
	stage_tell(&s, "POST", "/pause", NULL);
	scene_vmm_go(&s.vmm);
	stage_check(&s, stage_hears(&s, "verified 2048"), "it does not touch the rest");
	stage_tell(&s, "POST", "/resume", NULL);
	habits_finish(&s);
	habits_check(&t, "paused", WSET_MEMBER, 1);
	habits_close(&t);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("habits");
	TCase *t = tcase_create("habits");

	tcase_add_test(t, recorded_and_replayed);
	tcase_add_test(t, all_of_it_with_the_set_first);
	tcase_add_test(t, replay_on_request);
	tcase_add_test(t, habits_change);
	tcase_add_test(t, replayed_pages_are_let_go_of);
	tcase_add_test(t, long_lives_do_not_swell_it);
	tcase_add_test(t, pause_ends_it);
	suite_add_tcase(s, t);
	t = tcase_create("huge pages");
	tcase_add_unchecked_fixture(t, open_pool, close_pool);
	tcase_add_test(t, huge_pages);
	suite_add_tcase(s, t);
	return s;
}
