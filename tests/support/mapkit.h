/*
 * mapkit - what the tests of the page map share: layouts, a model of one byte per
 * page, and what a file may lie about
 */
#ifndef UFFDD_TESTS_MAPKIT_H
#define UFFDD_TESTS_MAPKIT_H

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "common/pagemap.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define MIB ((uint64_t)1 << 20)
#define OUTSIDE 255

/* Splitmix64: the same sequence everywhere. */
static uint64_t seed;

static inline uint64_t rnd(uint64_t below)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (z ^ z >> 31) % below;
}

/* clang-format off */
static const struct {
	const char *name;
	uint64_t span;
	struct regions regions;
} layouts[] = {
	{"one region", 4 * MIB, {4096, 1, 0, {{0x7f0000000000, 4 * MIB, 0}}}},
	{"one page", 4096, {4096, 1, 0, {{0x10000, 4096, 0}}}},
	{"odd span", 37 * 4096 + 5, {4096, 1, 0, {{0x10000, 37 * 4096, 0}}}},
	{"gaps, not on words", 3 * MIB, {4096, 3, 0, {{0x100000, 33 * 4096, 7 * 4096},
						      {0x200000, 4096, 100 * 4096},
						      {0x300000, 500 * 4096, 200 * 4096}}}},
	{"offsets in another order", 2 * MIB, {4096, 4, 0, {{0x1000000, 128 * 4096, 384 * 4096},
							    {0x2000000, 128 * 4096, 0},
							    {0x3000000, 100 * 4096, 256 * 4096},
							    {0x4000000, 128 * 4096, 128 * 4096}}}},
	{"2 MiB pages", 600 * MIB, {2 * MIB, 2, 0, {{0x40000000, 128 * MIB, 0},
						    {0x80000000, 400 * MIB, 200 * MIB}}}},
};
/* clang-format on */

struct fixture {
	int fd;
	struct pagemap pm;
	const struct regions *regions;
	uint8_t *model; /* a state, or OUTSIDE */
};

static inline void setup(struct fixture *f, int layout)
{
	const struct regions *regions = &layouts[layout].regions;
	struct err err;

	f->fd = memfd_create("map", MFD_CLOEXEC);
	f->regions = regions;
	ck_assert_msg(pagemap_create(f->fd, layouts[layout].span, &f->pm, &err) == 0, "%s: %s",
		      layouts[layout].name, err.msg);
	ck_assert_uint_eq(f->pm.npages, 0);
	ck_assert(!pagemap_complete(&f->pm));
	pagemap_connect(&f->pm, regions, 11, 22, 33);
	f->model = xcalloc(f->pm.npages, 1);
	memset(f->model, OUTSIDE, f->pm.npages);
	for (uint32_t i = 0; i < regions->n; i++)
		memset(f->model + regions->v[i].offset / regions->page_bytes, PAGE_ABSENT,
		       regions->v[i].size / regions->page_bytes);
	seed = (uint64_t)layout;
}

static inline void teardown(struct fixture *f)
{
	pagemap_close(&f->pm);
	ck_assert_ptr_null(f->pm.head);
	free(f->model);
	close(f->fd);
}

/* A random part of a random region, sometimes all of it. */
static inline void pick(const struct fixture *f, uint64_t *ret_page, uint64_t *ret_n)
{
	const struct region *r = &f->regions->v[rnd(f->regions->n)];
	uint64_t pages = r->size / f->regions->page_bytes, from = rnd(pages);

	if (rnd(16) == 0)
		from = 0;
	*ret_page = r->offset / f->regions->page_bytes + from;
	*ret_n = rnd(16) == 0 ? pages - from : 1 + rnd(pages - from);
	if (rnd(2))
		*ret_n = min_u64(*ret_n, 1 + rnd(70));
}

static inline void change(struct fixture *f)
{
	enum page_state state = (enum page_state)rnd(PAGE_STATE_COUNT);
	uint64_t page, n;

	pick(f, &page, &n);
	pagemap_set(&f->pm, page, n, state);
	memset(f->model + page, (int)state, n);
}

