#include "common/region.h"

#include <inttypes.h>

static uint64_t end_of(const struct region *reg)
{
	return reg->base + reg->size;
}

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

static int by_base(const void *a, const void *b)
{
	const struct region *x = a, *y = b;

	return (x->base > y->base) - (x->base < y->base);
}

static int check_values(const struct region *reg, uint32_t i, uint64_t page_bytes,
			uint64_t span_bytes, struct err *err)
{
	const struct {
		const char *name;
		uint64_t value;
	} aligned[] = {
		{"base_host_virt_addr", reg->base},
		{"size", reg->size},
		{"offset", reg->offset},
	};

	if (reg->size == 0)
		return err_set(err, ERR_PEER, "region %" PRIu32 " has size 0", i);
	for (size_t f = 0; f < ARRAY_LEN(aligned); f++)
		if (!is_aligned(aligned[f].value, page_bytes))
			return err_set(err, ERR_PEER,
				       "region %" PRIu32 ": %s 0x%" PRIx64
				       " is not a multiple of the page size %" PRIu64,
				       i, aligned[f].name, aligned[f].value, page_bytes);
	if (reg->size > UINT64_MAX - reg->base)
		return err_set(err, ERR_PEER,
			       "region %" PRIu32 ": address 0x%" PRIx64 " plus size 0x%" PRIx64
			       " wraps around",
			       i, reg->base, reg->size);
	if (reg->size > span_bytes || reg->offset > span_bytes - reg->size)
		return err_set(err, ERR_PEER,
			       "region %" PRIu32 ": offset 0x%" PRIx64 " plus size 0x%" PRIx64
			       " lies beyond the snapshot of 0x%" PRIx64 " bytes",
			       i, reg->offset, reg->size, span_bytes);
	return 0;
}

/* Called before sorting, so that error texts count regions as the VMM does. */
static int check_pair(const struct regions *r, uint32_t i, uint32_t k, struct err *err)
{
	const struct region *a = &r->v[i], *b = &r->v[k];

	if (overlap(a->base, a->size, b->base, b->size))
		return err_set(err, ERR_PEER,
			       "regions %" PRIu32 " and %" PRIu32 " overlap in addresses: "
			       "0x%" PRIx64 "+0x%" PRIx64 " and 0x%" PRIx64 "+0x%" PRIx64,
			       i, k, a->base, a->size, b->base, b->size);
	if (overlap(a->offset, a->size, b->offset, b->size))
		return err_set(err, ERR_PEER,
			       "regions %" PRIu32 " and %" PRIu32 " overlap in offsets: "
			       "0x%" PRIx64 "+0x%" PRIx64 " and 0x%" PRIx64 "+0x%" PRIx64,
			       i, k, a->offset, a->size, b->offset, b->size);
	return 0;
}

int regions_check(struct regions *r, uint64_t span_bytes, struct err *err)
{
	if (r->n == 0)
		return err_set(err, ERR_PEER, "no regions");
	if (r->n > REGIONS_MAX)
		return err_set(err, ERR_PEER, "%" PRIu32 " regions; at most %d are possible", r->n,
			       REGIONS_MAX);
	if (r->page_bytes != PAGE_4K && r->page_bytes != PAGE_2M)
		return err_set(err, ERR_PEER,
			       "page size %" PRIu64 " of region 0 is neither 4096 nor 2097152",
			       r->page_bytes);
	for (uint32_t i = 0; i < r->n; i++)
		if (check_values(&r->v[i], i, r->page_bytes, span_bytes, err) < 0)
			return -1;
	for (uint32_t i = 0; i < r->n; i++)
		for (uint32_t k = i + 1; k < r->n; k++)
			if (check_pair(r, i, k, err) < 0)
				return -1;
	qsort(r->v, r->n, sizeof(r->v[0]), by_base);
	return 0;
}

