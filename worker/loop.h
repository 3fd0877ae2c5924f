/*
 * loop - the owner thread of one guest
 *
 *   ┌─► read everything pending on the uffd
 *   │     removals are applied at once, faults join the set
 *   │   answer the faults; a fault that a removal defers stays in the set, and so does
 *   │     one whose page is on the disk: other threads read it, the owner never waits for it
 *   │   no thread of the guest waits, and the lease is held: one step of prefetch
 *   └── sleep until the uffd, the supervisor, the VMM's pidfd, the disk or a time says so
 *
 * The kernel delivers faults before events, so the order of messages is not the order of causes:
 * all messages are read before any fault is answered.
 */
#ifndef UFFDD_LOOP_H
#define UFFDD_LOOP_H

#include "worker/loop_state.h"
#include "worker/calls.h"

enum loop_end {
	LOOP_GONE,     /* the VMM has ended */
	LOOP_RELEASED, /* the guest needs no worker any more */
};

/* Runs JOB_SERVING to its end. @l: from loop_init(). */
enum loop_end loop_run(struct loop *l);

/* What these functions need of the kernel (calls.h). */
extern const struct calls loop_calls;

#endif
