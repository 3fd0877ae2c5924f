#include "worker/survey.h"

#include <string.h>

#define WORD_BITS 64
#define RUNS_MAX 256 /* per call of the kernel */

struct chunk {
	struct guest *g;
	uint64_t page, pages;
	uint64_t addr;
	uint64_t there[SURVEY_PAGES / WORD_BITS];   /* one bit per page */
	uint64_t swapped[SURVEY_PAGES / WORD_BITS]; /* perhaps there: to be found out */
	bool is_private; /* the mapping being looked at is known to be private */
	bool again;
};

static bool bit(const uint64_t *bits, uint64_t i)
{
	return bits[i / WORD_BITS] >> i % WORD_BITS & 1;
}

static void set_bits(uint64_t *bits, uint64_t first, uint64_t end)
{
	for (uint64_t i = first; i < end; i++)
		bits[i / WORD_BITS] |= (uint64_t)1 << i % WORD_BITS;
}

static uint64_t address(const struct chunk *c, uint64_t i)
{
	return c->addr + i * c->g->page_bytes;
}

/* Asks the kernel about the whole chunk. -1: the pagemap cannot be read. */
static int look(struct chunk *c)
{
	uint64_t at = c->addr, end = address(c, c->pages);
	struct presence_run runs[RUNS_MAX];

	while (at < end) {
		int n = presence_runs(&c->g->presence, at, end, runs, RUNS_MAX, &at);

		if (n < 0)
			return -1;
		for (int i = 0; i < n; i++)
			set_bits(runs[i].swapped ? c->swapped : c->there,
				 (runs[i].start - c->addr) / c->g->page_bytes,
				 (runs[i].start + runs[i].len - c->addr) / c->g->page_bytes);
	}
	return 0;
}

static void set(struct chunk *c, uint64_t i, enum page_state state)
{
	struct pagemap *map = &c->g->map;

	if (pagemap_get(map, c->page + i) == state)
		return;
	guest_mark(c->g, c->page + i, 1, state);
	map->stats->states_corrected++;
}

/* The page is not in the VMM's page tables, but a shared mapping may have it in memory. */
static bool in_shared_memory(struct chunk *c, uint64_t i)
{
	if (c->is_private)
		return false;
	switch (uffd_continue(c->g->uffd, address(c, i), c->g->page_bytes)) {
	case UF_DONE:
	case UF_EXISTS:
		return true;
	case UF_FAIL:
		c->is_private = true;
		return false;
	case UF_AGAIN:
		c->again = true;
		return true;
	default:
		return false;
	}
}

/* Swapped out, or only a marker: an install tells, and does no harm. */
static void find_out(struct chunk *c, uint64_t i)
{
	struct err err;

	c->again = c->again || guest_fault(c->g, c->page + i, true, &err) == GUEST_DEFER;
}

static void correct_page(struct chunk *c, uint64_t i)
{
	enum page_state state = pagemap_get(&c->g->map, c->page + i);
	bool installed = state == PAGE_PRESENT || state == PAGE_ZEROED;

	if (bit(c->swapped, i) && state == PAGE_ABSENT)
		find_out(c, i);
	else if (bit(c->there, i) || bit(c->swapped, i) || in_shared_memory(c, i))
		set(c, i, installed || c->again ? state : PAGE_ZEROED);
	else if (installed)
		set(c, i, PAGE_REMOVED);
}

/* The VMM has mapped other memory there. */
static void correct_left(struct chunk *c, uint64_t i)
{
	set(c, i, bit(c->there, i) || bit(c->swapped, i) ? PAGE_ZEROED : PAGE_REMOVED);
}

/* Halves [first, first + n) until a part lies in one registered mapping, or is a single page. */
static void correct(struct chunk *c, uint64_t first, uint64_t n)
{
	uint64_t done;

	if (c->again)
		return;
	/* A NULL source copies nothing, but the kernel checks the mapping before the source. */
	switch (uffd_copy(c->g->uffd, address(c, first), NULL, n * c->g->page_bytes, &done)) {
	case UF_AGAIN:
		c->again = true;
		return;
	case UF_GONE:
		return;
	case UF_LEFT:
		if (n == 1) {
			correct_left(c, first);
			return;
		}
		correct(c, first, n / 2);
		correct(c, first + n / 2, n - n / 2);
		return;
	default:
		c->is_private = false;
		for (uint64_t i = first; i < first + n && !c->again; i++)
			correct_page(c, i);
	}
}

/* The next chunk, within one region; false: all regions are done. */
static bool next_chunk(const struct survey *s, struct guest *g, struct chunk *c)
{
	const struct regions *regions = g->map.regions;
	const struct region *r = regions_at_offset(regions, s->offset);
	uint64_t offset = s->offset;

	if (!r) {
		r = regions_next_offset(regions, s->offset, true);
		offset = r ? r->offset : 0;
	}
	if (!r)
		return false;
	memset(c, 0, sizeof(*c));
	c->g = g;
	c->page = offset / g->page_bytes;
	c->pages = min_u64((r->offset + r->size - offset) / g->page_bytes, SURVEY_PAGES);
	c->addr = r->base + (offset - r->offset);
	return true;
}

/* Before the first install no page can prove the right process. */
static bool untouched(const struct guest *g)
{
	const uint64_t *pages = g->map.stats->pages;

	return pages[PAGE_PRESENT] + pages[PAGE_ZEROED] == 0;
}

static bool is_empty(const struct chunk *c)
{
	for (size_t i = 0; i < ARRAY_LEN(c->there); i++)
		if (c->there[i] | c->swapped[i])
			return false;
	return true;
}

static enum survey_step over(struct survey *s, struct guest *g, enum pagemap_exact exact)
{
	s->on = false;
	g->map.head->exact = exact;
	return SURVEY_OVER;
}

void survey_begin(struct survey *s, struct guest *g)
{
	*s = (struct survey){.on = true};
	g->map.head->exact = PAGEMAP_INEXACT;
}

void survey_end(struct survey *s, struct guest *g)
{
	s->on = false;
	g->map.head->exact = PAGEMAP_INEXACT;
}

enum survey_step survey_step(struct survey *s, struct guest *g)
{
	struct chunk c;

	if (!g->presence.verified && g->presence.pagemap >= 0 && !untouched(g))
		return over(s, g, PAGEMAP_FOREIGN);
	if (!next_chunk(s, g, &c))
		return over(s, g, PAGEMAP_EXACT);
	if (look(&c))
		return over(s, g, PAGEMAP_UNASKED);
	if (!g->presence.verified && !is_empty(&c))
		return over(s, g, PAGEMAP_FOREIGN);
	correct(&c, 0, c.pages);
	if (c.again)
		return SURVEY_AGAIN;
	s->offset = (c.page + c.pages) * g->page_bytes;
	return SURVEY_MORE;
}
