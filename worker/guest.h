/*
 * guest - what each page of a guest gets, and what is known of it from then on
 *
 * One thread calls it. Each call asks the page map what the page is, installs
 * accordingly, and records what the kernel answered; the kernel is the judge of
 * what is really there. The rules are the table in common/pagemap.h.
 */
#ifndef UFFDD_GUEST_H
#define UFFDD_GUEST_H

#include "worker/guest_state.h"

enum guest_answer {
	GUEST_DONE,  /* answered, or nothing to do */
	GUEST_DEFER, /* try again soon: a removal is under way, or memory is short */
	GUEST_COLD,  /* its bytes are on the disk: have them warmed, then ask again */
	GUEST_SHORT, /* prefetch: there is no memory for it now */
	GUEST_GONE,  /* the VMM has ended */
	GUEST_FAIL,  /* err says why this page can never be supplied */
};

/* Takes the uffd and the connected map over, also on failure. */
int guest_init(struct guest *g, int uffd, struct pagemap *map, struct source *src, struct err *err);
void guest_fini(struct guest *g);

/* Takes @pagemap, of the VMM as far as the supervisor knows; -1: it cannot be had. */
void guest_use_pagemap(struct guest *g, int pagemap);
/*
 * guest_leave_zeros - pages that the snapshot says are zero are left to demand
 *
 * For guests that pay for each of them with memory: there is no shared zero page of 2 MiB. An
 * absent one needs nothing of the snapshot, and reads zero also without us: the guest is
 * complete, and can be released, without them.
 */
void guest_leave_zeros(struct guest *g);
/* Is this page one of those? */
bool guest_leaves(struct guest *g, uint64_t page);

/* What is known of [page, page + n) from now on: any state but absent. */
void guest_mark(struct guest *g, uint64_t page, uint64_t n, enum page_state state);

/* What was installed and cost memory: all but shared zero pages. */
uint64_t guest_paid_bytes(const struct guest *g);

/* The page at an address; false if it is in no region. */
bool guest_page(const struct guest *g, uint64_t addr, uint64_t *ret_page);

/*
 * A thread waits for this page.
 * @warmed: it was GUEST_COLD and has been read since: never that again
 */
enum guest_answer guest_fault(struct guest *g, uint64_t page, bool warmed, struct err *err);

/*
 * guest_prefetch - install absent pages of [page, page + n), as many as one call takes
 * @ret_done: pages dealt with from @page on, even if only recorded as there
 *
 * [page, page + n) lies in one region and is absent.
 */
enum guest_answer guest_prefetch(struct guest *g, uint64_t page, uint64_t n, uint64_t *ret_done,
				 struct err *err);

/* [start, end) was given back (or unmapped): it reads zero from now on. */
void guest_removed(struct guest *g, uint64_t start, uint64_t end);

/* Has any layer changed since it was opened? Then err says which and how. */
bool guest_source_changed(struct guest *g, struct err *err);

/* Poison one missing page, so that touching it is SIGBUS. */
enum guest_answer guest_poison(struct guest *g, uint64_t page, struct err *err);
/* Poison everything absent. @drain as for guest_release(). */
enum guest_answer guest_poison_absent(struct guest *g, void (*drain)(void *arg), void *arg,
				      struct err *err);

void guest_wake_all(struct guest *g);

/*
 * guest_release - give all regions back to the kernel
 * @drain: reads what is pending on the uffd; called until no removal is under way
 *
 * Only right when nothing that holds data is absent any more (or it is poisoned): from then on
 * the kernel supplies zeros by itself.
 */
enum guest_answer guest_release(struct guest *g, void (*drain)(void *arg), void *arg);

#endif
