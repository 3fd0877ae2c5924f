/* test_extents - tilings against a naive model of one origin per page */
#include "common/extents.h"

#include "tests/support/runner.h"
#include "tests/fakes/snapshot/snapgen.h"

#define PAGES 400
#define ROUNDS 300

struct origin {
	uint32_t layer, store;
};

static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
	return snapgen_draw(&random_state, below);
}

static void add(struct extents *e, uint32_t pages, uint32_t layer, uint32_t store)
{
	struct err err;

	ck_assert_msg(extents_add(e, pages, layer, store, &err) == 0, "%s", err.msg);
}

static void end(struct extents *e)
{
	struct err err;

	ck_assert_msg(extents_end(e, &err) == 0, "%s", err.msg);
}

/* A random tiling and its model. Few layers and stores, so that runs often continue. */
static void random_tiling(struct extents *e, struct origin *model, uint32_t npages)
{
	extents_init(e);
	for (uint32_t page = 0; page < npages;) {
		uint32_t layer = draw(5), store = draw(2) ? page : draw(50), run = 1 + draw(9);

		if (layer > 2)
			layer = EXTENT_ZERO;
		run = (uint32_t)min_u64(run, npages - page);
		add(e, run, layer, store);
		for (uint32_t i = 0; i < run; i++)
			model[page + i] = layer == EXTENT_ZERO ? (struct origin){EXTENT_ZERO, 0}
							       : (struct origin){layer, store + i};
		page += run;
	}
	end(e);
}

static bool follows(struct origin a, struct origin b)
{
	if (a.layer != b.layer)
		return false;
	return a.layer == EXTENT_ZERO || a.store + 1 == b.store;
}

static uint32_t model_run(const struct origin *model, uint32_t npages, uint32_t page, uint32_t max)
{
	uint32_t n = 1;

	while (n < max && page + n < npages && follows(model[page + n - 1], model[page + n]))
		n++;
	return n;
}

static void check_page(const struct extents *e, const struct origin *model, uint32_t page,
		       uint32_t max, size_t *cursor)
{
	struct extent_run run = extents_find(e, page, max, cursor);

	ck_assert_msg(run.layer == model[page].layer && run.store == model[page].store,
		      "page %u: %u/%u, not %u/%u", page, run.layer, run.store, model[page].layer,
		      model[page].store);
	ck_assert_msg(run.pages == model_run(model, e->npages, page, max),
		      "page %u max %u: %u pages long", page, max, run.pages);
}

static void check_model(const struct extents *e, const struct origin *model, uint32_t npages)
{
	size_t cursor = 0, runs = 0;

	ck_assert_uint_eq(e->npages, npages);
	ck_assert_uint_eq(e->v[e->n].page, npages);
	for (uint32_t page = 0; page < npages; page++)
		check_page(e, model, page, UINT32_MAX, &cursor);
	for (uint32_t page = npages; page-- > 0;)
		check_page(e, model, page, 3, &cursor);
	for (int i = 0; i < 200; i++)
		check_page(e, model, draw(npages), 1 + draw(20), &cursor);
	for (uint32_t page = 0; page < npages; runs++)
		page += model_run(model, npages, page, UINT32_MAX);
	ck_assert_uint_eq(e->n, runs);
}

static const struct {
	const char *name;
	uint32_t layer[2], store[2];
	size_t n;
} joins[] = {
	{"contiguous", {1, 1}, {10, 13}, 1},
	{"gap in storage", {1, 1}, {10, 14}, 2},
	{"storage goes back", {1, 1}, {10, 10}, 2},
	{"overlapping storage", {1, 1}, {10, 12}, 2},
	{"other layer", {1, 2}, {10, 13}, 2},
	{"both zero", {EXTENT_ZERO, EXTENT_ZERO}, {7, 99}, 1},
	{"zero after data", {0, EXTENT_ZERO}, {0, 3}, 2},
	{"data after zero", {EXTENT_ZERO, 0}, {0, 3}, 2},
	{"no wrap at 2^32", {1, 1}, {UINT32_MAX - 2, 0}, 2},
};

START_TEST(joining)
{
	struct extents e;

	extents_init(&e);
	for (int i = 0; i < 2; i++)
		add(&e, 3, joins[_i].layer[i], joins[_i].store[i]);
	end(&e);
	ck_assert_msg(e.n == joins[_i].n, "%s: %zu extents", joins[_i].name, e.n);
	ck_assert_msg(e.npages == 6, "%s: %u pages", joins[_i].name, e.npages);
	ck_assert_msg(e.cap == e.n + 1, "%s: not shrunk", joins[_i].name);
	for (size_t i = 0; i < e.n; i++)
		if (e.v[i].layer == EXTENT_ZERO)
			ck_assert_msg(e.v[i].store == 0, "%s: zero run with storage",
				      joins[_i].name);
	extents_fini(&e);
	ck_assert_ptr_null(e.v);
}
END_TEST

