/*
 * extents - which bytes of a snapshot come from where
 *
 * A sorted array that tiles [0, npages) exactly, in units of 4 KiB:
 *
 *   page      0        3     5             11
 *             |layer 2 |zero | layer 0     | (end)
 *             |from 7  |     | from 0      |
 *
 * An extent ends where the next begins, so 12 bytes hold one. Neighbours that continue each other
 * (same layer and contiguous there, or both zero) are joined while building. After extents_end()
 * nothing can fail.
 *
 * A look-up bisects between two entries of an index. The index has an entry for every 2^shift
 * pages, so about one for every eight extents. So few steps miss the processor's cache, however
 * many extents there are.
 */
#ifndef UFFDD_EXTENTS_H
#define UFFDD_EXTENTS_H

#include "common/base.h"
#include "common/err.h"

#define EXTENT_ZERO UINT32_MAX      /* layer index of a zero run */
#define EXTENT_PAGES_MAX UINT32_MAX /* 16 TiB of 4 KiB pages */

struct extent {
	uint32_t page;  /* first page in the snapshot */
	uint32_t store; /* first page in the layer's file; 0 for zero runs */
	uint32_t layer; /* index, or EXTENT_ZERO */
};

struct extents {
	struct extent *v; /* owned; n + 1 entries, the last one is the end mark */
	size_t n, cap;
	uint32_t npages;
	uint32_t *index; /* owned; the extent of page i << shift; an end mark */
	unsigned shift;
};

/* A part of an extent, as looked up. */
struct extent_run {
	uint32_t layer; /* or EXTENT_ZERO */
	uint32_t store; /* 4 KiB pages into the layer's file */
	uint32_t pages; /* > 0 */
};

void extents_init(struct extents *e);
/* An empty array, to be built with extents_add() and extents_end(). */
void extents_fini(struct extents *e);
/*
 * Appends the next run; @pages > 0. The caller has checked that the total fits EXTENT_PAGES_MAX. -1
 * with ERR_SYSTEM: no memory.
 */
int extents_add(struct extents *e, uint32_t pages, uint32_t layer, uint32_t store, struct err *err);
/* Finishes: shrinks to fit, writes the end mark, makes the index. -1 with ERR_SYSTEM: no memory. */
int extents_end(struct extents *e, struct err *err);

/*
 * extents_find - the run at @page, at most @max pages long
 * @cursor: the caller's, 0 at first; remembers the last hit, so that sequential look-ups
 *	cost O(1) and others O(log n), nearly all of them in the cache
 *
 * @page < npages and @max > 0. Cannot fail.
 */
struct extent_run extents_find(const struct extents *e, uint32_t page, uint32_t max,
			       size_t *cursor);

/*
 * extents_overlay - stack a sparse diff on the layers below it
 * @ret: a new tiling, initialised by this call, owned by the caller; empty on failure
 *
 * Both tile the same number of pages. A run of @upper whose layer is EXTENT_ZERO is transparent.
 * Returns 0, or -1 with ERR_SYSTEM: no memory.
 */
int extents_overlay(const struct extents *lower, const struct extents *upper, struct extents *ret,
		    struct err *err);

#endif
