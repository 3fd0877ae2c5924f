/*
 * fault_set - the pages that threads of the guest are waiting for
 *
 * A sorted set without duplicates: however many threads wait on a page, it is
 * answered once. A page stays until it has been answered; what does not fit is
 * not lost either, since waking every region makes those threads fault again.
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
	FAULT_WARMING, /* somebody reads the disk for it: nothing to do until then */
	FAULT_WARMED,
};

struct fault {
	uint64_t page : 62;
	uint64_t stage : 2; /* enum fault_stage */
};

struct fault_set {
	size_t n, warming;
	bool overflow; /* some did not fit: wake all regions once there is room */
	struct fault v[FAULTS_MAX];
};

void fault_set_add(struct fault_set *f, uint64_t page);

/*
 * fault_set_each - hand every fault to @answer that is not warming, lowest page first
 *
 * It is dropped when @answer returns true, else kept for the next time; @answer
 * may set its stage. Returns how many were dropped.
 */
size_t fault_set_each(struct fault_set *f, bool (*answer)(void *arg, struct fault *fault),
		      void *arg);

/* The disk has been read for these pages. */
void fault_set_warmed(struct fault_set *f, uint64_t page, uint64_t n);

/* Is there one to be answered now? */
static inline bool fault_set_ready(const struct fault_set *f)
{
	return f->n > f->warming;
}

#endif
