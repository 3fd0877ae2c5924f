#include <string.h>

#include "common/region.h"
#include "tests/support/runner.h"

#define MIB ((uint64_t)1 << 20)
#define BASE ((uint64_t)0x7f0000000000)
#define SPAN (64 * MIB)

/* Check writes a message for every assertion that holds: too slow for each page of each round. */
#define expect(cond, ...)                          \
	do {                                       \
		if (!(cond))                       \
			ck_abort_msg(__VA_ARGS__); \
	} while (0)

/* xorshift64*: the same sequence on every machine. */
static uint64_t rnd(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

static uint64_t below(uint64_t *state, uint64_t n)
{
	return rnd(state) % n;
}

/* clang-format off */
static const struct check_case {
	const char *name;
	struct regions r;
	uint64_t span;
	const char *needle; /* NULL: fine */
} check_cases[] = {
	{"one", {PAGE_4K, 1, 0, {{BASE, SPAN, 0}}}, SPAN, NULL},
	{"huge pages", {PAGE_2M, 1, 0, {{BASE, SPAN, 0}}}, SPAN, NULL},
	{"two, touching in both", {PAGE_4K, 2, 0, {{BASE, MIB, 0}, {BASE + MIB, MIB, MIB}}}, SPAN,
	 NULL},
	{"two, crosswise", {PAGE_4K, 2, 0, {{BASE + MIB, MIB, 0}, {BASE, MIB, MIB}}}, SPAN, NULL},
	{"ends at the last page of all",
	 {PAGE_4K, 1, 0, {{UINT64_MAX - 2 * PAGE_4K + 1, PAGE_4K, 0}}}, SPAN, NULL},
	{"ends with the snapshot", {PAGE_4K, 1, 0, {{BASE, MIB, SPAN - MIB}}}, SPAN, NULL},
	{"none", {PAGE_4K, 0}, SPAN, "no regions"},
	{"too many", {PAGE_4K, REGIONS_MAX + 1}, SPAN, "129 regions; at most 128"},
	{"page size 0", {0, 1, 0, {{BASE, MIB, 0}}}, SPAN, "page size 0 of region 0"},
	{"page size 8192", {8192, 1, 0, {{BASE, MIB, 0}}}, SPAN, "page size 8192"},
	{"page size 1 GiB", {1 << 30, 1, 0, {{BASE, MIB, 0}}}, SPAN, "page size 1073741824"},
	{"page size of KiB", {4, 1, 0, {{BASE, MIB, 0}}}, SPAN, "page size 4 "},
	{"size 0", {PAGE_4K, 2, 0, {{BASE, MIB, 0}, {BASE + MIB, 0, MIB}}}, SPAN,
	 "region 1 has size 0"},
	{"base misaligned", {PAGE_4K, 1, 0, {{BASE + 1, MIB, 0}}}, SPAN,
	 "region 0: base_host_virt_addr 0x7f0000000001 is not a multiple of the page size 4096"},
	{"base misaligned, huge", {PAGE_2M, 1, 0, {{BASE + MIB, 2 * MIB, 0}}}, SPAN,
	 "region 0: base_host_virt_addr 0x7f0000100000 is not a multiple"},
	{"size misaligned", {PAGE_4K, 1, 0, {{BASE, MIB + 512, 0}}}, SPAN,
	 "region 0: size 0x100200"},
	{"size misaligned, huge", {PAGE_2M, 1, 0, {{BASE, MIB, 0}}}, SPAN,
	 "region 0: size 0x100000"},
	{"offset misaligned", {PAGE_4K, 1, 0, {{BASE, MIB, 2048}}}, SPAN, "region 0: offset 0x800"},
	{"address wraps", {PAGE_4K, 1, 0, {{UINT64_MAX - 4095, 8192, 0}}}, SPAN,
	 "region 0: address 0xfffffffffffff000 plus size 0x2000 wraps"},
	{"address wraps to 0", {PAGE_4K, 1, 0, {{UINT64_MAX - 4095, 4096, 0}}}, SPAN, "wraps"},
	{"offset wraps", {PAGE_4K, 1, 0, {{BASE, 8192, UINT64_MAX - 4095}}}, SPAN,
	 "offset 0xfffffffffffff000 plus size 0x2000 lies beyond the snapshot of 0x4000000 bytes"},
	{"larger than the snapshot", {PAGE_4K, 1, 0, {{BASE, SPAN + 4096, 0}}}, SPAN, "beyond"},
	{"one page beyond", {PAGE_4K, 1, 0, {{BASE, MIB, SPAN - MIB + 4096}}}, SPAN, "beyond"},
	{"empty snapshot", {PAGE_4K, 1, 0, {{BASE, 4096, 0}}}, 0, "beyond"},
	{"overlap in addresses", {PAGE_4K, 2, 0, {{BASE, MIB, 0}, {BASE + MIB - 4096, MIB, MIB}}},
	 SPAN, "regions 0 and 1 overlap in addresses: 0x7f0000000000+0x100000 and 0x7f00000ff000"},
	{"inside another", {PAGE_4K, 2, 0, {{BASE + 4096, 4096, 0}, {BASE, MIB, MIB}}}, SPAN,
	 "overlap in addresses"},
	{"overlap of first and third", {PAGE_4K, 3, 0,
	 {{BASE, MIB, 0}, {BASE + 8 * MIB, MIB, MIB}, {BASE, MIB, 2 * MIB}}}, SPAN,
	 "regions 0 and 2 overlap in addresses"},
	{"overlap in offsets", {PAGE_4K, 2, 0, {{BASE, MIB, 0}, {BASE + MIB, MIB, MIB - 4096}}},
	 SPAN, "regions 0 and 1 overlap in offsets: 0x0+0x100000 and 0xff000+0x100000"},
};
/* clang-format on */

START_TEST(check_table)
{
	const struct check_case *c = &check_cases[_i];
	struct regions r = c->r;
	struct err err = {.msg = ""};
	int rc = regions_check(&r, c->span, &err);

	if (!c->needle) {
		ck_assert_msg(rc == 0, "%s: %s", c->name, err.msg);
		for (uint32_t i = 1; i < r.n; i++)
			ck_assert_msg(r.v[i - 1].base < r.v[i].base, "%s: unsorted", c->name);
		return;
	}
	ck_assert_msg(rc == -1 && err.code == ERR_PEER, "%s: accepted", c->name);
	ck_assert_msg(strstr(err.msg, c->needle), "%s: %s", c->name, err.msg);
	ck_assert_msg(!memcmp(&r, &c->r, sizeof(r)), "%s: changed", c->name);
}
END_TEST

START_TEST(check_full_table)
{
	struct regions r = {.page_bytes = PAGE_4K, .n = REGIONS_MAX};
	struct err err;

	for (uint32_t i = 0; i < REGIONS_MAX; i++)
		r.v[i] = (struct region){BASE + (REGIONS_MAX - i) * MIB, 4096, i * PAGE_4K};
	ck_assert_int_eq(regions_check(&r, SPAN, &err), 0);
	ck_assert_uint_eq(r.v[0].base, BASE + MIB);
	ck_assert_uint_eq(r.v[0].offset, (REGIONS_MAX - 1) * PAGE_4K);
	ck_assert_uint_eq(regions_bytes(&r), REGIONS_MAX * PAGE_4K);
	for (uint32_t i = 0; i < REGIONS_MAX; i++)
		ck_assert_ptr_eq(regions_at_addr(&r, r.v[i].base + 17), &r.v[i]);
}
END_TEST

/*
 * The model: for each page of a window of the address space, the page of the
 * snapshot that lies there, or -1.
 */
#define WINDOW 512

struct model {
	int64_t at[WINDOW];
};

static void model_of(const struct regions *r, struct model *m)
{
	for (int p = 0; p < WINDOW; p++)
		m->at[p] = -1;
	for (uint32_t i = 0; i < r->n; i++)
		for (uint64_t k = 0; k < r->v[i].size / r->page_bytes; k++)
			m->at[(r->v[i].base - BASE) / r->page_bytes + k] =
				(int64_t)(r->v[i].offset / r->page_bytes + k);
}

static void model_move(struct model *m, uint64_t from, uint64_t to, uint64_t len)
{
	struct model old = *m;

	for (uint64_t k = 0; k < len; k++)
		m->at[from + k] = -1;
	for (uint64_t k = 0; k < len; k++)
		m->at[to + k] = old.at[from + k];
}

/* The fewest regions that say the same. */
static uint32_t model_runs(const struct model *m)
{
	uint32_t runs = 0;

	for (int p = 0; p < WINDOW; p++)
		if (m->at[p] >= 0 && (p == 0 || m->at[p - 1] < 0 || m->at[p] != m->at[p - 1] + 1))
			runs++;
	return runs;
}

/* Disjoint in both spaces, with and without gaps, in no order of offsets; sorted by base. */
static struct regions random_regions(uint64_t *seed, uint32_t n)
{
	struct regions r = {.page_bytes = below(seed, 4) ? PAGE_4K : PAGE_2M, .n = n};
	uint32_t order[REGIONS_MAX];
	uint64_t page = below(seed, 3), off = below(seed, 3);

	for (uint32_t i = 0; i < n; i++) {
		uint64_t size = 1 + below(seed, 12);
		uint32_t k = (uint32_t)below(seed, i + 1);

		r.v[i].base = BASE + page * r.page_bytes;
		r.v[i].size = size * r.page_bytes;
		page += size + below(seed, 4);
		if (k != i)
			order[i] = order[k];
		order[k] = i;
	}
	for (uint32_t i = 0; i < n; i++) {
		r.v[order[i]].offset = off * r.page_bytes;
		off += r.v[order[i]].size / r.page_bytes + below(seed, 3);
	}
	return r;
}

static void expect_same(const struct regions *r, const struct model *m, const char *what, int i)
{
	uint64_t pages = 0;

	for (uint32_t k = 1; k < r->n; k++)
		expect(r->v[k - 1].base + r->v[k - 1].size <= r->v[k].base,
		       "%s %d: regions %u and %u", what, i, k - 1, k);
	for (uint64_t p = 0; p < WINDOW; p++) {
		uint64_t addr = BASE + p * r->page_bytes + (p * 37) % r->page_bytes;
		const struct region *reg = regions_at_addr(r, addr);
		uint64_t off;

		expect(!reg == (m->at[p] < 0), "%s %d: page %ld", what, i, (long)p);
		if (!reg)
			continue;
		pages++;
		off = reg->offset + (align_down(addr, r->page_bytes) - reg->base);
		expect(off == (uint64_t)m->at[p] * r->page_bytes, "%s %d: page %ld", what, i,
		       (long)p);
		expect(regions_at_offset(r, off + r->page_bytes - 1) == reg,
		       "%s %d: offset of page %ld", what, i, (long)p);
	}
	expect(regions_bytes(r) == pages * r->page_bytes, "%s %d: bytes", what, i);
}

START_TEST(lookups)
{
	struct regions r = {PAGE_4K,
			    3,
			    0,
			    {
				    {BASE, 2 * PAGE_4K, 8 * PAGE_4K},
				    {BASE + 2 * PAGE_4K, PAGE_4K, 0},
				    {BASE + 4 * PAGE_4K, PAGE_4K, 2 * PAGE_4K},
			    }};
	struct regions none = {.page_bytes = PAGE_4K};

	ck_assert_ptr_null(regions_at_addr(&r, BASE - 1));
	ck_assert_ptr_eq(regions_at_addr(&r, BASE), &r.v[0]);
	ck_assert_ptr_eq(regions_at_addr(&r, BASE + 2 * PAGE_4K - 1), &r.v[0]);
	ck_assert_ptr_eq(regions_at_addr(&r, BASE + 2 * PAGE_4K), &r.v[1]);
	ck_assert_ptr_null(regions_at_addr(&r, BASE + 3 * PAGE_4K));
	ck_assert_ptr_null(regions_at_addr(&r, BASE + 5 * PAGE_4K));
	ck_assert_ptr_null(regions_at_addr(&r, UINT64_MAX));
	ck_assert_ptr_null(regions_at_addr(&none, BASE));

	ck_assert_ptr_eq(regions_at_offset(&r, 0), &r.v[1]);
	ck_assert_ptr_eq(regions_at_offset(&r, PAGE_4K - 1), &r.v[1]);
	ck_assert_ptr_null(regions_at_offset(&r, PAGE_4K));
	ck_assert_ptr_eq(regions_at_offset(&r, 10 * PAGE_4K - 1), &r.v[0]);
	ck_assert_ptr_null(regions_at_offset(&r, UINT64_MAX));

	ck_assert_ptr_eq(regions_next_offset(&r, 0, true), &r.v[1]);
	ck_assert_ptr_eq(regions_next_offset(&r, 0, false), &r.v[2]);
	ck_assert_ptr_eq(regions_next_offset(&r, 2 * PAGE_4K, true), &r.v[2]);
	ck_assert_ptr_eq(regions_next_offset(&r, 2 * PAGE_4K, false), &r.v[0]);
	ck_assert_ptr_null(regions_next_offset(&r, 8 * PAGE_4K, false));
	ck_assert_ptr_null(regions_next_offset(&none, 0, true));
}
END_TEST

/* Every part of a random range comes out once, in order, as the model has it. */
static void clip_range(const struct regions *r, const struct model *m, uint64_t first,
		       uint64_t last, int i)
{
	uint64_t end = BASE + last * r->page_bytes, start, len, off;
	uint64_t at = BASE + first * r->page_bytes;
	uint64_t page = first;

	while (regions_clip(r, at, end, &start, &len, &off)) {
		expect(len > 0 && start >= at && start + len <= end, "seed %d: part", i);
		for (; page < (start - BASE) / r->page_bytes; page++)
			expect(m->at[page] < 0, "seed %d: page %ld left out", i, (long)page);
		for (; page < (start + len - BASE) / r->page_bytes; page++, off += r->page_bytes)
			expect(off == (uint64_t)m->at[page] * r->page_bytes, "seed %d: page %ld", i,
			       (long)page);
		at = start + len;
	}
	for (; page < last; page++)
		expect(m->at[page] < 0, "seed %d: page %ld left out", i, (long)page);
}

START_TEST(clip_as_model)
{
	for (int i = 1; i <= 60; i++) {
		uint64_t seed = (uint64_t)i * 7919;
		struct regions r = random_regions(&seed, 1 + (uint32_t)below(&seed, 24));
		struct model m;

		model_of(&r, &m);
		expect_same(&r, &m, "seed", i);
		for (int k = 0; k < 100; k++) {
			uint64_t first = below(&seed, WINDOW);

			clip_range(&r, &m, first, first + below(&seed, WINDOW - first + 1), i);
		}
	}
}
END_TEST

START_TEST(clip_bytes)
{
	struct regions r = {PAGE_4K, 1, 0, {{BASE, 2 * PAGE_4K, PAGE_4K}}};
	uint64_t start = 1, len = 2, off = 3;

	ck_assert(!regions_clip(&r, BASE - 8, BASE, &start, &len, &off));
	ck_assert(!regions_clip(&r, BASE + 2 * PAGE_4K, UINT64_MAX, &start, &len, &off));
	ck_assert(!regions_clip(&r, BASE + 8, BASE + 8, &start, &len, &off));
	ck_assert(!regions_clip(&r, BASE + 8, BASE + 4, &start, &len, &off));
	ck_assert(start == 1 && len == 2 && off == 3);
	ck_assert(regions_clip(&r, 0, UINT64_MAX, &start, &len, &off));
	ck_assert(start == BASE && len == 2 * PAGE_4K && off == PAGE_4K);
	ck_assert(regions_clip(&r, BASE + 5, BASE + 9, &start, &len, &off));
	ck_assert(start == BASE + 5 && len == 4 && off == PAGE_4K + 5);
}
END_TEST

/* In pages, in both; says whether the table took it. */
static bool move_both(struct regions *r, struct model *m, uint64_t from, uint64_t to, uint64_t len)
{
	struct regions before = *r;
	struct model moved = *m;
	struct err err = {.msg = ""};
	int rc = regions_move(r, BASE + from * r->page_bytes, BASE + to * r->page_bytes,
			      len * r->page_bytes, &err);

	model_move(&moved, from, to, len);
	if (rc < 0) {
		ck_assert_uint_gt(model_runs(&moved), REGIONS_MAX);
		ck_assert_int_eq(err.code, ERR_PEER);
		ck_assert_msg(strstr(err.msg, "at most 128 are possible"), "%s", err.msg);
		ck_assert_msg(!memcmp(r, &before, sizeof(before)), "changed");
		return false;
	}
	*m = moved;
	return true;
}

START_TEST(move_as_model)
{
	for (int i = 1; i <= 40; i++) {
		uint64_t seed = (uint64_t)i * 104729;
		struct regions r = random_regions(&seed, 1 + (uint32_t)below(&seed, 24));
		struct model m;

		model_of(&r, &m);
		for (int k = 0; k < 40; k++) {
			uint64_t len = below(&seed, 40);
			uint64_t from = below(&seed, WINDOW - len);

			if (!move_both(&r, &m, from, below(&seed, WINDOW - len), len))
				continue;
			expect_same(&r, &m, "seed", i);
			ck_assert_msg(r.n == model_runs(&m), "seed %d: %u regions", i, r.n);
		}
	}
}
END_TEST

START_TEST(move_until_full)
{
	struct regions r = {PAGE_4K,
			    2,
			    0,
			    {
				    {BASE, 256 * PAGE_4K, 0},
				    {BASE + 511 * PAGE_4K, PAGE_4K, 600 * PAGE_4K},
			    }};
	struct model m;
	uint64_t page = 1;

	model_of(&r, &m);
	while (page < 255 && move_both(&r, &m, page, 511 - page, 1)) {
		expect_same(&r, &m, "page", (int)page);
		page += 2;
	}
	ck_assert_uint_eq(r.n, REGIONS_MAX);
	/* Back again: the pieces join up. */
	for (uint64_t p = 1; p < page; p += 2)
		ck_assert(move_both(&r, &m, 511 - p, p, 1));
	ck_assert_uint_eq(r.n, 2);
	ck_assert_uint_eq(r.v[0].size, 256 * PAGE_4K);
}
END_TEST

static const struct {
	const char *name;
	uint64_t from, to, len;
} bad_moves[] = {
	{"source wraps", UINT64_MAX - 4095, BASE, 8192},
	{"destination wraps", BASE, UINT64_MAX - 4095, 8192},
	{"source misaligned", BASE + 1, BASE + MIB, 4096},
	{"destination misaligned", BASE, BASE + MIB + 1, 4096},
	{"length misaligned", BASE, BASE + MIB, 4095},
};

START_TEST(move_impossible)
{
	struct regions r = {PAGE_4K, 1, 0, {{BASE, MIB, 0}}}, before = r;
	struct err err;

	ck_assert_msg(regions_move(&r, bad_moves[_i].from, bad_moves[_i].to, bad_moves[_i].len,
				   &err) < 0,
		      "%s", bad_moves[_i].name);
	ck_assert_msg(err.code == ERR_PEER && strstr(err.msg, "impossible mremap"), "%s: %s",
		      bad_moves[_i].name, err.msg);
	ck_assert_msg(!memcmp(&r, &before, sizeof(r)), "%s: changed", bad_moves[_i].name);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("region");
	TCase *tc = tcase_create("region");

	tcase_add_loop_test(tc, check_table, 0, ARRAY_LEN(check_cases));
	tcase_add_test(tc, check_full_table);
	tcase_add_test(tc, lookups);
	tcase_add_test(tc, clip_as_model);
	tcase_add_test(tc, clip_bytes);
	tcase_add_test(tc, move_as_model);
	tcase_add_test(tc, move_until_full);
	tcase_add_loop_test(tc, move_impossible, 0, ARRAY_LEN(bad_moves));
	suite_add_tcase(s, tc);
	return s;
}
