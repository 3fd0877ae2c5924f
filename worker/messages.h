/*
 * messages - what the userfaultfd delivers, and what becomes of each
 *
 * Removals go into the page map at once, faults into the fault set.
 */
#ifndef UFFDD_MESSAGES_H
#define UFFDD_MESSAGES_H

#include "worker/loop_state.h"

/* Reads and applies messages until the queue of the uffd was empty. */
void messages_read(struct loop *l);
/*
 * Takes over the guest of a dead predecessor: applies the messages that the predecessor had read,
 * and wakes all threads, so that threads whose faults the predecessor had read fault again.
 */
void messages_take_over(struct loop *l);
/* As messages_read(), for guest_release() and guest_poison_absent(). @arg: the loop. */
void messages_drain(void *arg);

#endif
