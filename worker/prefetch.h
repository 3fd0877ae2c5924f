/*
 * prefetch - installs what nobody has asked for yet, without being in the way
 *
 * One step at a time, from the owner thread, only while no thread of the guest waits, or is likely
 * to wait in the next moment. A step is 32 KiB while faults keep coming and doubles up to 1 MiB
 * after a calm time, so a fault waits at most for one short copy. Only absent pages are installed.
 *
 * Prefetch takes no more memory than its room allows. It does not install zero pages where the
 * guest leaves them to demand (guest.h).
 *
 * Prefetch asks ahead: runs are read from the disk while others are installed, in the same order.
 *
 *   order ──► [ cold | cold | warm | warm ] ──step──► guest
 *               prefetch_warmed() ▲
 *
 *   off ──mode──► running ──nothing left in order──► done
 *                  │   ▲
 *  held, or paused ▼   │   a source that cannot be read: stopped
 *                 held─┘   no room: limited, until there is room again
 */
#ifndef UFFDD_PREFETCH_H
#define UFFDD_PREFETCH_H

#include "common/spec.h"
#include "worker/guest.h"
#include "worker/prefetch_order.h"
#include "worker/room.h"
#include "worker/readahead.h"

#define PREFETCH_STEP_MIN ((uint64_t)32 << 10)
#define PREFETCH_STEP_MAX ((uint64_t)1 << 20)
/* Runs that are asked for before they are installed: at most so many, and so many bytes in all. */
#define PREFETCH_AHEAD 256
#define PREFETCH_AHEAD_BYTES ((uint64_t)8 << 20)
/* Runs of zero pages that one step passes over at most. */
#define PREFETCH_PASSED_MAX 1024

/* Absent when the order handed it out; the part that is left to be done. */
struct prefetch_run {
	uint64_t page, pages;
	bool cold; /* readahead is reading it */
};

struct prefetch {
	enum spec_prefetch mode;
	bool held;                   /* by the API: paused prefetch, or a paused restore */
	bool stopped;                /* the source failed; demand goes on */
	bool done;                   /* all pages were looked at */
	struct room room;            /* owned; how much prefetch may take */
	struct readahead *readahead; /* borrowed; NULL: nothing is read ahead */
	struct prefetch_order order; /* which run is next */
	bool asked;                  /* the order has nothing left */
	struct prefetch_run ahead[PREFETCH_AHEAD]; /* a ring, from @first on */
	unsigned first, n;
	uint64_t ahead_pages; /* pages in that ring */
	uint64_t quiet_us;    /* no fault is likely any more from this time on, now_us() */
	uint64_t calm_us;     /* steps may grow from this time on, now_us() */
	uint64_t stepped_us;  /* when the last step was taken, now_us() */
	uint64_t step_bytes;
	uint64_t rate_bytes_per_s; /* of snapshot data; 0: no limit */
	int64_t credit_bytes;      /* not positive: wait until credit is earned */
	uint64_t credited_us;      /* when credit was last added, now_us() */
	uint64_t backoff_us;       /* the last pause after GUEST_DEFER or GUEST_SHORT; 0: none */
	uint64_t not_before_us;
};

void prefetch_init(struct prefetch *p, struct readahead *readahead, enum spec_prefetch mode,
		   uint64_t rate_bytes_per_s, uint64_t now);
void prefetch_fini(struct prefetch *p);
/*
 * A change of mode or rate begins again: the page map knows what is there. Any call lets a stopped
 * prefetch try again.
 */
void prefetch_set(struct prefetch *p, enum spec_prefetch mode, bool held, uint64_t rate_bytes_per_s,
		  uint64_t now);

/* Replays @set (borrowed) first, without its sample: see prefetch_order_use(). */
void prefetch_use(struct prefetch *p, const struct wset *set, uint64_t seed);

/* The guest faulted, and may fault again at once: keep steps short, and wait a moment. */
void prefetch_yield(struct prefetch *p, uint64_t now);
/* Readahead has read the run at snapshot offset @off (bytes). */
void prefetch_warmed(struct prefetch *p, const struct guest *g, uint64_t off);

/* False if prefetch is off, held, stopped or done. */
bool prefetch_wants(const struct prefetch *p);
/*
 * True if prefetch_wants() but has no room; then prefetch_look() is due when prefetch_wait_us() is
 * 0.
 */
bool prefetch_limited(const struct prefetch *p);
/* Reads how much room there is, if it is time to. */
void prefetch_look(struct prefetch *p, const struct guest *g, uint64_t now);
/* Microseconds until a step may be taken: 0: now; UINT64_MAX: prefetch_wants() is false. */
uint64_t prefetch_wait_us(struct prefetch *p, uint64_t now);

/*
 * prefetch_step - take one step
 *
 * GUEST_FAIL concerns the whole restore: a layer changed. A page that only cannot be read stops
 * prefetch, because the guest may never need it: the call fills err, sets p->stopped and returns
 * GUEST_DONE.
 */
enum guest_answer prefetch_step(struct prefetch *p, struct guest *g, uint64_t now, struct err *err);

#endif
