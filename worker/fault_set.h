/*
 * fault_set - the pages that threads of the guest are waiting for
 *
 * A sorted set without duplicates: a page is answered once, however many threads wait for it. A
 * page stays in the set until it has been answered. Pages that do not fit are not lost: once there
 * is room, all regions are woken, and those threads fault again.
 *
 *   new ──its bytes are on the disk──► warming ──fault_set_warmed()──► warmed ──answered──► (gone)
 *    └───────────────────────────────────answered────────────────────────────────────────┘
 */
#ifndef UFFDD_FAULT_SET_H
#define UFFDD_FAULT_SET_H

#include "common/base.h"

#define FAULTS_MAX 4096

enum fault_stage {
	FAULT_NEW,
	FAULT_WARMING, /* readahead reads the disk for the page: nothing to do until then */
	FAULT_WARMED,
};

struct fault {
	uint64_t page : 62;
	uint64_t stage : 2; /* enum fault_stage */
};

struct fault_set {
	size_t n, warming;
	bool overflow; /* pages did not fit: wake all regions once there is room */
	struct fault v[FAULTS_MAX];
};

/* Adds @page as new, unless it is in the set. A full set: sets @f->overflow instead. */
void fault_set_add(struct fault_set *f, uint64_t page);

/*
 * fault_set_each - hand every fault that is not warming to @answer, lowest page first
 * @answer: returns true to drop the fault, false to keep it; may change its stage
 *
 * Returns the number of dropped faults.
 */
size_t fault_set_each(struct fault_set *f, bool (*answer)(void *arg, struct fault *fault),
		      void *arg);

/* Pages [page, page + n) have been read: those that are warming become warmed. */
void fault_set_warmed(struct fault_set *f, uint64_t page, uint64_t n);

/* Is any fault not warming? */
static inline bool fault_set_ready(const struct fault_set *f)
{
	return f->n > f->warming;
}

#endif
