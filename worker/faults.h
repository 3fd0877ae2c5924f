/*
 * faults - the pages that threads of the guest are waiting for
 *
 * A sorted set without duplicates: however many threads wait on a page, it is
 * answered once. A page stays until it has been answered; what does not fit is
 * not lost either, since waking every region makes those threads fault again.
 *
 *   new ──its bytes are on the disk──► warming ──faults_warmed()──► warmed ──answered──► (gone)
 *    └───────────────────────────────────answered────────────────────────────────────────┘
 */
#ifndef UFFDD_FAULTS_H
#define UFFDD_FAULTS_H

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

struct faults {
	size_t n, warming;
	bool overflow; /* some did not fit: wake all regions once there is room */
	struct fault v[FAULTS_MAX];
};

void faults_add(struct faults *f, uint64_t page);

/*
 * faults_each - hand every fault to @answer that is not warming, lowest page first
 *
 * It is dropped when @answer returns true, else kept for the next time; @answer
 * may set its stage. Returns how many were dropped.
 */
size_t faults_each(struct faults *f, bool (*answer)(void *arg, struct fault *fault), void *arg);

/* The disk has been read for these pages. */
void faults_warmed(struct faults *f, uint64_t page, uint64_t n);

/* Is there one to be answered now? */
static inline bool faults_ready(const struct faults *f)
{
	return f->n > f->warming;
}

#endif
