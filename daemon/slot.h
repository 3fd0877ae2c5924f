/*
 * slot - the place of a restore's worker: is one there, and what is expected of it
 *
 * Pure: an event goes in, what is to be done comes out; the process, its channel and its
 * deadlines are the restore's (restore.h). The other state of a restore, the one that the API
 * shows, is in record.h; what a worker may say follows from both (phase.h).
 *
 *              LOADED                  REPLACE
 *   creating ─────────► ready ──────────────────────► replacing ──┐
 *                       ▲   ▲ │ CUT, or a row of a former run     │
 *              LOADED   │   │ ▼                                   │
 *   loading ────────────┘   └ awaited                             │
 *    ▲ │ │ REPLACE       REATTACH  │                              │
 *    │ │ └──► replacing loader     │ EXITED: one more is needed   │
 *    │ │          └────────────────┼──────────────────────────────┘
 *    │ │ LOAD_FAILED               ▼
 *    │ └──────────► lost         empty ──┐
 *    └────────────── ASSIGN ─────────────┘
 *
 *   from everywhere: RELEASE ──► leaving, EXITED ──► over; without a worker over at once
 */
#ifndef UFFDD_SLOT_H
#define UFFDD_SLOT_H

#include "common/base.h"

/*        state                   name */
/* clang-format off */
#define SLOT_STATES(X)                                                                   \
	X(SLOT_EMPTY,            "empty")            /* no worker, or not any more */      \
	X(SLOT_DEFERRED,         "deferred")         /* a row that nobody has room for yet */ \
	X(SLOT_CREATING,         "creating")         /* loads; nothing exists before */    \
	X(SLOT_LOADING,          "loading")          /* loads, after one that died */      \
	X(SLOT_READY,            "ready")                                                  \
	X(SLOT_REPLACING,        "replacing")        /* is being killed, on request */     \
	X(SLOT_REPLACING_LOADER, "replacing loader") /* likewise, before it has loaded */  \
	X(SLOT_AWAITED,          "awaited")          /* has lost us, and may come back */  \
	X(SLOT_LOST,             "lost")             /* could not load: nobody else can */ \
	X(SLOT_LEAVING,          "leaving")          /* released; is told to end */        \
	X(SLOT_OVER,             "over")             /* released, and no worker is left */
/* clang-format on */

enum slot_state {
#define X(state, name) state,
	SLOT_STATES(X)
#undef X
		SLOT_STATE_COUNT
};

/*        event                name */
/* clang-format off */
#define SLOT_EVENTS(X)                                                         \
	X(SLOT_TAKE_UP,     "taken up")     /* there is room for the row */        \
	X(SLOT_ASSIGN,      "assigned")     /* to a successor */                   \
	X(SLOT_ABANDON,     "abandoned")    /* the successor could not be told */  \
	X(SLOT_LOADED,      "loaded")                                              \
	X(SLOT_LOAD_FAILED, "load failed")                                         \
	X(SLOT_REPLACE,     "replace")      /* another worker is wanted */         \
	X(SLOT_AWAIT,       "await")        /* one of a former run lives */        \
	X(SLOT_CUT,         "cut")          /* its channel is lost, it lives */    \
	X(SLOT_REATTACH,    "reattach")     /* it has come back to us */           \
	X(SLOT_EXITED,      "exited")       /* also one that was awaited */        \
	X(SLOT_RELEASE,     "release")      /* the restore has ended; a worker is there */ \
	X(SLOT_RELEASE_ALONE, "release alone") /* likewise; no worker is there */
/* clang-format on */

enum slot_event {
#define X(event, name) event,
	SLOT_EVENTS(X)
#undef X
		SLOT_EVENT_COUNT
};

enum slot_action {
	SLOT_REFUSE, /* not lawful now: nothing has changed */
	SLOT_NOTHING,
	SLOT_FAIL_CREATION,
	SLOT_SUCCEED,           /* a successor is needed, and this was a death */
	SLOT_SUCCEED_UNCOUNTED, /* likewise; it was wanted */
	SLOT_LOOK,              /* nobody can succeed: is the VMM still there? */
	SLOT_FINISH,            /* the last of it is gone */
};

struct slot {
	enum slot_state state;
	unsigned deaths; /* in a row; see slot_died() */
	uint64_t deaths_since_us;
};

enum slot_action slot_event(struct slot *s, enum slot_event event);

/*
 * slot_died - count a death at @now
 * True: more than @max within @window_us. A worker that dies again and again would keep its
 * guest stumbling for ever.
 */
bool slot_died(struct slot *s, uint64_t now_us, uint64_t window_us, uint64_t max);

/* Its worker has loaded the snapshot, and has a channel to us. */
static inline bool slot_is_ready(const struct slot *s)
{
	return s->state == SLOT_READY || s->state == SLOT_REPLACING;
}

static inline bool slot_is_loading(const struct slot *s)
{
	return s->state == SLOT_LOADING || s->state == SLOT_REPLACING_LOADER;
}

/* Nothing of the restore is wanted any more. */
static inline bool slot_is_released(const struct slot *s)
{
	return s->state == SLOT_LEAVING || s->state == SLOT_OVER;
}

const char *slot_state_name(enum slot_state state);
const char *slot_event_name(enum slot_event event);

#endif
