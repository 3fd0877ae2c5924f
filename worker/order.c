#include "worker/order.h"

void order_init(struct order *o)
{
	*o = (struct order){0};
}

void order_restart(struct order *o)
{
	o->next = 0;
}

/* The region that holds page @from, or the next one in order of offset. */
static const struct region *region_from(const struct pagemap *map, uint64_t from)
{
	uint64_t off = from * map->regions->page_bytes;
	const struct region *r = regions_at_offset(map->regions, off);

	return r ? r : regions_next_offset(map->regions, off, true);
}

uint64_t order_again(const struct pagemap *map, uint64_t page, uint64_t n, uint64_t max,
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

uint64_t order_next(struct order *o, const struct pagemap *map, uint64_t max, uint64_t *ret_page)
{
	uint64_t n = order_again(map, o->next, map->npages - o->next, max, ret_page);

	o->next = n ? *ret_page + n : map->npages;
	return n;
}
