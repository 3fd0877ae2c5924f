#include "worker/prefetch_order.h"

#define NO_PAGE UINT64_MAX

void prefetch_order_restart(struct prefetch_order *o, bool all)
{
	*o = (struct prefetch_order){.set = o->set, .seed = o->seed, .all = all};
	if (!o->set)
		o->pass = ORDER_REST;
}

void prefetch_order_init(struct prefetch_order *o, bool all)
{
	o->set = NULL;
	o->seed = 0;
	prefetch_order_restart(o, all);
}

void prefetch_order_use(struct prefetch_order *o, const struct wset *set, uint64_t seed)
{
	o->set = set;
	o->seed = seed;
	prefetch_order_restart(o, o->all);
}

/* The region that holds page @from, or the next region in order of offset. */
static const struct region *region_from(const struct pagemap *map, uint64_t from)
{
	uint64_t off = from * map->regions->page_bytes;
	const struct region *r = regions_at_offset(map->regions, off);

	return r ? r : regions_next_offset(map->regions, off, true);
}

uint64_t prefetch_order_again(const struct pagemap *map, uint64_t page, uint64_t n, uint64_t max,
			      uint64_t *ret_page)
{
	const uint64_t page_bytes = map->regions->page_bytes, end = page + n;
	const struct region *r;

	while (page < end && (r = region_from(map, page))) {
		uint64_t from = max_u64(page, r->offset / page_bytes);
		uint64_t stop = min_u64(end, (r->offset + r->size) / page_bytes);
		uint64_t len = from < stop ? pagemap_absent_run(map, from, stop, max, ret_page) : 0;

		if (len)
			return len;
		page = (r->offset + r->size) / page_bytes;
	}
	return 0;
}

/* Sets [o->page, *ret_end): the next pages of the set that are not in the sample; false: none. */
static bool next_part(struct prefetch_order *o, uint64_t *ret_end)
{
	struct wset_run r;

	for (;;) {
		while (o->page < o->end && wset_sampled(o->page, o->seed))
			o->page++;
		if (o->page < o->end)
			break;
		if (!wset_next(o->set, &o->cursor, &r))
			return false;
		o->page = r.page;
		o->end = r.page + (uint64_t)r.pages;
	}
	*ret_end = o->page + 1;
	while (*ret_end < o->end && !wset_sampled(*ret_end, o->seed))
		(*ret_end)++;
	return true;
}

static uint64_t next_of_set(struct prefetch_order *o, const struct pagemap *map, uint64_t max,
			    uint64_t *ret_page)
{
	uint64_t end;

	while (next_part(o, &end)) {
		uint64_t n = prefetch_order_again(map, o->page, end - o->page, max, ret_page);

		o->page = n ? *ret_page + n : end;
		if (n)
			return n;
	}
	return 0;
}

/* The first sampled page from @page on; NO_PAGE: none. Successive calls only raise @page. */
static uint64_t next_sampled(struct prefetch_order *o, uint64_t page)
{
	if (!o->set || !o->seed)
		return NO_PAGE;
	page = max_u64(page, o->sampled);
	for (; o->i < o->set->n; o->i++) {
		const struct wset_run *r = &o->set->v[o->i];
		uint64_t end = r->page + (uint64_t)r->pages;

		if (r->score < WSET_MEMBER)
			continue;
		for (page = max_u64(page, r->page); page < end; page++)
			if (wset_sampled(page, o->seed))
				return o->sampled = page;
	}
	return NO_PAGE;
}

static uint64_t next_of_rest(struct prefetch_order *o, const struct pagemap *map, uint64_t max,
			     uint64_t *ret_page)
{
	while (o->next < map->npages) {
		uint64_t end = min_u64(next_sampled(o, o->next), map->npages);
		uint64_t n = prefetch_order_again(map, o->next, end - o->next, max, ret_page);

		o->next = n ? *ret_page + n : end + 1;
		if (n)
			return n;
	}
	return 0;
}

static uint64_t next_of_sample(struct prefetch_order *o, const struct pagemap *map,
			       uint64_t *ret_page)
{
	uint64_t page;

	while ((page = next_sampled(o, o->next)) != NO_PAGE) {
		o->next = page + 1;
		if (prefetch_order_again(map, page, 1, 1, ret_page))
			return 1;
	}
	return 0;
}

uint64_t prefetch_order_next(struct prefetch_order *o, const struct pagemap *map, uint64_t max,
			     uint64_t *ret_page)
{
	uint64_t n;

	if (o->pass == ORDER_SET) {
		n = next_of_set(o, map, max, ret_page);
		if (n)
			return n;
		o->pass = ORDER_REST;
	}
	if (!o->all)
		return 0;
	if (o->pass == ORDER_REST) {
		n = next_of_rest(o, map, max, ret_page);
		if (n)
			return n;
		o->pass = ORDER_SAMPLE;
		o->next = o->i = o->sampled = 0;
	}
	return next_of_sample(o, map, ret_page);
}
