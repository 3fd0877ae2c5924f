/*
 * prefetch - installs what nobody has asked for yet, without being in the way
 *
 * One step at a time, from the owner thread, only while nobody waits, nor is
 * likely to in the next moment. A step is 32 KiB while faults keep coming and doubles to
 * 1 MiB when it has been calm for a while, so a fault waits at most for one short copy. Only absent
 * pages are installed.
 *
 * It takes no more than its room allows. Zero pages are not installed where the guest leaves
 * them to demand (guest.h).
 *
 * It asks ahead: runs are warmed while others are installed, in the same order.
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
/* Asked for before they are installed: runs, and what they may have together. */
#define PREFETCH_AHEAD 256
#define PREFETCH_AHEAD_BYTES ((uint64_t)8 << 20)
/* So many runs of zero pages are passed over in one step. */
#define PREFETCH_PASSED_MAX 1024

/* Absent when it was handed out; what of it is left to be done. */
struct prefetch_run {
	uint64_t page, pages;
	bool cold; /* being warmed */
};

struct prefetch {
	enum spec_prefetch mode;
	bool held;                   /* by the API: paused prefetch, or a paused restore */
	bool stopped;                /* the source failed; demand goes on */
	bool done;                   /* everything was looked at */
	struct room room;            /* owned; what it may take */
	struct readahead *readahead; /* borrowed; NULL: the source is read as it comes */
	struct prefetch_order order; /* which run comes next */
	bool asked;                  /* nothing is left in it */
	struct prefetch_run ahead[PREFETCH_AHEAD]; /* a ring, from @first on */
	unsigned first, n;
	uint64_t ahead_pages; /* in them */
	uint64_t quiet_us;    /* from then on nobody is likely to fault in the next moment */
	uint64_t calm_us;     /* from then on steps may grow */
	uint64_t stepped_us;  /* the last step */
	uint64_t step_bytes;
	uint64_t rate_bytes_per_s; /* of snapshot data; 0: no limit */
	int64_t credit_bytes;      /* negative: wait until it has been earned */
	uint64_t credited_us;      /* when credit was last added */
	uint64_t backoff_us;       /* after GUEST_DEFER; 0: none */
	uint64_t not_before_us;
};

void prefetch_init(struct prefetch *p, struct readahead *readahead, enum spec_prefetch mode,
		   uint64_t rate_bytes_per_s, uint64_t now);
void prefetch_fini(struct prefetch *p);
/*
 * A change of mode or rate begins anew: the page map knows what is there. Any
 * call gives a stopped prefetch another try.
 */
void prefetch_set(struct prefetch *p, enum spec_prefetch mode, bool held, uint64_t rate_bytes_per_s,
		  uint64_t now);

/* The set first, without its sample: see prefetch_order_use(). */
void prefetch_use(struct prefetch *p, const struct wset *set, uint64_t seed);

/* The guest faulted, and may again at once: keep steps short, and wait a moment. */
void prefetch_yield(struct prefetch *p, uint64_t now);
/* The disk was read for this range of the snapshot. */
void prefetch_warmed(struct prefetch *p, const struct guest *g, uint64_t off);

/* Is there, as things are, anything that it would install? */
bool prefetch_wants(const struct prefetch *p);
/* It would, and there is no room; prefetch_look() is due when prefetch_wait_us() is 0. */
bool prefetch_limited(const struct prefetch *p);
/* How much room is there now? Only if it is time to ask. */
void prefetch_look(struct prefetch *p, const struct guest *g, uint64_t now);
/* Microseconds until a step may be taken: 0 now, UINT64_MAX never as things are. */
uint64_t prefetch_wait_us(struct prefetch *p, uint64_t now);

/*
 * prefetch_step - one step
 *
 * GUEST_FAIL is for the whole restore (a layer changed); a page that merely
 * cannot be read stops prefetch, fills err and returns GUEST_DONE with
 * p->stopped set, since the guest may never need it.
 */
enum guest_answer prefetch_step(struct prefetch *p, struct guest *g, uint64_t now, struct err *err);

#endif
