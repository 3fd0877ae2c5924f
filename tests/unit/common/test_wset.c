/* Working sets as values: what recordings make of them, against a model of one entry per page. */
#include "common/wset.h"

#include <string.h>

#include "tests/support/runner.h"

#define PAGES 700
#define SPAN (PAGES * PAGE_4K)

/* Splitmix64: the same sequence everywhere. */
static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (z ^ z >> 31) % below;
}

struct entry {
	unsigned score, group; /* score 0: not in the set */
};

struct model {
	struct entry v[PAGES];
};

static struct wset fresh(uint64_t page_bytes, uint64_t span_bytes)
{
	return (struct wset){
		.key = {.kind = WSET_FILES, .number = 7},
		.page_bytes = page_bytes,
		.span_bytes = span_bytes,
		.restores = 1,
	};
}

static void add(struct wset *s, uint32_t page, uint32_t pages, unsigned score, unsigned group)
{
	struct wset_run run = {page, pages, (uint8_t)score, (uint8_t)group};
	struct err err;

	ck_assert_int_eq(wset_add(s, &run, &err), 0);
}

/* Short runs, as they are in life, and a few long ones. */
static void random_set(struct wset *s, struct model *m)
{
	uint32_t page = (uint32_t)rnd(20);

	memset(m, 0, sizeof(*m));
	while (page < PAGES) {
		uint32_t n = (uint32_t)min_u64(1 + rnd(rnd(20) ? 4 : 90), PAGES - page);
		unsigned score = 1 + (unsigned)rnd(3), group = (unsigned)rnd(WSET_GROUPS);

		add(s, page, n, score, group);
		for (uint32_t i = 0; i < n; i++)
			m->v[page + i] = (struct entry){score, group};
		page += n + (uint32_t)rnd(rnd(2) ? 3 : 40);
	}
}

/* The set is what the model says, in the fewest runs. */
static void check_set(const struct wset *s, const struct entry *want, uint64_t npages)
{
	uint64_t page = 0, pages = 0;

	for (size_t i = 0; i < s->n; i++) {
		const struct wset_run *r = &s->v[i], *before = i ? r - 1 : NULL;

		ck_assert_uint_ge(r->page, page);
		ck_assert_uint_gt(r->pages, 0);
		ck_assert(!before || r->page > page || r->score != before->score ||
			  r->group != before->group);
		for (; page < r->page; page++)
			ck_assert_msg(want[page].score == 0, "page %ju is missing", page);
		for (; page < (uint64_t)r->page + r->pages; page++, pages++)
			ck_assert_msg(page < npages && want[page].score == r->score &&
					      want[page].group == r->group,
				      "page %ju is %u/%u, not %u/%u", page, r->score, r->group,
				      want[page].score, want[page].group);
	}
	for (; page < npages; page++)
		ck_assert_msg(want[page].score == 0, "page %ju is missing", page);
	ck_assert_uint_eq(s->pages, pages);
}

/* --- merging --- */

static bool unneeded_pages[PAGES];

static bool is_unneeded(void *arg, uint64_t page, unsigned score, unsigned group)
{
	const struct model *m = arg;

	ck_assert_uint_eq(m->v[page].score, score);
	ck_assert_uint_eq(m->v[page].group, group);
	return unneeded_pages[page];
}

/* The table in wset.h, once more. */
static struct entry merged(struct entry old, bool first, const unsigned *touched, bool unneeded)
{
	struct entry e = old;

	if (touched && !old.score)
		return (struct entry){first ? 2 : 1, *touched};
	if (touched) {
		e.score = old.score == 3 ? 3 : old.score + 1;
		e.group = *touched < old.group ? *touched : old.group;
	} else if (old.score && unneeded) {
		e.score--;
	}
	return e.score ? e : (struct entry){0, 0};
}

START_TEST(test_merge)
{
	struct wset old = fresh(PAGE_4K, SPAN), new = {0};
	struct wset_touch touched[PAGES];
	struct model m, want;
	struct wset_recording recording = {
		.touched = touched,
		.unneeded = is_unneeded,
		.arg = &m,
	};
	struct err err;

	seed = (uint64_t)_i;
	random_set(&old, &m);
	old.restores = _i % 4 ? (unsigned)_i : 0;
	for (uint32_t i = 0; i < PAGES; i++) {
		unsigned group = (unsigned)rnd(WSET_GROUPS);
		bool is_touched = rnd(3) == 0;

		unneeded_pages[i] = rnd(2);
		if (is_touched)
			touched[recording.n++] = (struct wset_touch){i, group};
		want.v[i] = merged(m.v[i], old.restores == 0, is_touched ? &group : NULL,
				   unneeded_pages[i]);
	}
	ck_assert_int_eq(wset_merge(&old, &recording, &new, &err), 0);
	check_set(&new, want.v, PAGES);
	ck_assert_uint_eq(new.restores, old.restores + 1);
	ck_assert(wset_key_equal(&new.key, &old.key));
	ck_assert_uint_eq(new.span_bytes, old.span_bytes);
	ck_assert_uint_eq(new.page_bytes, old.page_bytes);
	wset_fini(&old);
	wset_fini(&new);
}
END_TEST

