/*
 * scan - one flat memory file: where its data and its holes are
 */
#ifndef UFFDD_SCAN_H
#define UFFDD_SCAN_H

#include "common/extents.h"
#include "worker/layer.h"

struct scan {
	const struct layer *f;
	uint32_t layer; /* index; 0 is the base, others are diffs */
	size_t *budget; /* borrowed: data runs that may still be found, in all files together */
	struct extents *out; /* borrowed, built by scan_file(): data, and holes as EXTENT_ZERO */
	uint64_t end;        /* end of the last data run, bytes */
};

/* Finds data and holes of @s->f. Returns 0, or -1 with ERR_SNAPSHOT or ERR_SYSTEM. */
int scan_file(struct scan *s, struct err *err);
/*
 * scan_judge - can the holes of a diff be right? Returns 0, or -1 with ERR_SNAPSHOT
 * @dense: accept a diff without any hole
 *
 * Where a file system does not tell its holes, or only those of large records, a sparse diff looks
 * as if it replaced more pages than it does, by zeros. So does a copy whose holes were filled. The
 * opposite loss, written zeros that became holes, cannot be detected.
 */
int scan_judge(const struct scan *s, bool dense, struct err *err);

#endif
