/* The order of prefetch against page maps of every layout. */
#include "worker/prefetch_order.h"

#include "tests/support/mapkit.h"

/* Is [page, page + n) in one region, and absent? */
static void check_run(const struct fixture *f, uint64_t page, uint64_t n, uint64_t max)
{
	const uint64_t bytes = f->regions->page_bytes;
	const struct region *r = regions_at_offset(f->pm.regions, page * bytes);

	ck_assert_uint_ge(n, 1);
	ck_assert_uint_le(n, max);
	ck_assert_ptr_nonnull(r);
	ck_assert_uint_le((page + n) * bytes, r->offset + r->size);
	for (uint64_t i = page; i < page + n; i++)
		ck_assert_msg(f->model[i] == PAGE_ABSENT, "page %ju is %u", i, f->model[i]);
}

static uint64_t count_absent(const struct fixture *f)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < f->pm.npages; i++)
		n += f->model[i] == PAGE_ABSENT;
	return n;
}

static void change_some(struct fixture *f)
{
	for (uint64_t i = rnd(20); i > 0; i--)
		change(f);
}

/* Nothing is installed in between: asked ahead, it gives every page once. */
START_TEST(test_all_once_in_order_of_offset)
{
	struct fixture f;
	struct prefetch_order o;
	uint64_t page, n, max, after = 0, sum = 0;

	setup(&f, _i);
	change_some(&f);
	prefetch_order_init(&o, true);
	while ((n = prefetch_order_next(&o, &f.pm, max = 1 + rnd(300), &page))) {
		check_run(&f, page, n, max);
		ck_assert_uint_ge(page, after);
		after = page + n;
		sum += n;
	}
	ck_assert_uint_eq(sum, count_absent(&f));
	ck_assert_uint_eq(prefetch_order_next(&o, &f.pm, 1, &page), 0);
	prefetch_order_restart(&o, true);
	ck_assert_uint_eq(prefetch_order_next(&o, &f.pm, 1, &page), sum > 0);
	teardown(&f);
}
END_TEST

/* What changes behind the cursor does not count, what changes before it does. */
START_TEST(test_all_while_it_changes)
{
	struct fixture f;
	struct prefetch_order o;
	uint64_t page, n, max;

	setup(&f, _i);
	prefetch_order_init(&o, true);
	while ((n = prefetch_order_next(&o, &f.pm, max = 1 + rnd(40), &page))) {
		check_run(&f, page, n, max);
		change(&f);
	}
	teardown(&f);
}
END_TEST

/* --- with a working set --- */

#define SEED 0x1234567

/* What the set says of each page. */
struct known {
	uint8_t *score, *group; /* owned, npages */
	struct wset set;
};

static void known_setup(struct known *k, const struct fixture *f)
{
	struct err err;

	*k = (struct known){
		.score = xcalloc(f->pm.npages, 1),
		.group = xcalloc(f->pm.npages, 1),
		.set = {.page_bytes = f->regions->page_bytes, .span_bytes = f->pm.head->span_bytes},
	};
	for (uint64_t page = rnd(4); page < f->pm.npages; page += rnd(12)) {
		struct wset_run run = {(uint32_t)page, (uint32_t)(1 + rnd(rnd(9) ? 4 : 200)),
				       (uint8_t)(1 + rnd(3)), (uint8_t)rnd(WSET_GROUPS)};

		run.pages = (uint32_t)min_u64(run.pages, f->pm.npages - page);
		ck_assert_int_eq(wset_add(&k->set, &run, &err), 0);
		memset(k->score + page, run.score, run.pages);
		memset(k->group + page, run.group, run.pages);
		page += run.pages;
	}
}

static void known_teardown(struct known *k)
{
	free(k->score);
	free(k->group);
	wset_fini(&k->set);
}

static bool is_left_out(const struct known *k, uint64_t page, uint64_t of)
{
	return k->score[page] >= WSET_MEMBER && wset_sampled(page, of);
}

/* 0: of the set, 1: of the rest, 2: of the sample. */
static unsigned pass_of(const struct known *k, uint64_t page, uint64_t of)
{
	if (k->score[page] < WSET_MEMBER)
		return 1;
	return is_left_out(k, page, of) ? 2 : 0;
}

/*
 * Asks for everything ahead, and checks the order; what the first pass gives are
 * members by group, and each absent page of the passes that are due comes once.
 */
