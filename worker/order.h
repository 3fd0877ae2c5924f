/*
 * order - which absent pages are to be prefetched next
 *
 * It only chooses; whoever asks installs, as much and as late as it likes. Its
 * cursors are its own, so that a caller may ask ahead of what it has installed:
 * no page is handed out twice before order_restart().
 */
#ifndef UFFDD_ORDER_H
#define UFFDD_ORDER_H

#include "common/pagemap.h"

struct order {
	uint64_t next; /* page, in order of snapshot offset */
};

void order_init(struct order *o);
/* From the beginning: the page map knows what is there. */
void order_restart(struct order *o);

/*
 * order_next - the next run, at most @max pages
 *
 * It lies in one region and is absent at this moment. Returns its length, 0 when
 * nothing is left. Over a whole pass O(pages / 32 + runs).
 */
uint64_t order_next(struct order *o, const struct pagemap *map, uint64_t max, uint64_t *ret_page);

/*
 * order_again - what of a run that was handed out is still to be done
 *
 * Meanwhile the guest may have touched, given back or moved parts of it. Returns
 * the first run inside [page, page + n), as order_next() does; 0: nothing.
 */
uint64_t order_again(const struct pagemap *map, uint64_t page, uint64_t n, uint64_t max,
		     uint64_t *ret_page);

#endif
