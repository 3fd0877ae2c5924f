/*
 * touch_log - which pages the guest was the first to touch, and when
 *
 *   begin at connect ──► touch, touch, … ──► over: window, or full ──► merge ──► fini
 *
 * The recording ends after a window, because within hours it would grow to all of memory. It is
 * judged by its length, because a page that was not needed yet may still be needed.
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
	uint64_t sample_us;   /* when prefetch reached the sample, after connect; 0: not yet */
	struct wset_touch *v; /* owned mapping of RECORD_PAGES_MAX; in order of time */
	size_t n;
};

/* Returns 0, or -1 with ERR_SYSTEM: no memory, and the log is off. */
int touch_log_begin(struct touch_log *r, uint64_t window_us, uint64_t seed, uint64_t now,
		    struct err *err);
/* Off; frees the log. */
void touch_log_fini(struct touch_log *r);

/* The guest touched a page that had been absent. Does nothing while the log is off. */
void touch_log_touch(struct touch_log *r, uint64_t page, uint64_t now);
/* Prefetch reaches the sample: from now on a present page of it may not be the guest's doing. */
void touch_log_sample_begins(struct touch_log *r, uint64_t now);

/* Microseconds until the window is over: 0: it is over; UINT64_MAX: the log is off. */
uint64_t touch_log_wait_us(const struct touch_log *r, uint64_t now);

/*
 * touch_log_merge - how this recording changes the working set
 * @old: of the guest's page size and the snapshot's span; restores 0: no set yet
 * @map: as it is at the end of the recording
 * @ret: owned by the caller, untouched on failure
 *
 * A page of @old that is absent was not needed if twice the time of its group has passed, or the
 * whole window. Returns 0, or -1 with ERR_SYSTEM: no memory. O(n + pages of @old).
 */
int touch_log_merge(struct touch_log *r, const struct wset *old, const struct pagemap *map,
		    uint64_t now, struct wset *ret, struct err *err);

#endif