static void check_order(struct fixture *f, const struct known *k, struct prefetch_order *o,
			uint64_t of, unsigned passes)
{
	cleanup_free uint8_t *seen = xcalloc(f->pm.npages, 1);
	uint64_t page, n, max, place = 0;
	unsigned pass = 0;

	while ((n = prefetch_order_next(o, &f->pm, max = 1 + rnd(60), &page))) {
		check_run(f, page, n, max);
		if (pass_of(k, page, of) != pass)
			place = 0;
		ck_assert_uint_ge(pass_of(k, page, of), pass);
		pass = pass_of(k, page, of);
		ck_assert_int_eq(prefetch_order_at_sample(o), pass == 2);
		for (uint64_t i = page; i < page + n; i++) {
			uint64_t at = (uint64_t)(pass ? 0 : k->group[i]) << 32 | i;

			ck_assert_msg(pass == 1 || pass_of(k, i, of) == pass, "page %ju", i);
			ck_assert_msg(!is_left_out(k, i, of) || pass == 2, "page %ju", i);
			ck_assert_msg(at >= place, "page %ju too late", i);
			ck_assert_msg(!seen[i]++, "page %ju twice", i);
			place = at + 1;
		}
		/* The second pass would give again what is still absent of the first. */
		if (pass == 0)
			pagemap_set(&f->pm, page, n, PAGE_PRESENT);
	}
	for (uint64_t i = 0; i < f->pm.npages; i++)
		ck_assert_msg(seen[i] == (f->model[i] == PAGE_ABSENT && pass_of(k, i, of) < passes),
			      "page %ju of pass %u", i, pass_of(k, i, of));
}

static void check_with(int layout, uint64_t of, bool all)
{
	struct fixture f;
	struct known k;
	struct prefetch_order o;

	setup(&f, layout);
	known_setup(&k, &f);
	for (int i = 0; i < 6; i++)
		change(&f);
	prefetch_order_init(&o, all);
	prefetch_order_use(&o, &k.set, of);
	check_order(&f, &k, &o, of, all ? 3 : 1);
	known_teardown(&k);
	teardown(&f);
}

START_TEST(test_set_first_sample_last)
{
	check_with(_i, SEED, true);
}
END_TEST

START_TEST(test_without_a_sample)
{
	check_with(_i, 0, true);
}
END_TEST

START_TEST(test_the_set_alone)
{
	check_with(_i, SEED, false);
}
END_TEST

/* A set that comes late, and one that is none. */
START_TEST(test_set_comes_late)
{
	struct wset none = {0};
	struct fixture f;
	struct known k;
	struct prefetch_order o;
	uint64_t page, n;

	setup(&f, _i);
	known_setup(&k, &f);
	prefetch_order_init(&o, true);
	prefetch_order_use(&o, &none, SEED);
	for (int i = 0; i < 3 && (n = prefetch_order_next(&o, &f.pm, 7, &page)); i++) {
		pagemap_set(&f.pm, page, n, PAGE_PRESENT);
		memset(f.model + page, PAGE_PRESENT, n);
	}
	prefetch_order_use(&o, &k.set, SEED);
	check_order(&f, &k, &o, SEED, 3);
	known_teardown(&k);
	teardown(&f);
}
END_TEST

/* --- what was handed out --- */

/* A run that was handed out is done piece by piece, whatever happens to it meanwhile. */
START_TEST(test_again)
{
	struct fixture f;
	uint64_t page, n, first, max;

	setup(&f, _i);
	for (int round = 0; round < 300; round++) {
		uint64_t absent = 0, sum = 0, end;

		change_some(&f);
		page = rnd(f.pm.npages);
		end = page + rnd(f.pm.npages - page + 1);
		for (uint64_t i = page; i < end; i++)
			absent += f.model[i] == PAGE_ABSENT;
		for (;
		     (n = prefetch_order_again(&f.pm, page, end - page, max = 1 + rnd(90), &first));
		     page = first + n, sum += n) {
			check_run(&f, first, n, max);
			ck_assert_uint_ge(first, page);
			ck_assert_uint_le(first + n, end);
		}
		ck_assert_uint_eq(sum, absent);
	}
	teardown(&f);
}
END_TEST

/* A part of the run that was moved is a region of its own. */
START_TEST(test_again_after_a_move)
{
	struct fixture f;
	struct err err;
	uint64_t page = 0;

	setup(&f, 0);
	ck_assert_int_eq(regions_move(f.pm.regions, 0x7f0000000000 + 8 * PAGE_4K, 0x10000,
				      4 * PAGE_4K, &err),
			 0);
	ck_assert_uint_eq(prefetch_order_again(&f.pm, 0, 64, 64, &page), 8);
	ck_assert_uint_eq(page, 0);
	ck_assert_uint_eq(prefetch_order_again(&f.pm, 8, 56, 64, &page), 4);
	ck_assert_uint_eq(page, 8);
	ck_assert_uint_eq(prefetch_order_again(&f.pm, 12, 52, 64, &page), 52);
	teardown(&f);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("order");
	TCase *t = tcase_create("all");

	tcase_add_loop_test(t, test_all_once_in_order_of_offset, 0, ARRAY_LEN(layouts));
	tcase_add_loop_test(t, test_all_while_it_changes, 0, ARRAY_LEN(layouts));
	tcase_add_loop_test(t, test_again, 0, ARRAY_LEN(layouts));
	tcase_add_test(t, test_again_after_a_move);
	tcase_add_loop_test(t, test_set_first_sample_last, 0, ARRAY_LEN(layouts));
	tcase_add_loop_test(t, test_without_a_sample, 0, ARRAY_LEN(layouts));
	tcase_add_loop_test(t, test_the_set_alone, 0, ARRAY_LEN(layouts));
	tcase_add_loop_test(t, test_set_comes_late, 0, ARRAY_LEN(layouts));
	suite_add_tcase(s, t);
	return s;
}