static bool always(void *arg, uint64_t page, unsigned score, unsigned group)
{
	(void)arg;
	(void)page;
	(void)score;
	(void)group;
	return true;
}

static void merge_with(struct wset *s, const struct wset_touch *touched, size_t n)
{
	const struct wset_recording recording = {touched, n, always, NULL};
	struct wset next;
	struct err err;

	ck_assert_int_eq(wset_merge(s, &recording, &next, &err), 0);
	wset_fini(s);
	*s = next;
}

/* What repeats stays, what came once goes, a habit is given up within three restores. */
START_TEST(test_merge_over_time)
{
	static const struct wset_touch habit[] = {{3, 0}, {4, 0}, {9, 2}}, other[] = {{5, 1}};
	const struct entry want[PAGES] = {[3] = {3, 0}, [4] = {3, 0}, [9] = {3, 2}};
	const struct entry changed[PAGES] = {[5] = {3, 1}};
	struct wset s = fresh(PAGE_4K, SPAN);

	s.restores = 0;
	for (uint32_t i = 0; i < 20; i++) {
		struct wset_touch once[] = {habit[0], habit[1], habit[2], {20 + i, 0}};

		merge_with(&s, once, 4);
		ck_assert_uint_le(s.pages, 5);
	}
	merge_with(&s, habit, 3);
	check_set(&s, want, PAGES);
	for (int i = 0; i < 3; i++)
		merge_with(&s, other, 1);
	check_set(&s, changed, PAGES);
	ck_assert_uint_eq(s.restores, 24);
	wset_fini(&s);
}
END_TEST

/* --- sets from sets --- */

START_TEST(test_union)
{
	struct wset a = fresh(PAGE_4K, SPAN), b = fresh(PAGE_4K, SPAN), both = {0};
	struct model ma, mb;
	struct err err;

	seed = (uint64_t)_i;
	random_set(&a, &ma);
	random_set(&b, &mb);
	b.restores = 9;
	if (_i == 0)
		wset_fini(&b), b = fresh(PAGE_4K, SPAN), memset(&mb, 0, sizeof(mb));
	for (size_t i = 0; i < PAGES; i++) {
		struct entry *x = &ma.v[i], *y = &mb.v[i];

		if (x->score && y->score) {
			x->score = x->score > y->score ? x->score : y->score;
			x->group = x->group < y->group ? x->group : y->group;
		} else if (y->score) {
			*x = *y;
		}
	}
	ck_assert_int_eq(wset_union(&a, &b, &both, &err), 0);
	check_set(&both, ma.v, PAGES);
	ck_assert_uint_eq(both.restores, _i ? 9 : 1);
	wset_fini(&a);
	wset_fini(&b);
	wset_fini(&both);
}
END_TEST

/* 700 small pages are a large one and a part of another. */
START_TEST(test_convert)
{
	struct wset small = fresh(PAGE_4K, SPAN), large = {0}, back = {0};
	struct entry want[2] = {{0, 8}, {0, 8}};
	struct model m, spread;
	struct err err;

	seed = (uint64_t)_i;
	random_set(&small, &m);
	for (size_t i = 0; i < PAGES; i++) {
		struct entry *w = &want[i / 512];

		if (m.v[i].score > w->score)
			w->score = m.v[i].score;
		if (m.v[i].score && m.v[i].group < w->group)
			w->group = m.v[i].group;
	}
	ck_assert_int_eq(wset_convert(&small, PAGE_2M, &large, &err), 0);
	ck_assert_uint_eq(large.page_bytes, PAGE_2M);
	check_set(&large, want, 2);
	for (size_t i = 0; i < PAGES; i++)
		spread.v[i] = want[i / 512].score ? want[i / 512] : (struct entry){0, 0};
	ck_assert_int_eq(wset_convert(&large, PAGE_4K, &back, &err), 0);
	check_set(&back, spread.v, PAGES);
	wset_fini(&small);
	wset_fini(&large);
	wset_fini(&back);
}
END_TEST

/* The largest snapshot has one page more than a run can count. */
START_TEST(test_convert_largest)
{
	struct wset large = fresh(PAGE_2M, WSET_SPAN_MAX), small = {0}, again = {0};
	struct err err;

	add(&large, 0, (uint32_t)(WSET_SPAN_MAX / PAGE_2M), 2, 0);
	ck_assert_int_eq(wset_convert(&large, PAGE_4K, &small, &err), 0);
	ck_assert_uint_eq(small.n, 1);
	ck_assert_uint_eq(small.pages, UINT32_MAX);
	ck_assert_int_eq(wset_convert(&small, PAGE_2M, &again, &err), 0);
	ck_assert_uint_eq(again.pages, WSET_SPAN_MAX / PAGE_2M);
	wset_fini(&large);
	wset_fini(&small);
	wset_fini(&again);
}
END_TEST

