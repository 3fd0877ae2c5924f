/*
 * leases - who may prefetch now: at most so many restores at a time, fair between tenants
 *
 * Pure: time is an argument, messages are the caller's. Whoever waits stands in
 * the queue of its tenant, first come first served; tenants take turns, so one
 * with a hundred restores gets no more turns than one with a single restore.
 * While somebody waits, a holder keeps its lease for a slice; while nobody waits,
 * for as long as it likes.
 *
 *            ask             leases_grant        leases_revoke           no answer
 *   none ───────► waiting ───────────────► held ───────────────► revoked ─────────► overdue
 *    ▲               ▲                      │                       │                  │
 *    │               └───────── ask ────────┴───────────────────────┴──────────────────┤
 *    └───────────────────────── back (from any state) ─────────────────────────────────┘
 *
 * Held and revoked ones count against the bound. One that is overdue does not: its worker
 * is stopped or hangs, and must not keep the others waiting.
 *
 * Everything is O(1), but for the first and last of a tenant that wait:
 * O(log tenants).
 */
#ifndef UFFDD_LEASES_H
#define UFFDD_LEASES_H

#include <sys/queue.h>

#include "common/proto.h"

enum claim_state { CLAIM_NONE, CLAIM_WAITING, CLAIM_HELD, CLAIM_REVOKED, CLAIM_OVERDUE };

struct leases_tenant;

/* A restore's part in it; all zero at first. May be freed while it is CLAIM_NONE. */
struct claim {
	enum claim_state state;
	uint32_t ask;                 /* number of its last ask, for the grant */
	uint64_t since_us;            /* when it was granted, or revoked */
	struct leases_tenant *tenant; /* while it waits */
	TAILQ_ENTRY(claim) link;
};
TAILQ_HEAD(claims, claim);

struct leases {
	uint64_t max; /* counted at most */
	uint64_t slice_us;
	uint64_t answer_us; /* how long a revoked one may take to answer */
	uint64_t waiting;
	uint64_t counted;                  /* held and revoked */
	uint64_t called;                   /* of these, revoked */
	struct claims held, revoked;       /* oldest first */
	TAILQ_HEAD(, leases_tenant) turns; /* those of whom somebody waits, next first */
	void *tenants;                     /* the same, by name: a tree of tsearch() */
};

/* @max: at least 1. */
void leases_init(struct leases *ls, uint64_t max, uint64_t slice_us, uint64_t answer_us);

/* It holds none (any more) and wants one; @ask numbers the wish. One that waits keeps its place. */
void leases_ask(struct leases *ls, struct claim *c, const char *tenant, uint32_t ask);
/* It holds none (any more) and wants none, or is no more. */
void leases_back(struct leases *ls, struct claim *c);

/*
 * leases_grant, leases_revoke - whose turn it is now, and who must make room
 *
 * Each call changes the state of one and returns it, to be told; NULL: nobody. Ask both
 * until then after each change, and when leases_wait_us() is over.
 */
struct claim *leases_grant(struct leases *ls, uint64_t now);
struct claim *leases_revoke(struct leases *ls, uint64_t now);
/* Microseconds until one of them has somebody; UINT64_MAX: not before the next change. */
uint64_t leases_wait_us(const struct leases *ls, uint64_t now);

#endif