/* The lowest region that ends beyond @addr; @addr may lie before its start. */
static const struct region *first_ending_after(const struct regions *r, uint64_t addr)
{
	uint32_t lo = 0, hi = r->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (end_of(&r->v[mid]) > addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo < r->n ? &r->v[lo] : NULL;
}

const struct region *regions_at_addr(const struct regions *r, uint64_t addr)
{
	const struct region *reg = first_ending_after(r, addr);

	return reg && reg->base <= addr ? reg : NULL;
}

const struct region *regions_at_offset(const struct regions *r, uint64_t off)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (off >= r->v[i].offset && off - r->v[i].offset < r->v[i].size)
			return &r->v[i];
	return NULL;
}

const struct region *regions_next_offset(const struct regions *r, uint64_t off, bool inclusive)
{
	const struct region *best = NULL;

	for (uint32_t i = 0; i < r->n; i++) {
		const struct region *reg = &r->v[i];

		if (reg->offset < off || (reg->offset == off && !inclusive))
			continue;
		if (!best || reg->offset < best->offset)
			best = reg;
	}
	return best;
}

uint64_t regions_bytes(const struct regions *r)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < r->n; i++)
		sum += r->v[i].size;
	return sum;
}

bool regions_clip(const struct regions *r, uint64_t start, uint64_t end, uint64_t *ret_start,
		  uint64_t *ret_len, uint64_t *ret_off)
{
	const struct region *reg = first_ending_after(r, start);
	uint64_t from;

	if (!reg || reg->base >= end || start >= end)
		return false;
	from = max_u64(start, reg->base);
	*ret_start = from;
	*ret_len = min_u64(end, end_of(reg)) - from;
	*ret_off = reg->offset + (from - reg->base);
	return true;
}

/* The two ends of the source and of the destination each split at most one region. */
#define PIECES_MAX (REGIONS_MAX + 4)

struct pieces {
	uint32_t n;
	struct region v[PIECES_MAX];
};

/* Adds the part of @reg within [start, end), moved by @shift. */
static void add_piece(struct pieces *p, const struct region *reg, uint64_t start, uint64_t end,
		      uint64_t shift)
{
	uint64_t from = max_u64(reg->base, start);
	uint64_t to = min_u64(end_of(reg), end);

	if (from >= to)
		return;
	p->v[p->n++] = (struct region){
		.base = from + shift,
		.size = to - from,
		.offset = reg->offset + (from - reg->base),
	};
}

/* Sorts, and joins pieces that are adjacent in both spaces: moves must not fill the table. */
static void join_pieces(struct pieces *p)
{
	uint32_t n = 0;

	qsort(p->v, p->n, sizeof(p->v[0]), by_base);
	for (uint32_t i = 0; i < p->n; i++) {
		struct region *last = n > 0 ? &p->v[n - 1] : NULL;

		if (last && end_of(last) == p->v[i].base &&
		    last->offset + last->size == p->v[i].offset)
			last->size += p->v[i].size;
		else
			p->v[n++] = p->v[i];
	}
	p->n = n;
}

int regions_move(struct regions *r, uint64_t from, uint64_t to, uint64_t len, struct err *err)
{
	uint64_t low = min_u64(from, to), high = max_u64(from, to);
	struct pieces p = {.n = 0};

	if (len > UINT64_MAX - high || !is_aligned(from | to | len, r->page_bytes))
		return err_set(err, ERR_PEER,
			       "impossible mremap of 0x%" PRIx64 "+0x%" PRIx64 " to 0x%" PRIx64,
			       from, len, to);
	for (uint32_t i = 0; i < r->n; i++) {
		/* mremap has unmapped the regions at the destination. */
		add_piece(&p, &r->v[i], 0, low, 0);
		add_piece(&p, &r->v[i], low + len, high, 0);
		add_piece(&p, &r->v[i], high + len, UINT64_MAX, 0);
		add_piece(&p, &r->v[i], from, from + len, to - from);
	}
	join_pieces(&p);
	if (p.n > REGIONS_MAX)
		return err_set(err, ERR_PEER,
			       "mremap of 0x%" PRIx64 "+0x%" PRIx64 " splits guest memory into "
			       "%" PRIu32 " regions; at most %d are possible",
			       from, len, p.n, REGIONS_MAX);
	for (uint32_t i = 0; i < p.n; i++)
		r->v[i] = p.v[i];
	r->n = p.n;
	return 0;
}
