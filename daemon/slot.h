/*
 * slot - the place of a restore's worker: is a worker there, and what is expected of it
 *
 * Pure: an event goes in, the action to take comes out. The worker's process, channel and deadlines
 * belong to the restore (restore.h). The other state of a restore, the one that the API shows, is
 * in record.h. What a worker may say follows from both (phase.h).
 *
 *              LOADED                  REPLACE
 *   creating ─────────► ready ──────────────────────► replacing ──┐
 *                       ▲   ▲ │ CUT, or a row of a former run     │
 *              LOADED   │   │ ▼                                   │
 *   loading ────────────┘   └ awaited                             │
 *    ▲ │ │ REPLACE       REATTACH  │                              │
 *    │ │ └──► replacing loader     │ EXITED: a successor          │
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
	X(SLOT_EMPTY,            "empty")            /* no worker, or none any more */  \
	X(SLOT_DEFERRED,         "deferred")         /* a row; descriptors are short */ \
	X(SLOT_CREATING,         "creating")         /* loads; nothing exists before */ \
	X(SLOT_LOADING,          "loading")          /* loads, as a successor */        \
	X(SLOT_READY,            "ready")                                               \
	X(SLOT_REPLACING,        "replacing")        /* being killed, on request */     \
	X(SLOT_REPLACING_LOADER, "replacing loader") /* the same, before it loaded */   \
	X(SLOT_AWAITED,          "awaited")          /* lost us, and may come back */   \
	X(SLOT_LOST,             "lost")             /* snapshot cannot be loaded */    \
	X(SLOT_LEAVING,          "leaving")          /* released; told to end */        \
	X(SLOT_OVER,             "over")             /* released; no worker is left */
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
	X(SLOT_TAKE_UP,     "taken up")     /* descriptors are free */     \
	X(SLOT_ASSIGN,      "assigned")     /* to a successor */           \
	X(SLOT_ABANDON,     "abandoned")    /* ASSIGN could not be sent */ \
	X(SLOT_LOADED,      "loaded")                                      \
	X(SLOT_LOAD_FAILED, "load failed")                                 \
	X(SLOT_REPLACE,     "replace")      /* a new worker is wanted */   \
	X(SLOT_AWAIT,       "await")        /* a former run's lives */     \
	X(SLOT_CUT,         "cut")          /* channel lost, it lives */   \
	X(SLOT_REATTACH,    "reattach")     /* it has come back */         \
	X(SLOT_EXITED,      "exited")       /* also while awaited */       \
	X(SLOT_RELEASE,     "release")      /* the restore has ended */    \
	X(SLOT_RELEASE_ALONE, "release alone") /* the same; no worker is there */
/* clang-format on */

enum slot_event {
#define X(event, name) event,
	SLOT_EVENTS(X)
#undef X
		SLOT_EVENT_COUNT
};

enum slot_action {
	SLOT_REFUSE, /* not lawful in this state: nothing has changed */
	SLOT_NOTHING,
	SLOT_FAIL_CREATION,
	SLOT_SUCCEED,           /* start a successor, and count the death */
	SLOT_SUCCEED_UNCOUNTED, /* start a successor; the death was wanted */
	SLOT_LOOK,              /* no successor can load: only look whether the VMM has ended */
	SLOT_FINISH,            /* the last worker of a released restore has ended */
};

struct slot {
	enum slot_state state;
	unsigned deaths;          /* within the window of slot_died() */
	uint64_t deaths_since_us; /* when that window began */
};

/* Moves @s, and returns what the caller has to do. */
enum slot_action slot_event(struct slot *s, enum slot_event event);

/*
 * slot_died - count the death of a worker
 *
 * True: these are more than @max deaths within @window_us. Workers that die again and again would
 * stall their guest for ever.
 */
bool slot_died(struct slot *s, uint64_t now_us, uint64_t window_us, uint64_t max);

/* Has the worker loaded the snapshot, and has it a channel to us? */
static inline bool slot_is_ready(const struct slot *s)
{
	return s->state == SLOT_READY || s->state == SLOT_REPLACING;
}

static inline bool slot_is_loading(const struct slot *s)
{
	return s->state == SLOT_LOADING || s->state == SLOT_REPLACING_LOADER;
}

/* Is the restore released? */
static inline bool slot_is_released(const struct slot *s)
{
	return s->state == SLOT_LEAVING || s->state == SLOT_OVER;
}

/* For logs and events; static strings. */
const char *slot_state_name(enum slot_state state);
const char *slot_event_name(enum slot_event event);

#endif
