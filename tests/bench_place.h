/*
 * bench_place - files to measure with, and what is in memory before a sample
 */
#ifndef UFFDD_TESTS_BENCH_PLACE_H
#define UFFDD_TESTS_BENCH_PLACE_H

#include <limits.h>

#include "tests/bench.h"

/*
 * A flat memory file of @bytes without a zero page, below r->dir; made by whoever
 * asks first. Its pages are in the page cache and on the disk afterwards.
 */
int bench_place_data(const struct bench_run *r, uint64_t bytes, char ret_path[PATH_MAX],
		     struct err *err);

/* Every page of it into the page cache. */
int bench_place_warm(const char *path, struct err *err);
/*
 * None of it in the page cache; nobody may have it mapped and touched. Fails if
 * a page stays there: then a cold sample would not be one.
 */
int bench_place_cold(const char *path, struct err *err);
/* Is the file on a disk? If not, no page cache lies in between and it is never cold. */
bool bench_place_on_disk(const char *path);

/*
 * Touch and free as much memory as a sample will install: a machine that is itself
 * a guest may have to ask its host for pages that were free for a while.
 */
int bench_place_memory(uint64_t bytes, uint64_t page_bytes, struct err *err);

#endif
