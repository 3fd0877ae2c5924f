/*
 * bench_place - files to measure with, and what is in memory before a sample
 */
#ifndef UFFDD_TESTS_BENCH_PLACE_H
#define UFFDD_TESTS_BENCH_PLACE_H

#include <limits.h>

#include "tests/bench/bench.h"

/*
 * A flat memory file of @bytes without a zero page, below r->dir; made by whoever
 * asks first. Its pages are in the page cache and on the disk afterwards.
 */
int bench_place_data(const struct bench_run *r, uint64_t bytes, char ret_path[PATH_MAX],
		     struct err *err);

/* The same, but all of it is a hole. */
int bench_place_zeros(const struct bench_run *r, uint64_t bytes, char ret_path[PATH_MAX],
		      struct err *err);

/*
 * bench_place_extents - a header and its one layer, in an extent per page or in a single one
 * @ret_snapshot: the JSON for a create request
 *
 * Memory of BENCH_EXTENTS pages. Of every BENCH_STRIDE pages the first one has data,
 * bench_place_extents_page() tells which; what the others have is of no interest.
 */
#define BENCH_EXTENTS ((uint32_t)1 << 20)
#define BENCH_STRIDE 16u
int bench_place_extents(const struct bench_run *r, bool many, char ret_snapshot[PATH_MAX],
			struct err *err);
void bench_place_extents_page(bool many, uint32_t page, void *buf);

/*
 * Three generations of layers of the same size, in runs so short that every huge page is
 * made of many, without a zero page; and the image that they come to.
 */
int bench_place_layers(const struct bench_run *r, uint64_t bytes, char ret_image[PATH_MAX],
		       char ret_snapshot[PATH_MAX], struct err *err);

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
 * Touches and frees as much memory as a sample will install, and some more, since
 * page tables and others take their share: a machine that is itself a guest may have to
 * ask its host for pages that were free for a while. Not more than needed: hosts also take
 * pages back as soon as many of them are free.
 */
int bench_place_memory(uint64_t bytes, uint64_t page_bytes, struct err *err);

/* The size of the pool of 2 MiB pages, in pages; 0: there is none, or it is not for us. */
uint64_t bench_place_pool(void);
void bench_place_set_pool(uint64_t pages);

#endif
