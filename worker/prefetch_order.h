/*
 * prefetch_order - which absent pages are to be prefetched next
 *
 *   the set     members of the working set, group by group, without the sample
 *   the rest    everything else in order of snapshot offset, without the sample
 *   the sample  members that were left to the guest, to see whether it needs them
 *
 * It only chooses; whoever asks installs, as much and as late as it likes. Its
 * cursors are its own, so that a caller may ask ahead of what it has installed: no
 * page is handed out twice, except that the rest begins with whatever of the set is
 * still absent then.
 */
#ifndef UFFDD_PREFETCH_ORDER_H
#define UFFDD_PREFETCH_ORDER_H

#include "common/pagemap.h"
#include "common/wset.h"

struct prefetch_order {
	const struct wset *set; /* borrowed; NULL: none */
	uint64_t seed;          /* of the sample; 0: none */
	bool all;               /* not the set alone */
	enum { ORDER_SET, ORDER_REST, ORDER_SAMPLE } pass;
	struct wset_cursor cursor;
	uint64_t page, end; /* what is left of the set's run */
	uint64_t next;      /* page, of the rest and of the sample */
	size_t i;           /* run of the set in which the next sampled page is looked for */
	uint64_t sampled;   /* none is before this one that was not found yet */
};

/* Without a set. @all: not the set alone. */
void prefetch_order_init(struct prefetch_order *o, bool all);
/* From the beginning: the page map knows what is there. */
void prefetch_order_restart(struct prefetch_order *o, bool all);
/*
 * The set from now on, and from the beginning
 * @set: of the guest's page size and the snapshot's span; stays where it is
 */
void prefetch_order_use(struct prefetch_order *o, const struct wset *set, uint64_t seed);

/*
 * prefetch_order_next - the next run, at most @max pages
 *
 * It lies in one region and is absent at this moment. Returns its length, 0 when
 * nothing is left. Over a whole pass O(pages / 32 + pages of the set).
 */
uint64_t prefetch_order_next(struct prefetch_order *o, const struct pagemap *map, uint64_t max,
			     uint64_t *ret_page);

/* Nothing but the sample is left: what of it is absent now, the guest has not needed yet. */
static inline bool prefetch_order_at_sample(const struct prefetch_order *o)
{
	return o->pass == ORDER_SAMPLE;
}

/*
 * prefetch_order_again - what of a run that was handed out is still to be done
 *
 * Meanwhile the guest may have touched, given back or moved parts of it. Returns
 * the first run inside [page, page + n), as prefetch_order_next() does; 0: nothing.
 */
uint64_t prefetch_order_again(const struct pagemap *map, uint64_t page, uint64_t n, uint64_t max,
			      uint64_t *ret_page);

#endif
