/*
 * faults - the pages that threads of the guest are waiting for
 *
 * A sorted set without duplicates: however many threads wait on a page, it is
 * answered once. A page stays until it has been answered; what does not fit is
 * not lost either, since waking every region makes those threads fault again.
 */
#ifndef UFFDD_FAULTS_H
#define UFFDD_FAULTS_H

#include "common/base.h"

#define FAULTS_MAX 4096

struct faults {
	size_t n;
	bool overflow; /* some did not fit: wake all regions once there is room */
	uint64_t page[FAULTS_MAX];
};

void faults_add(struct faults *f, uint64_t page);

/*
 * faults_each - hand every page to @answer, lowest first
 *
 * A page is dropped when @answer returns true, else kept for the next time.
 * Returns how many were dropped.
 */
size_t faults_each(struct faults *f, bool (*answer)(void *arg, uint64_t page), void *arg);

#endif