START_TEST(test_keep)
{
	struct wset s = fresh(PAGE_4K, SPAN);
	struct model m;

	seed = (uint64_t)_i;
	random_set(&s, &m);
	for (size_t i = 0; i < PAGES; i++)
		if (m.v[i].score < 2 || m.v[i].group >= 3)
			m.v[i] = (struct entry){0, 0};
	wset_keep(&s, 2, 3);
	check_set(&s, m.v, PAGES);
	wset_fini(&s);
}
END_TEST

/* --- replay --- */

START_TEST(test_groups)
{
	/* clang-format off */
	static const struct {
		uint64_t us;
		unsigned group;
	} rows[] = {
		{0, 0}, {15999, 0}, {16000, 1}, {63999, 1}, {64000, 2}, {256000, 3},
		{1024000, 4}, {4096000, 5}, {16384000, 6}, {65535999, 6}, {65536000, 7},
		{UINT64_MAX - 1, 7},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		ck_assert_uint_eq(wset_group(rows[i].us), rows[i].group);
	ck_assert_uint_eq(wset_group_end_us(0), 16000);
	ck_assert_uint_eq(wset_group_end_us(6), 65536000);
	ck_assert_uint_eq(wset_group_end_us(7), UINT64_MAX);
}
END_TEST

/* Every member once; earlier groups first, then earlier pages. */
START_TEST(test_replay_order)
{
	struct wset s = fresh(PAGE_4K, SPAN);
	struct wset_cursor c = {0};
	struct wset_run run;
	struct model m;
	uint64_t before = 0, members = 0;

	seed = (uint64_t)_i;
	random_set(&s, &m);
	for (size_t i = 0; i < PAGES; i++)
		members += m.v[i].score >= 2;
	while (wset_next(&s, &c, &run)) {
		uint64_t place = (uint64_t)run.group << 32 | run.page;

		ck_assert_uint_ge(run.score, 2);
		ck_assert_uint_ge(place, before);
		before = place + run.pages;
		for (uint32_t i = run.page; i < run.page + run.pages; i++)
			ck_assert_uint_eq(m.v[i].group, run.group);
		members -= run.pages;
	}
	ck_assert_uint_eq(members, 0);
	ck_assert(!wset_next(&s, &c, &run));
	wset_fini(&s);
}
END_TEST

/* One in 32, whatever the seed; over many restores every page's turn comes. */
START_TEST(test_sample)
{
	uint64_t all = 0, never = 0;

	for (uint64_t page = 0; page < 4096; page++) {
		uint64_t hits = 0;

		ck_assert(!wset_sampled(page, 0));
		for (uint64_t s = 1; s <= 512; s++)
			hits += wset_sampled(page, s * 0x2545f4914f6cdd1dull);
		all += hits;
		never += hits == 0;
	}
	ck_assert_uint_ge(all, 4096 * 512 / 32 * 98 / 100);
	ck_assert_uint_le(all, 4096 * 512 / 32 * 102 / 100);
	ck_assert_uint_eq(never, 0);
}
END_TEST

START_TEST(test_key_text)
{
	struct wset_key build = {.kind = WSET_BUILD,
				 .id = {0xab, 1, [15] = 0xff},
				 .number = 0x20000000};
	struct wset_key files = {.kind = WSET_FILES,
				 .id = {0xab, 1, [15] = 0xff},
				 .number = 0x20000000};
	struct wset_key hash = {.kind = WSET_HASH, .number = 0xfedcba9876543210};
	char text[WSET_KEY_LEN + 1];

	wset_key_text(&build, text);
	ck_assert_str_eq(text, "bab0100000000000000000000000000ff-0000000020000000");
	ck_assert_uint_eq(strlen(text), WSET_KEY_LEN);
	wset_key_text(&files, text);
	ck_assert_str_eq(text, "fab0100000000000000000000000000ff-0000000020000000");
	wset_key_text(&hash, text);
	ck_assert_str_eq(text, "f-fedcba9876543210");
	ck_assert(!wset_key_equal(&build, &files));
	ck_assert(wset_key_equal(&build, &build));
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("wset");
	TCase *t = tcase_create("values");

	tcase_add_loop_test(t, test_merge, 0, 200);
	tcase_add_test(t, test_merge_over_time);
	tcase_add_loop_test(t, test_union, 0, 100);
	tcase_add_loop_test(t, test_convert, 0, 100);
	tcase_add_test(t, test_convert_largest);
	tcase_add_loop_test(t, test_keep, 0, 20);
	tcase_add_test(t, test_groups);
	tcase_add_loop_test(t, test_replay_order, 0, 50);
	tcase_add_test(t, test_sample);
	tcase_add_test(t, test_key_text);
	suite_add_tcase(s, t);
	return s;
}
