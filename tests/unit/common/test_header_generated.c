/* test_header_generated - headers too large or too many to be written down */
#include "common/header.h"

#include <string.h>
#include <time.h>

#include "tests/support/runner.h"
#include "tests/fakes/snapshot/snapgen.h"

#define BLOCKS(n) ((uint64_t)(n)*PAGE_4K)

/* @n entries of a page each, entry i of build i * step % nbuilds, storage never contiguous. */
static uint8_t *many_entries(size_t n, size_t step, size_t nbuilds, size_t *ret_len)
{
	struct header h = {.version = 1, .block_bytes = PAGE_4K, .size_bytes = BLOCKS(n)};
	uint8_t *bytes;

	*ret_len = SNAPGEN_META_BYTES + n * SNAPGEN_ENTRY_BYTES;
	bytes = malloc(*ret_len);
	ck_assert_ptr_nonnull(bytes);
	snapgen_build(1, 0, h.build);
	snapgen_put_meta(bytes, &h);
	for (size_t i = 0; i < n; i++) {
		struct snapgen_entry e = {
			.offset = BLOCKS(i),
			.length = BLOCKS(1),
			.store = BLOCKS(2 * i),
		};

		snapgen_build(1, (uint32_t)(i * step % nbuilds), e.build);
		snapgen_put_entry(bytes + SNAPGEN_META_BYTES + i * SNAPGEN_ENTRY_BYTES, &e);
	}
	return bytes;
}

