/*
 * messages - what the userfaultfd delivers, and what becomes of each
 *
 * Removals go into the page map at once, faults into the set of those to be answered.
 */
#ifndef UFFDD_MESSAGES_H
#define UFFDD_MESSAGES_H

#include "worker/loop_state.h"

/* Until the queue was seen empty. */
void messages_read(struct loop *l);
/*
 * A predecessor died over this guest: act upon what it had read, and wake all
 * threads, so that those whose fault it had read fault again.
 */
void messages_take_over(struct loop *l);
/* The same as messages_read(), for guest_release() and guest_poison_absent(); @arg: the loop. */
void messages_drain(void *arg);

#endif
