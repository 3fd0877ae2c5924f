/*
 * guest - what each page of a guest gets, and what is known of it from then on
 *
 * For one thread only. Each call asks the page map for the state of the page, installs accordingly,
 * and records the kernel's answer: the kernel decides what is really there. The rules are the table
 * in common/pagemap.h.
 */
#ifndef UFFDD_GUEST_H
#define UFFDD_GUEST_H

#include "worker/guest_state.h"
#include "worker/calls.h"

enum guest_answer {
	GUEST_DONE,  /* answered, or nothing to do */
	GUEST_DEFER, /* try again soon: a removal is under way, or memory is short */
	GUEST_COLD,  /* the bytes are on the disk: have them read, then ask again */
	GUEST_SHORT, /* prefetch only: no memory for the page now */
	GUEST_GONE,  /* the VMM has ended */
	GUEST_FAIL,  /* err says why this page can never be supplied */
};

/*
 * @uffd, @map: taken over, also on failure; @map is connected (a VMM is recorded in it)
 * @src: borrowed until guest_fini()
 *
 * Returns 0, or -1 with ERR_SYSTEM: no memory.
 */
int guest_init(struct guest *g, int uffd, struct pagemap *map, struct source *src, struct err *err);
void guest_fini(struct guest *g);

/*
 * Takes @pagemap over: the /proc/PID/pagemap that the supervisor believes to be the VMM's; -1:
 * none.
 */
void guest_use_pagemap(struct guest *g, int pagemap);
/*
 * guest_leave_zeros - leave zero pages of the snapshot to demand from now on
 *
 * For guests whose zero pages cost memory: there is no shared zero page of 2 MiB. An absent zero
 * page needs no snapshot data, and the kernel alone would fill it with zeros. So the guest is
 * complete, and can be released, without them.
 */
void guest_leave_zeros(struct guest *g);
/* Is @page absent, zero in the snapshot, and left to demand? */
bool guest_leaves(struct guest *g, uint64_t page);

/* Records the state of [page, page + n): any state but absent. */
void guest_mark(struct guest *g, uint64_t page, uint64_t n, enum page_state state);

/* Bytes installed that cost memory: all but shared zero pages. */
uint64_t guest_paid_bytes(const struct guest *g);

/* The page at address @addr; false: @addr lies in no region. */
bool guest_page(const struct guest *g, uint64_t addr, uint64_t *ret_page);

/*
 * guest_fault - answer a thread that waits for @page
 * @warmed: the page was GUEST_COLD and has been read since; it is not GUEST_COLD again
 */
enum guest_answer guest_fault(struct guest *g, uint64_t page, bool warmed, struct err *err);

/*
 * guest_prefetch - install absent pages of [page, page + n), as many as one call takes
 * @ret_done: number of pages dealt with from @page on, installed or found to be there
 *
 * [page, page + n) lies in one region and is absent.
 */
enum guest_answer guest_prefetch(struct guest *g, uint64_t page, uint64_t n, uint64_t *ret_done,
				 struct err *err);

/* The VMM has removed or unmapped addresses [start, end): they read zero from now on. */
void guest_removed(struct guest *g, uint64_t start, uint64_t end);

/* Has any layer changed since it was opened? True: err says which and how. */
bool guest_source_changed(struct guest *g, struct err *err);

/* Poisons one missing page: touching it is SIGBUS. */
enum guest_answer guest_poison(struct guest *g, uint64_t page, struct err *err);
/* Poisons all absent pages. @drain as for guest_release(). */
enum guest_answer guest_poison_absent(struct guest *g, void (*drain)(void *arg), void *arg,
				      struct err *err);

/* Wakes the waiting threads of all regions; they fault again. */
void guest_wake_all(struct guest *g);

/*
 * guest_release - give all regions back to the kernel
 * @drain: reads what is pending on the uffd; called until no removal is under way
 *
 * Only valid when no absent page holds data (or all such pages are poisoned): from then on the
 * kernel supplies zeros by itself. Returns GUEST_DONE or GUEST_GONE.
 */
enum guest_answer guest_release(struct guest *g, void (*drain)(void *arg), void *arg);

/* What these functions need of the kernel (calls.h). */
extern const struct calls guest_calls;

#endif
