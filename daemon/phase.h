/*
 * phase - what the supervisor expects of a restore's worker now
 *
 * Each message is lawful in some phases (the table of conversation.c). A message in any other phase
 * is a lie: a worker parses a tenant's files, and may have been taken over.
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
	X(PHASE_CREATING,   "creating")    /* loads; nothing exists before READY */        \
	X(PHASE_SUCCEEDING, "succeeding")  /* loads as a successor, or is awaited */       \
	X(PHASE_WAITING,    "waiting")     /* for a VMM */                                 \
	X(PHASE_SERVING,    "serving")                                                     \
	X(PHASE_FAILED,     "failed")      /* the VMM lives on */                          \
	X(PHASE_OVER,       "over")        /* released, or it could not load */
/* clang-format on */

enum phase {
#define X(phase, name) phase,
	PHASES(X)
#undef X
		PHASE_COUNT
};

/* Pure: from the record and the slot of @r. */
enum phase phase_of(const struct restore *r);
/* For logs and events; a static string. */
const char *phase_name(enum phase phase);

#endif