START_TEST(any_cursor)
{
	static const size_t cursors[] = {0, 1, 2, 3, 4, 1000, SIZE_MAX - 1, SIZE_MAX};
	struct origin model[11];
	struct extents e;

	extents_init(&e);
	add(&e, 3, 2, 7);
	add(&e, 2, EXTENT_ZERO, 0);
	add(&e, 6, 0, 0);
	end(&e);
	for (uint32_t i = 0; i < 11; i++)
		model[i] = i < 3   ? (struct origin){2, 7 + i}
			   : i < 5 ? (struct origin){EXTENT_ZERO, 0}
				   : (struct origin){0, i - 5};
	for (size_t i = 0; i < ARRAY_LEN(cursors); i++)
		for (uint32_t page = 0; page < 11; page++)
			for (uint32_t max = 1; max < 13; max++) {
				size_t cursor = cursors[i];

				check_page(&e, model, page, max, &cursor);
				ck_assert_uint_eq(cursor, page < 3 ? 0 : page < 5 ? 1 : 2);
			}
	extents_fini(&e);
}
END_TEST

START_TEST(random_tilings)
{
	struct origin model[PAGES];

	random_state = 1;
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t npages = 1 + draw(PAGES);
		struct extents e;

		random_tiling(&e, model, npages);
		check_model(&e, model, npages);
		extents_fini(&e);
	}
}
END_TEST

START_TEST(random_overlays)
{
	struct origin lower_model[PAGES], upper_model[PAGES];

	random_state = 2;
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t npages = 1 + draw(PAGES);
		struct extents lower, upper, both;
		struct err err;

		random_tiling(&lower, lower_model, npages);
		random_tiling(&upper, upper_model, npages);
		ck_assert_int_eq(extents_overlay(&lower, &upper, &both, &err), 0);
		for (uint32_t page = 0; page < npages; page++)
			if (upper_model[page].layer == EXTENT_ZERO)
				upper_model[page] = lower_model[page];
		check_model(&both, upper_model, npages);
		extents_fini(&lower);
		extents_fini(&upper);
		extents_fini(&both);
	}
}
END_TEST

/* (a on b) on c is a on (b on c): what lets a chain of diffs be stacked in any grouping. */
START_TEST(overlays_associate)
{
	struct origin model[PAGES];

	random_state = 3;
	for (int round = 0; round < ROUNDS / 3; round++) {
		struct extents in[3], pair[2], out[2];
		struct err err;

		for (int i = 0; i < 3; i++)
			random_tiling(&in[i], model, PAGES);
		ck_assert_int_eq(extents_overlay(&in[0], &in[1], &pair[0], &err), 0);
		ck_assert_int_eq(extents_overlay(&pair[0], &in[2], &out[0], &err), 0);
		ck_assert_int_eq(extents_overlay(&in[1], &in[2], &pair[1], &err), 0);
		ck_assert_int_eq(extents_overlay(&in[0], &pair[1], &out[1], &err), 0);
		ck_assert_uint_eq(out[0].n, out[1].n);
		ck_assert_mem_eq(out[0].v, out[1].v, out[0].n * sizeof(*out[0].v));
		for (int i = 0; i < 2; i++) {
			extents_fini(&pair[i]);
			extents_fini(&out[i]);
		}
		for (int i = 0; i < 3; i++)
			extents_fini(&in[i]);
	}
}
END_TEST

/* The largest tiling there can be: no arithmetic wraps at its end. */
START_TEST(largest)
{
	struct extent_run run;
	size_t cursor = 0;
	struct extents e;

	extents_init(&e);
	add(&e, EXTENT_PAGES_MAX - 1, 0, 1);
	add(&e, 1, 1, UINT32_MAX - 1);
	end(&e);
	run = extents_find(&e, EXTENT_PAGES_MAX - 2, UINT32_MAX, &cursor);
	ck_assert(run.layer == 0 && run.store == EXTENT_PAGES_MAX - 1 && run.pages == 1);
	run = extents_find(&e, EXTENT_PAGES_MAX - 1, UINT32_MAX, &cursor);
	ck_assert(run.layer == 1 && run.store == UINT32_MAX - 1 && run.pages == 1);
	extents_fini(&e);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("extents");
	TCase *tc = tcase_create("extents");

	tcase_add_loop_test(tc, joining, 0, ARRAY_LEN(joins));
	tcase_add_test(tc, any_cursor);
	tcase_add_test(tc, random_tilings);
	tcase_add_test(tc, random_overlays);
	tcase_add_test(tc, overlays_associate);
	tcase_add_test(tc, largest);
	suite_add_tcase(suite, tc);
	return suite;
}
