/*
 * scan - one flat memory file: where its data and its holes are
 */
#ifndef UFFDD_SCAN_H
#define UFFDD_SCAN_H

#include "common/extents.h"
#include "worker/layer.h"

struct scan {
	const struct layer *f;
	uint32_t layer;      /* its number; 0 is the base, others are diffs */
	size_t *budget;      /* data runs that may still be found, in all files together */
	struct extents *out; /* from scan_file() on: data, and holes as EXTENT_ZERO */
	uint64_t end;        /* of the last data run, bytes */
};

int scan_file(struct scan *s, struct err *err);
/*
 * scan_judge - can the holes of a diff be right? 0, or -1 with ERR_SNAPSHOT
 * @dense: that it has none at all is no wonder
 *
 * A file system that does not tell its holes, or only those of large records, makes a sparse
 * diff look like one that replaces more than it does, by zeros; and so does a copy that has
 * filled them. What was lost the other way, written zeros, cannot be seen.
 */
int scan_judge(const struct scan *s, bool dense, struct err *err);

#endif
