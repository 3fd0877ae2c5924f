/*
 * touch_log - which pages the guest was the first to touch, and when
 *
 *   begin at connect ──► touch, touch, … ──► over: window, or full ──► merge ──► fini
 *
 * It ends within a window, because a recording that runs for hours swells to all
 * of memory; and it is judged by how long it was, because a page that was not
 * needed yet may be needed still.
 */
#ifndef UFFDD_TOUCH_LOG_H
#define UFFDD_TOUCH_LOG_H

#include "common/pagemap.h"
#include "common/wset.h"

#define RECORD_PAGES_MAX ((size_t)1 << 20)

struct touch_log {
	bool on;
	uint64_t begin_us; /* now_us() of the connect */
	uint64_t window_us;
	uint64_t seed;        /* of the sample that is left to the guest; not 0 */
	uint64_t sample_us;   /* after connect: when the sample was taken up; 0: not yet */
	struct wset_touch *v; /* owned mapping of RECORD_PAGES_MAX; in order of time */
	size_t n;
};

/* -1 with ERR_SYSTEM: there is no memory for it, and it is not on. */
int touch_log_begin(struct touch_log *r, uint64_t window_us, uint64_t seed, uint64_t now,
		    struct err *err);
/* Off, and nothing of it is left. */
void touch_log_fini(struct touch_log *r);

/* A fault was answered with a page that had been absent. Nothing while it is off. */
void touch_log_touch(struct touch_log *r, uint64_t page, uint64_t now);
/* Prefetch goes on to the sample: from now on it cannot be told who was first. */
void touch_log_sample_begins(struct touch_log *r, uint64_t now);

/* Microseconds until it is over: 0 it is, UINT64_MAX it is off. */
uint64_t touch_log_wait_us(const struct touch_log *r, uint64_t now);

/*
 * touch_log_merge - what becomes of the set by this recording
 * @old: of the guest's page size and the snapshot's span; restores 0: there is none
 * @map: as it is at the recording's end
 *
 * A page of @old that is absent was not needed if twice the time of its group has
 * passed, or the whole window. O(n + pages of @old).
 */
int touch_log_merge(struct touch_log *r, const struct wset *old, const struct pagemap *map,
		    uint64_t now, struct wset *ret, struct err *err);

#endif
