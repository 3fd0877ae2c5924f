/*
 * loop - the owner thread of one guest
 *
 *   ┌─► read everything pending on the uffd
 *   │     removals are applied at once, faults join the set
 *   │   answer the faults; what a removal defers stays in the set, and so does what
 *   │     is on the disk: other threads read it, this one never waits for it
 *   │   nobody waits, and we hold a lease: one step of prefetch
 *   └── sleep until the uffd, the supervisor, the VMM's pidfd, the disk or a time says so
 *
 * The kernel delivers faults before events, so the order of messages is not the
 * order of causes: all of them are read before any is answered.
 */
#ifndef UFFDD_LOOP_H
#define UFFDD_LOOP_H

#include "worker/loop_state.h"

enum loop_end {
	LOOP_GONE,     /* the VMM ended */
	LOOP_RELEASED, /* the guest needs nobody any more */
};

/* JOB_SERVING, to its end. @l: of loop_init() */
enum loop_end loop_run(struct loop *l);

#endif
