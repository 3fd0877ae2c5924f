/*
 * phase - what the supervisor expects of a restore's worker now
 *
 * Each message is lawful in some phases (the table of conversation.c). What comes in another
 * one is a lie: a worker parses a tenant's files, and may be in somebody else's hands.
 *
 *   creating ───READY──► waiting ──CONNECTED──► serving ──FAILED──► failed
 *                           ▲                      ▲ │                 │
 *   succeeding ───READY─────┴──(as it was)─────────┘ └──GONE, RELEASED─┴──► over
 */
#ifndef UFFDD_PHASE_H
#define UFFDD_PHASE_H

#include "daemon/restore.h"

/*        phase              name */
/* clang-format off */
#define PHASES(X)                              \
	X(PHASE_CREATING,   "creating")    /* it loads, and nothing exists before READY */ \
	X(PHASE_SUCCEEDING, "succeeding")  /* it loads for a restore whose worker died */  \
	X(PHASE_WAITING,    "waiting")     /* for a VMM */                                 \
	X(PHASE_SERVING,    "serving")                                                     \
	X(PHASE_FAILED,     "failed")      /* the VMM lives on */                          \
	X(PHASE_OVER,       "over")        /* released, or it could not take over */
/* clang-format on */

enum phase {
#define X(phase, name) phase,
	PHASES(X)
#undef X
		PHASE_COUNT
};

/* Pure: of what @r knows, and of nothing else. */
enum phase phase_of(const struct restore *r);
const char *phase_name(enum phase phase);

#endif