static inline void check_states(const struct fixture *f, const char *name)
{
	uint64_t count[PAGE_STATE_COUNT] = {0};

	for (uint64_t i = 0; i < f->pm.npages; i++) {
		if (f->model[i] == OUTSIDE) {
			ck_assert_msg(pagemap_get(&f->pm, i) == PAGE_ABSENT, "%s: %ju", name, i);
			continue;
		}
		ck_assert_msg(pagemap_get(&f->pm, i) == f->model[i], "%s: page %ju", name, i);
		count[f->model[i]]++;
	}
	for (int s = 0; s < PAGE_STATE_COUNT; s++)
		ck_assert_msg(f->pm.stats->pages[s] == count[s], "%s: %ju pages %s, not %ju", name,
			      f->pm.stats->pages[s], page_state_names[s], count[s]);
	ck_assert_int_eq(pagemap_complete(&f->pm), count[PAGE_ABSENT] == 0);
}

#define HEAD(member) offsetof(struct pagemap_head, member)
#define REGS(member) PAGEMAP_REGIONS_OFF + offsetof(struct regions, member)
#define STAT(member) PAGEMAP_STATS_OFF + offsetof(struct pagemap_stats, member)

/* Over "gaps, not on words": three regions, 534 pages. */
static const struct {
	const char *what;
	size_t at, size;
	uint64_t value;
	const char *text;
} lies[] = {
	{"other magic", HEAD(magic), 8, 0x1122334455667788, "magic"},
	{"version 0", HEAD(version), 4, 0, "version 0"},
	{"next version", HEAD(version), 4, PAGEMAP_VERSION + 1, "version"},
	{"no span", HEAD(span_bytes), 8, 0, "damaged"},
	{"span one too long", HEAD(span_bytes), 8, ((uint64_t)1 << 44) + 1, "damaged"},
	{"longest span", HEAD(span_bytes), 8, UINT64_MAX, "damaged"},
	{"span that wraps", HEAD(span_bytes), 8, UINT64_MAX - 4095, "damaged"},
	{"span longer than the file", HEAD(span_bytes), 8, 1024 * MIB, "too few"},
	{"span shorter than the regions", HEAD(span_bytes), 8, MIB, "damaged"},
	{"page size 0", REGS(page_bytes), 8, 0, "damaged"},
	{"page size 1", REGS(page_bytes), 8, 1, "damaged"},
	{"page size 8192", REGS(page_bytes), 8, 8192, "damaged"},
	{"page size 2 MiB, misaligned", REGS(page_bytes), 8, 2 * MIB, "damaged"},
	{"largest page size", REGS(page_bytes), 8, UINT64_MAX, "damaged"},
	{"no regions", REGS(n), 4, 0, "damaged"},
	{"one region more", REGS(n), 4, 4, "damaged"},
	{"too many regions", REGS(n), 4, REGIONS_MAX + 1, "damaged"},
	{"most regions", REGS(n), 4, UINT32_MAX, "damaged"},
	{"size 0", REGS(v[1].size), 8, 0, "damaged"},
	{"odd size", REGS(v[1].size), 8, 4097, "damaged"},
	{"size beyond the span", REGS(v[2].size), 8, 4 * MIB, "damaged"},
	{"size that wraps", REGS(v[2].size), 8, UINT64_MAX - 4095, "damaged"},
	{"odd offset", REGS(v[1].offset), 8, 1, "damaged"},
	{"offset beyond the span", REGS(v[1].offset), 8, 3 * MIB, "damaged"},
	{"offset that wraps", REGS(v[1].offset), 8, UINT64_MAX - 4095, "damaged"},
	{"offsets overlap", REGS(v[1].offset), 8, 8 * 4096, "damaged"},
	{"addresses overlap", REGS(v[1].base), 8, 0x101000, "damaged"},
	{"base that wraps", REGS(v[2].base), 8, UINT64_MAX - 4095, "damaged"},
	{"more absent pages than there are", STAT(pages[PAGE_ABSENT]), 8, 535, "535 absent"},
	{"most zeroed pages", STAT(pages[PAGE_ZEROED]), 8, UINT64_MAX, "zeroed"},
};

#endif
