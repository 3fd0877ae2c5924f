/* What a recording makes of a set, by what the page map says in the end. */
#include "worker/touch_log.h"

#include "tests/support/mapkit.h"

#define LAYOUT 0 /* 1024 pages in one region */
#define WINDOW_US ((uint64_t)10 * 1000 * 1000)
#define BEGIN ((uint64_t)5 * 1000 * 1000) /* of the recording */

static struct wset old_set(const struct fixture *f)
{
	return (struct wset){
		.key = {.kind = WSET_FILES, .number = 9},
		.page_bytes = f->regions->page_bytes,
		.span_bytes = f->pm.head->span_bytes,
	};
}

static void add(struct wset *s, uint32_t page, unsigned score, unsigned group)
{
	const struct wset_run run = {page, 1, (uint8_t)score, (uint8_t)group};
	struct err err;

	s->restores = 3;
	ck_assert_int_eq(wset_add(s, &run, &err), 0);
}

static void begin(struct touch_log *r, uint64_t page_seed)
{
	struct err err;

	ck_assert_msg(touch_log_begin(r, WINDOW_US, page_seed, BEGIN, &err) == 0, "%s", err.msg);
}

static struct wset merge(struct touch_log *r, const struct wset *old, const struct fixture *f,
			 uint64_t us)
{
	struct wset ret;
	struct err err;

	ck_assert_int_eq(touch_log_merge(r, old, &f->pm, BEGIN + us, &ret, &err), 0);
	return ret;
}

static unsigned score_of(const struct wset *s, uint32_t page)
{
	for (size_t i = 0; i < s->n; i++)
		if (page >= s->v[i].page && page - s->v[i].page < s->v[i].pages)
			return s->v[i].score;
	return 0;
}

/* In any order, in any group; the first touch counts. */
START_TEST(test_touches)
{
	/* clang-format off */
	static const struct {
		uint64_t page, us;
		unsigned group;
	} touches[] = {
		{1023, 0, 0}, {0, 100, 0}, {700, 20000, 1}, {5, 5000000, 5}, {6, 5000001, 5},
		{700, 6000000, 0}, {2, 9999999, 5},
	};
	/* clang-format on */
	struct touch_log r;
	struct fixture f;
	struct wset old, new;

	setup(&f, LAYOUT);
	old = old_set(&f);
	begin(&r, 1);
	for (size_t i = 0; i < ARRAY_LEN(touches); i++)
		touch_log_touch(&r, touches[i].page, BEGIN + touches[i].us);
	new = merge(&r, &old, &f, WINDOW_US);
	ck_assert_uint_eq(new.pages, 6);
	ck_assert_uint_eq(new.n, 5);
	ck_assert_uint_eq(new.restores, 1);
	ck_assert(new.v[0].page == 0 && new.v[0].group == 0 && new.v[0].score == 2);
	ck_assert(new.v[1].page == 2 && new.v[1].group == 5);
	ck_assert(new.v[2].page == 5 && new.v[2].pages == 2);
	ck_assert(new.v[3].page == 700 && new.v[3].group == 1);
	ck_assert(new.v[4].page == 1023 && new.v[4].group == 0);
	wset_fini(&new);
	touch_log_fini(&r);
	teardown(&f);
}
END_TEST

/* Every page number is sorted by all of its bits. */
START_TEST(test_sorting)
{
	struct wset old = {.page_bytes = PAGE_4K, .span_bytes = WSET_SPAN_MAX}, new;
	const struct pagemap none = {0};
	struct touch_log r;
	struct err err;
	uint64_t before = 0;

	begin(&r, 1);
	seed = 3;
	for (int i = 0; i < 50000; i++)
		touch_log_touch(&r, rnd((uint64_t)1 << (1 + rnd(32))), BEGIN);
	touch_log_touch(&r, UINT32_MAX, BEGIN);
	ck_assert_int_eq(touch_log_merge(&r, &old, &none, BEGIN, &new, &err), 0);
	for (size_t i = 0; i < new.n; i++) {
		ck_assert(i == 0 || new.v[i].page > before);
		before = (uint64_t) new.v[i].page + new.v[i].pages - 1;
	}
	ck_assert_uint_eq(before, UINT32_MAX);
	wset_fini(&new);
	touch_log_fini(&r);
}
END_TEST

/*
 * One member, or candidate, that was not recorded. Group 1 ends at 64 ms, group 5 at 16 s, which
 * is beyond the window.
 */
