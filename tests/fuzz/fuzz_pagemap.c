/*
 * fuzz_pagemap - a page map that a captured worker has written: by its readers, and by a successor
 *
 * Input: bytes of the file in KiB, head, number of regions, page size and regions, counters; the
 * rest are page states, and numbers for what a successor does.
 */
#include "common/pagemap.h"

#include <sys/mman.h>

#include "tests/fuzz/fuzz.h"

#define RUNS_MAX 7
#define STEPS 16
#define FILE_KIB_MAX 2048

static void put(int fd, const void *bytes, size_t len, off_t at)
{
	FUZZ_CHECK(pwrite(fd, bytes, len, at) == (ssize_t)len);
}

static int make_file(struct tape *t)
{
	int fd = memfd_create("map", MFD_CLOEXEC);
	uint32_t kib = tape_u16(t) % (FILE_KIB_MAX + 1);
	uint16_t n;
	struct pagemap_head head;
	struct pagemap_stats stats;
	struct regions regions = {0};

	FUZZ_CHECK(fd >= 0);
	tape_copy(t, &head, sizeof(head));
	put(fd, &head, sizeof(head), 0);
	regions.n = tape_u8(t);
	n = (uint16_t)min_u64(regions.n, REGIONS_MAX);
	regions.page_bytes = tape_u64(t);
	tape_copy(t, regions.v, n * sizeof(*regions.v));
	put(fd, &regions, sizeof(regions), PAGEMAP_REGIONS_OFF);
	tape_copy(t, &stats, sizeof(stats));
	put(fd, &stats, sizeof(stats), PAGEMAP_STATS_OFF);
	if (t->left)
		put(fd, t->at, t->left, PAGEMAP_BITS_OFF);
	FUZZ_CHECK(ftruncate(fd, (off_t)kib * 1024) == 0);
	return fd;
}

/* All runs, some at a time: they go up, inside of regions, and come to an end. */
static void check_runs(int fd, const struct pagemap_view *view)
{
	uint64_t next = 0, end = 0, total = 0;
	struct pagemap_run room[RUNS_MAX];
	struct err err;

	while (next != UINT64_MAX) {
		struct pagemap_runs runs = {.v = room, .max = ARRAY_LEN(room)};

		if (pagemap_runs(fd, view, next, &runs, &err)) {
			FUZZ_CHECK_ERR(&err);
			return;
		}
		for (size_t i = 0; i < runs.n; i++) {
			const struct pagemap_run *run = &runs.v[i];

			FUZZ_CHECK(run->len && run->offset >= end);
			FUZZ_CHECK((unsigned)run->state < PAGE_STATE_COUNT);
			FUZZ_CHECK(regions_at_offset(&view->regions, run->offset));
			end = run->offset + run->len;
			FUZZ_CHECK(regions_at_offset(&view->regions, end - 1));
			total += run->len;
		}
		FUZZ_CHECK(runs.next == UINT64_MAX || runs.next > next || runs.n);
		next = runs.next;
	}
	FUZZ_CHECK(total == regions_bytes(&view->regions));
}

static uint64_t sum(const struct pagemap *pm)
{
	uint64_t n = 0;

	for (int s = 0; s < PAGE_STATE_COUNT; s++)
		n += pm->stats->pages[s];
	return n;
}

static void succeed(int fd, struct tape *t)
{
	struct pagemap pm;
	struct err err;
	uint64_t all;

	if (pagemap_open(fd, &pm, &err)) {
		FUZZ_CHECK_ERR(&err);
		return;
	}
	all = sum(&pm);
	FUZZ_CHECK(all == regions_bytes(pm.regions) / pm.regions->page_bytes);
	for (int i = 0; i < STEPS && t->left; i++) {
		const struct region *r = &pm.regions->v[tape_u8(t) % pm.regions->n];
		uint64_t pages = r->size / pm.regions->page_bytes, at;
		uint64_t skip = tape_u16(t) % pages, n = 1 + tape_u16(t) % (pages - skip);
		uint64_t page = r->offset / pm.regions->page_bytes + skip;
		enum page_state state = tape_u8(t) % PAGE_STATE_COUNT;

		pagemap_set(&pm, page, n, state);
		FUZZ_CHECK(pagemap_get(&pm, page) == state && sum(&pm) == all);
		FUZZ_CHECK(pagemap_get(&pm, page + n - 1) == state);
		n = pagemap_absent_run(&pm, page, pm.npages, n, &at);
		FUZZ_CHECK(!n || (pagemap_get(&pm, at) == PAGE_ABSENT && at + n <= pm.npages));
	}
	pagemap_close(&pm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct tape t = {data, len};
	cleanup_fd int fd = make_file(&t);
	struct pagemap_view view;
	struct err err;

	if (pagemap_view(fd, &view, &err)) {
		FUZZ_CHECK_ERR(&err);
		return 0;
	}
	check_runs(fd, &view);
	succeed(fd, &t);
	return 0;
}
