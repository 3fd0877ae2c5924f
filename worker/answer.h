/*
 * answer - what threads of the guest get that wait for a page
 *
 * A fault that can be answered now is answered now. A fault that a removal defers, or that finds no
 * memory, is tried again. A page whose bytes are on the disk is first read by other threads
 * (readahead.h).
 */
#ifndef UFFDD_ANSWER_H
#define UFFDD_ANSWER_H

#include "worker/loop_state.h"

/* Answers all faults that can be answered now. */
void answer_faults(struct loop *l);
/*
 * answer_soon - does a fault wait for a removal to finish, or for memory? After a failure
 *	false, unless the policy is to poison
 * answer_soon_us - if so: microseconds until answer_faults() is due
 */
bool answer_soon(const struct loop *l);
uint64_t answer_soon_us(const struct loop *l);
/* Sets head.short_of, and sends a note, once a shortage of memory has lasted for a while. */
void answer_watch_shortage(struct loop *l);

/* Takes over what readahead has read, for faults and for prefetch. */
void answer_take_warmed(struct loop *l);
/* Gives readahead back the buffers of pages that are installed now. */
void answer_give_back(struct loop *l);

#endif
