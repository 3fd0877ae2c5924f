#include "common/extents.h"

#include <assert.h>

#define EXTENTS_A_BUCKET 8 /* of the index, on average */

void extents_init(struct extents *e)
{
	*e = (struct extents){0};
}

void extents_fini(struct extents *e)
{
	free(e->v);
	free(e->index);
	extents_init(e);
}

static int resize(struct extents *e, size_t cap, struct err *err)
{
	struct extent *v = reallocarray(e->v, cap, sizeof(*v));

	if (!v)
		return err_sys(err, "cannot hold %zu extents", cap);
	e->v = v;
	e->cap = cap;
	return 0;
}

/* Only contiguous runs join: the same layer alone would shift bytes. */
static bool continues_last(const struct extents *e, uint32_t layer, uint32_t store)
{
	const struct extent *last;

	if (e->n == 0)
		return false;
	last = &e->v[e->n - 1];
	if (last->layer != layer)
		return false;
	return layer == EXTENT_ZERO || (uint64_t)last->store + (e->npages - last->page) == store;
}

int extents_add(struct extents *e, uint32_t pages, uint32_t layer, uint32_t store, struct err *err)
{
	assert(pages > 0 && pages <= EXTENT_PAGES_MAX - e->npages);
	if (layer == EXTENT_ZERO)
		store = 0;
	if (!continues_last(e, layer, store)) {
		if (e->n == e->cap && resize(e, e->cap ? e->cap * 2 : 64, err) < 0)
			return -1;
		e->v[e->n++] = (struct extent){e->npages, store, layer};
	}
	e->npages += pages;
	return 0;
}

static int make_index(struct extents *e, struct err *err)
{
	size_t buckets, at = 0;

	e->shift = 0;
	while (e->shift < 31 && e->npages >> e->shift > e->n / EXTENTS_A_BUCKET)
		e->shift++;
	buckets = (e->npages >> e->shift) + 1;
	e->index = reallocarray(NULL, buckets + 1, sizeof(*e->index));
	if (!e->index)
		return err_sys(err, "cannot hold an index of %zu extents", e->n);
	for (size_t b = 0; b < buckets; b++) {
		while (at + 1 < e->n && e->v[at + 1].page <= b << e->shift)
			at++;
		e->index[b] = (uint32_t)at;
	}
	e->index[buckets] = e->n ? (uint32_t)(e->n - 1) : 0;
	return 0;
}

int extents_end(struct extents *e, struct err *err)
{
	if (resize(e, e->n + 1, err) < 0)
		return -1;
	e->v[e->n] = (struct extent){e->npages, 0, EXTENT_ZERO};
	return make_index(e, err);
}

static bool holds(const struct extents *e, size_t i, uint32_t page)
{
	return i < e->n && e->v[i].page <= page && page < e->v[i + 1].page;
}

static size_t bisect(const struct extents *e, uint32_t page)
{
	size_t lo = e->index[page >> e->shift], hi = (size_t)e->index[(page >> e->shift) + 1] + 1;

	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (e->v[mid].page <= page)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

struct extent_run extents_find(const struct extents *e, uint32_t page, uint32_t max, size_t *cursor)
{
	size_t i = *cursor;
	struct extent_run run;
	uint32_t skip;

	assert(page < e->npages && max > 0);
	if (!holds(e, i, page))
		i = holds(e, i + 1, page) ? i + 1 : bisect(e, page);
	*cursor = i;

	skip = page - e->v[i].page;
	run.layer = e->v[i].layer;
	run.store = run.layer == EXTENT_ZERO ? 0 : e->v[i].store + skip;
	run.pages = (uint32_t)min_u64(e->v[i + 1].page - page, max);
	return run;
}

static int overlay(const struct extents *lower, const struct extents *upper, struct extents *out,
		   struct err *err)
{
	size_t upper_at = 0, lower_at = 0;

	for (uint32_t page = 0; page < upper->npages;) {
		struct extent_run run = extents_find(upper, page, UINT32_MAX, &upper_at);

		if (run.layer == EXTENT_ZERO)
			run = extents_find(lower, page, run.pages, &lower_at);
		if (extents_add(out, run.pages, run.layer, run.store, err) < 0)
			return -1;
		page += run.pages;
	}
	return extents_end(out, err);
}

int extents_overlay(const struct extents *lower, const struct extents *upper, struct extents *ret,
		    struct err *err)
{
	assert(lower->npages == upper->npages);
	extents_init(ret);
	if (overlay(lower, upper, ret, err) < 0) {
		extents_fini(ret);
		return -1;
	}
	return 0;
}