START_TEST(too_many_builds)
{
	struct header h;
	struct err err;
	size_t len;
	uint8_t *bytes = many_entries(HEADER_BUILDS_MAX, 1, HEADER_BUILDS_MAX, &len);

	ck_assert_msg(header_parse(bytes, len, &h, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(h.nbuilds, HEADER_BUILDS_MAX);
	for (uint32_t i = 0; i < h.nbuilds; i++) {
		uuid_t id;

		snapgen_build(1, i, id);
		ck_assert_msg(uuid_compare(h.builds[i].id, id) == 0, "build %u", i);
		ck_assert_uint_eq(h.builds[i].end_bytes, BLOCKS(2 * i + 1));
	}
	header_fini(&h);
	free(bytes);

	bytes = many_entries(HEADER_BUILDS_MAX + 1, 1, SIZE_MAX, &len);
	ck_assert_int_eq(header_parse(bytes, len, &h, &err), -1);
	ck_assert_msg(strstr(err.msg, "entry 4096: BuildId is the 4097. different one"), "%s",
		      err.msg);
	free(bytes);
}
END_TEST

/* The cap holds before anything is read or allocated for the entries. */
START_TEST(too_many_entries)
{
	struct header in = {.version = 1, .block_bytes = PAGE_4K, .size_bytes = BLOCKS(4)}, h;
	uint8_t bytes[SNAPGEN_META_BYTES];
	struct err err;

	snapgen_put_meta(bytes, &in);
	ck_assert_int_eq(header_parse(bytes, HEADER_FILE_MAX + SNAPGEN_ENTRY_BYTES, &h, &err), -1);
	ck_assert_int_eq(err.code, ERR_SNAPSHOT);
	ck_assert_msg(strstr(err.msg, "8388609 entries, at most 8388608"), "%s", err.msg);
}
END_TEST

/* Of the processor's time, in seconds. */
static double parse_seconds(const uint8_t *bytes, size_t len, struct header *h)
{
	clock_t start = clock();
	struct err err;

	ck_assert_msg(header_parse(bytes, len, h, &err) == 0, "%s", err.msg);
	return (double)(clock() - start) / CLOCKS_PER_SEC;
}

/* Were the builds looked for one by one, 4096 of them would take some 400 times as long. */
#define BUILDS_COST_MAX 100

START_TEST(a_million_entries)
{
	/* A step of that kind puts each use of a build far away from the last. */
	const size_t n = 1000000, step = 2654435761;
	size_t len, cursor = 0;
	uint8_t *bytes = many_entries(n, step, 1, &len);
	struct header h;
	double one, many;

	one = parse_seconds(bytes, len, &h);
	header_fini(&h);
	free(bytes);
	bytes = many_entries(n, step, HEADER_BUILDS_MAX, &len);
	many = parse_seconds(bytes, len, &h);
	ck_assert_msg(many <= BUILDS_COST_MAX * one, "%f s, with one build %f s", many, one);
	ck_assert_uint_eq(h.extents.n, n);
	ck_assert_uint_eq(h.nbuilds, HEADER_BUILDS_MAX);
	for (uint32_t page = 0; page < n; page += 997) {
		struct extent_run run = extents_find(&h.extents, page, UINT32_MAX, &cursor);
		uuid_t id;

		snapgen_build(1, (uint32_t)(page * step % HEADER_BUILDS_MAX), id);
		ck_assert_msg(uuid_compare(h.builds[run.layer].id, id) == 0, "page %u", page);
		ck_assert(run.store == 2 * page && run.pages == 1);
	}
	header_fini(&h);
	free(bytes);
}
END_TEST

#define PAGES 300
#define BUILDS 6

struct model {
	uint32_t build; /* BUILDS: zeros */
	uint32_t store;
};

static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
	return snapgen_draw(&random_state, below);
}

static size_t random_header(uint8_t *bytes, struct model *model, uint32_t npages)
{
	struct header h = {
		.version = 1 + draw(3),
		.block_bytes = PAGE_4K << draw(10),
		.size_bytes = BLOCKS(npages) - draw(2) * draw(PAGE_4K),
	};
	uint8_t *to = bytes + SNAPGEN_META_BYTES;

	snapgen_build(5, 0, h.build);
	snapgen_put_meta(bytes, &h);
	for (uint32_t page = 0, run; page < npages; page += run) {
		uint32_t build = draw(BUILDS + 2), store = draw(2) ? page : draw(100);
		struct snapgen_entry e = {.offset = BLOCKS(page)};

		build = (uint32_t)min_u64(build, BUILDS);
		run = (uint32_t)min_u64(1 + draw(8), npages - page);
		e.length = BLOCKS(run);
		e.store = build == BUILDS ? draw(UINT32_MAX) : BLOCKS(store);
		if (build < BUILDS)
			snapgen_build(5, build, e.build);
		snapgen_put_entry(to, &e);
		to += SNAPGEN_ENTRY_BYTES;
		for (uint32_t i = 0; i < run; i++)
			model[page + i] = (struct model){build, store + i};
	}
	return (size_t)(to - bytes);
}

static void check_builds(const struct header *h, const struct model *model, uint32_t npages)
{
	for (uint32_t i = 0; i < h->nbuilds; i++) {
		uint64_t end = 0;

		for (uint32_t page = 0; page < npages; page++) {
			uuid_t id;

			snapgen_build(5, model[page].build, id);
			if (uuid_compare(id, h->builds[i].id) == 0)
				end = max_u64(end, BLOCKS(model[page].store + 1));
		}
		ck_assert_uint_eq(h->builds[i].end_bytes, end);
	}
}

START_TEST(random_headers)
{
	static uint8_t bytes[SNAPGEN_META_BYTES + PAGES * SNAPGEN_ENTRY_BYTES];
	struct model model[PAGES];

	random_state = 11;
	for (int round = 0; round < 300; round++) {
		uint32_t npages = 1 + draw(PAGES);
		size_t len = random_header(bytes, model, npages), cursor = 0;
		struct header h;
		struct err err;

		ck_assert_msg(header_parse(bytes, len, &h, &err) == 0, "round %d: %s", round,
			      err.msg);
		ck_assert_uint_eq(h.extents.npages, npages);
		for (uint32_t page = 0; page < npages; page++) {
			struct extent_run run = extents_find(&h.extents, page, 1, &cursor);
			uuid_t id;

			if (model[page].build == BUILDS) {
				ck_assert_uint_eq(run.layer, EXTENT_ZERO);
				continue;
			}
			ck_assert_uint_lt(run.layer, h.nbuilds);
			snapgen_build(5, model[page].build, id);
			ck_assert(uuid_compare(h.builds[run.layer].id, id) == 0);
			ck_assert_uint_eq(run.store, model[page].store);
		}
		check_builds(&h, model, npages);
		header_fini(&h);
	}
}
END_TEST

/* Whatever is accepted tiles memory, inside the ends it states. */
static void check_sound(const struct header *h)
{
	const struct extents *e = &h->extents;

	ck_assert(e->n > 0 && e->v[0].page == 0 && e->v[e->n].page == e->npages);
	ck_assert_uint_eq(BLOCKS(e->npages), align_up(h->size_bytes, PAGE_4K));
	for (size_t i = 0; i < e->n; i++) {
		const struct extent *x = &e->v[i];
		uint64_t end = BLOCKS((uint64_t)x->store + (x[1].page - x->page));

		ck_assert_uint_lt(x->page, x[1].page);
		if (x->layer == EXTENT_ZERO)
			continue;
		ck_assert_uint_lt(x->layer, h->nbuilds);
		ck_assert_uint_le(end, h->builds[x->layer].end_bytes);
	}
}

START_TEST(mutated_headers)
{
	static uint8_t bytes[SNAPGEN_META_BYTES + PAGES * SNAPGEN_ENTRY_BYTES];
	struct model model[PAGES];
	int accepted = 0;

	random_state = 12;
	for (int round = 0; round < 20000; round++) {
		size_t len = random_header(bytes, model, 1 + draw(12));
		struct header h;
		struct err err = {0};

		for (uint32_t i = 1 + draw(3); i > 0; i--)
			bytes[draw((uint32_t)len)] ^= (uint8_t)(1u << draw(8));
		if (header_parse(bytes, len, &h, &err) < 0) {
			ck_assert_int_eq(err.code, ERR_SNAPSHOT);
			ck_assert(err.msg[0]);
			continue;
		}
		accepted++;
		check_sound(&h);
		header_fini(&h);
	}
	ck_assert_int_gt(accepted, 1000);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("header_generated");
	TCase *tc = tcase_create("header_generated");

	tcase_add_test(tc, too_many_builds);
	tcase_add_test(tc, too_many_entries);
	tcase_add_test(tc, a_million_entries);
	tcase_add_test(tc, random_headers);
	tcase_add_test(tc, mutated_headers);
	suite_add_tcase(suite, tc);
	return suite;
}