static const struct {
	const char *what;
	unsigned score, group;
	enum page_state state;
	uint64_t end_us;
	unsigned want;
} rows[] = {
	{"absent, in time", 2, 1, PAGE_ABSENT, 127999, 2},
	{"absent, twice its time", 2, 1, PAGE_ABSENT, 128000, 1},
	{"absent, better score", 3, 1, PAGE_ABSENT, 128000, 2},
	{"absent, the whole window", 2, 5, PAGE_ABSENT, WINDOW_US, 1},
	{"absent, nearly the window", 2, 5, PAGE_ABSENT, WINDOW_US - 1, 2},
	{"last group", 2, 7, PAGE_ABSENT, WINDOW_US - 1, 2},
	{"last group, the window", 2, 7, PAGE_ABSENT, WINDOW_US, 1},
	{"replayed", 2, 1, PAGE_PRESENT, WINDOW_US, 2},
	{"given back", 2, 1, PAGE_REMOVED, WINDOW_US, 2},
	{"given back and touched", 2, 1, PAGE_ZEROED, WINDOW_US, 2},
	{"candidate, absent, in time", 1, 1, PAGE_ABSENT, 127999, 1},
	{"candidate, absent", 1, 1, PAGE_ABSENT, 128000, 0},
	{"candidate, prefetched in time", 1, 1, PAGE_PRESENT, 127999, 1},
	{"candidate, prefetched", 1, 1, PAGE_PRESENT, 128000, 0},
};

/* A page that no sample has. */
static uint32_t unsampled(uint64_t of)
{
	uint32_t page = 100;

	while (wset_sampled(page, of))
		page++;
	return page;
}

static uint32_t sampled(uint64_t of)
{
	uint32_t page = 100;

	while (!wset_sampled(page, of))
		page++;
	return page;
}

START_TEST(test_not_touched)
{
	const uint32_t page = unsampled(77);
	struct touch_log r;
	struct fixture f;
	struct wset old, new;

	setup(&f, LAYOUT);
	old = old_set(&f);
	add(&old, page, rows[_i].score, rows[_i].group);
	pagemap_set(&f.pm, page, 1, rows[_i].state);
	begin(&r, 77);
	touch_log_touch(&r, 3, BEGIN);
	touch_log_sample_begins(&r, BEGIN + 1);
	new = merge(&r, &old, &f, rows[_i].end_us);
	ck_assert_msg(score_of(&new, page) == rows[_i].want, "%s: %u", rows[_i].what,
		      score_of(&new, page));
	ck_assert_uint_eq(score_of(&new, 3), WSET_CANDIDATE);
	wset_fini(&old);
	wset_fini(&new);
	touch_log_fini(&r);
	teardown(&f);
}
END_TEST

/* A member of the sample that somebody else installed: judged by when that began. */
START_TEST(test_sample)
{
	/* clang-format off */
	static const struct {
		uint64_t begins_us; /* 0: never */
		bool touched;
		unsigned want;
	} cases[] = {
		{0, false, 2}, {127999, false, 2}, {128000, false, 1}, {128000, true, 3},
		{1, true, 3},
	};
	/* clang-format on */
	const uint32_t page = sampled(77);
	struct touch_log r;
	struct fixture f;
	struct wset old, new;

	setup(&f, LAYOUT);
	old = old_set(&f);
	add(&old, page, 2, 1);
	pagemap_set(&f.pm, page, 1, PAGE_PRESENT);
	begin(&r, 77);
	if (cases[_i].touched)
		touch_log_touch(&r, page, BEGIN + 5);
	if (cases[_i].begins_us)
		touch_log_sample_begins(&r, BEGIN + cases[_i].begins_us);
	touch_log_sample_begins(&r, BEGIN + WINDOW_US);
	if (!cases[_i].begins_us)
		r.sample_us = 0;
	new = merge(&r, &old, &f, WINDOW_US);
	ck_assert_uint_eq(score_of(&new, page), cases[_i].want);
	wset_fini(&old);
	wset_fini(&new);
	touch_log_fini(&r);
	teardown(&f);
}
END_TEST

/* By time, and by the number of pages. */
START_TEST(test_bounds)
{
	struct touch_log r = {0};

	ck_assert_uint_eq(touch_log_wait_us(&r, BEGIN), UINT64_MAX);
	touch_log_touch(&r, 1, BEGIN);
	ck_assert_uint_eq(r.n, 0);
	begin(&r, 1);
	ck_assert_uint_eq(touch_log_wait_us(&r, BEGIN), WINDOW_US);
	ck_assert_uint_eq(touch_log_wait_us(&r, BEGIN + 3), WINDOW_US - 3);
	ck_assert_uint_eq(touch_log_wait_us(&r, BEGIN + WINDOW_US), 0);
	for (uint64_t i = 0; i < RECORD_PAGES_MAX + 5; i++) {
		ck_assert_int_eq(touch_log_wait_us(&r, BEGIN) == 0, i >= RECORD_PAGES_MAX);
		touch_log_touch(&r, i, BEGIN);
	}
	ck_assert_uint_eq(r.n, RECORD_PAGES_MAX);
	touch_log_fini(&r);
	touch_log_fini(&r);
	ck_assert(!r.on && !r.v);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("record");
	TCase *t = tcase_create("record");

	tcase_add_test(t, test_touches);
	tcase_add_test(t, test_sorting);
	tcase_add_loop_test(t, test_not_touched, 0, ARRAY_LEN(rows));
	tcase_add_loop_test(t, test_sample, 0, 5);
	tcase_add_test(t, test_bounds);
	suite_add_tcase(s, t);
	return s;
}
