/*
 * prefetch_order - which absent pages are to be prefetched next
 *
 *   the set     members of the working set, group by group, without the sample
 *   the rest    everything else in order of snapshot offset, without the sample
 *   the sample  members that were left to the guest, to see whether it needs them
 *
 * The order only chooses; its caller installs, as much and as late as it likes. The order keeps its
 * own cursors, so that a caller may ask ahead of what it has installed. No page is handed out
 * twice, except that the rest begins with pages of the set that are still absent then.
 */
#ifndef UFFDD_PREFETCH_ORDER_H
#define UFFDD_PREFETCH_ORDER_H

#include "common/pagemap.h"
#include "common/wset.h"

struct prefetch_order {
	const struct wset *set; /* borrowed; NULL: no set */
	uint64_t seed;          /* of the sample; 0: no sample */
	bool all;               /* false: the set alone */
	enum { ORDER_SET, ORDER_REST, ORDER_SAMPLE } pass;
	struct wset_cursor cursor;
	uint64_t page, end; /* what is left of the set's current run */
	uint64_t next;      /* the next page, of the rest and of the sample */
	size_t i;           /* run of the set that is searched for the next sampled page */
	uint64_t sampled;   /* sampled pages below this one have been returned */
};

/* Without a set. @all: false for the set alone. */
void prefetch_order_init(struct prefetch_order *o, bool all);
/* Begins again: the page map knows what is there. */
void prefetch_order_restart(struct prefetch_order *o, bool all);
/*
 * prefetch_order_use - order by @set from now on, from the beginning
 * @set: borrowed; of the guest's page size and the snapshot's span; NULL: no set
 * @seed: of the sample; 0: no sample
 */
void prefetch_order_use(struct prefetch_order *o, const struct wset *set, uint64_t seed);

/*
 * prefetch_order_next - the next run, at most @max pages
 *
 * The run lies in one region and is absent at this moment. Returns its length in pages and its
 * first page in *ret_page; 0: nothing is left. A whole pass is O(pages / 32 + pages of the set).
 */
uint64_t prefetch_order_next(struct prefetch_order *o, const struct pagemap *map, uint64_t max,
			     uint64_t *ret_page);

/* Only the sample is left: the guest has not needed those pages of it that are absent now. */
static inline bool prefetch_order_at_sample(const struct prefetch_order *o)
{
	return o->pass == ORDER_SAMPLE;
}

/*
 * prefetch_order_again - the part of a handed-out run that is still to be done
 *
 * Meanwhile the guest may have touched, given back or moved parts of the run. Returns the first
 * absent run inside [page, page + n), as prefetch_order_next() does; 0: none.
 */
uint64_t prefetch_order_again(const struct pagemap *map, uint64_t page, uint64_t n, uint64_t max,
			      uint64_t *ret_page);

#endif
