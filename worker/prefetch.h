/*
 * prefetch - installs what nobody has asked for yet, without being in the way
 *
 * One step at a time, from the owner thread, only while nobody waits. A step is
 * 64 KiB while faults keep coming and doubles to 1 MiB while it is quiet, so a
 * fault waits at most for one short copy. Only absent pages are installed.
 *
 *   off ──mode all──► running ──cursor at the end──► done
 *                      │   ▲
 *     held, or paused  ▼   │   a source that cannot be read: stopped
 *                     held─┘
 */
#ifndef UFFDD_PREFETCH_H
#define UFFDD_PREFETCH_H

#include "common/spec.h"
#include "worker/guest.h"
#include "worker/order.h"

#define PREFETCH_STEP_MIN ((uint64_t)64 << 10)
#define PREFETCH_STEP_MAX ((uint64_t)1 << 20)

struct prefetch {
	enum spec_prefetch mode;
	bool held;             /* by the API: paused prefetch, or a paused restore */
	bool stopped;          /* the source failed; demand goes on */
	bool done;             /* everything was looked at */
	struct order order;    /* which run comes next */
	uint64_t page, pages;  /* what is left of the run that was begun */
	uint64_t step_bytes;
	uint64_t rate_bytes_per_s; /* of snapshot data; 0: no limit */
	int64_t credit_bytes;  /* negative: wait until it has been earned */
	uint64_t credited_us;  /* when credit was last added */
	uint64_t backoff_us;   /* after GUEST_DEFER; 0: none */
	uint64_t not_before_us;
};

void prefetch_init(struct prefetch *p, enum spec_prefetch mode, uint64_t rate_bytes_per_s,
		   uint64_t now);
/*
 * A change of mode or rate begins anew: the page map knows what is there. Any
 * call gives a stopped prefetch another try.
 */
void prefetch_set(struct prefetch *p, enum spec_prefetch mode, bool held,
		  uint64_t rate_bytes_per_s, uint64_t now);

/* The guest faulted: keep steps short. */
void prefetch_yield(struct prefetch *p);

/* Microseconds until a step may be taken: 0 now, UINT64_MAX never as things are. */
uint64_t prefetch_wait_us(struct prefetch *p, uint64_t now);

/*
 * prefetch_step - one step
 *
 * GUEST_FAIL is for the whole restore (a layer changed); a page that merely
 * cannot be read stops prefetch, fills err and returns GUEST_DONE with
 * p->stopped set, since the guest may never need it.
 */
enum guest_answer prefetch_step(struct prefetch *p, struct guest *g, uint64_t now,
				struct err *err);

#endif
