/*
 * answer - what threads of the guest get that wait for a page
 *
 * What can be answered now is; what a removal defers, or what there is no memory for, is tried
 * again; and what is on the disk is read by other threads first (readahead.h).
 */
#ifndef UFFDD_ANSWER_H
#define UFFDD_ANSWER_H

#include "worker/loop_state.h"

/* All that can be answered now. */
void answer_faults(struct loop *l);
/*
 * answer_soon - do faults wait for a removal to finish, or for memory? Those of a failed
 *	page are not tried again
 * answer_soon_us - then, after so many microseconds
 */
bool answer_soon(const struct loop *l);
uint64_t answer_soon_us(const struct loop *l);
/* That threads wait for memory shows, once it has been so for a while. */
void answer_watch_shortage(struct loop *l);

/* Takes what the disk was read for, also for prefetch. */
void answer_take_warmed(struct loop *l);
/* Gives back what was put together for pages that are there now. */
void answer_give_back(struct loop *l);

#endif
