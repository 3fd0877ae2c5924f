/*
 * ownvmm - a scene in which the test's own process is the VMM of each restore, on small pages or on
 * huge ones
 *
 * For use inside a Check test, like the harness.
 */
#ifndef UFFDD_TESTS_OWNVMM_H
#define UFFDD_TESTS_OWNVMM_H

#include "common/region.h"
#include "tests/support/hugepool.h"
#include "tests/support/stage.h"

struct ownvmm {
	struct scene scene;
	struct hugepool pool;
	char *small, *huge; /* owned: directories of the snapshots */
};

/* For start and end of a case; a test must look itself whether huge pages are free. */
void ownvmm_open(struct ownvmm *o, uint64_t small_bytes, uint64_t huge_bytes,
		 unsigned long huge_pages);
void ownvmm_close(struct ownvmm *o);

/* The snapshot for a guest with such pages. */
const char *ownvmm_dir(const struct ownvmm *o, uint64_t page_bytes);
/* A restore of that snapshot, which waits; s->id is set. */
void ownvmm_create(const struct ownvmm *o, struct stage *s, uint64_t page_bytes,
		   const char *members);
/*
 * Connects, and is served. @uffd: borrowed; its regions are registered. Returns the connection,
 * owned by the caller.
 */
int ownvmm_connect(struct stage *s, const struct regions *regions, int uffd);
/* Stops the restore, which serves a guest that needs nothing any more or may be poisoned. */
void ownvmm_stop(struct stage *s);

#endif
