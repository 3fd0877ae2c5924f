/*
 * leases - who may prefetch now: at most so many restores at a time, fair between tenants
 *
 * Pure: time is an argument, and the caller sends the messages. A restore that waits stands in the
 * queue of its tenant, first come first served. Tenants take turns, so a tenant with a hundred
 * restores gets no more turns than a tenant with one; a tenant with a share of 3 gets three turns
 * for each one of a tenant with a share of 1. While any restore waits, a lease is kept for a slice;
 * otherwise for as long as its restore wants.
 *
 *            ask             leases_grant        leases_revoke           no answer
 *   none ───────► waiting ───────────────► held ───────────────► revoked ─────────► overdue
 *    ▲               ▲                      │                       │                  │
 *    │               └───────── ask ────────┴───────────────────────┴──────────────────┤
 *    └───────────────────────── back (from any state) ─────────────────────────────────┘
 *
 * Held and revoked leases count against the bound. An overdue one does not: its worker is stopped
 * or hangs, and must not keep others waiting.
 *
 * Turns: each tenant that waits has a time on a clock of turns at which its next one is due: a turn,
 * divided by its share, after its last one, or after now if it has not waited. The tenant that is
 * due first is next, and then it is that time (self-clocked fair queueing).
 *
 * Everything is O(1), except O(tenants that wait) when the place of a tenant is looked for.
 */
#ifndef UFFDD_LEASES_H
#define UFFDD_LEASES_H

#include <sys/queue.h>

#include "common/proto.h"

enum claim_state { CLAIM_NONE, CLAIM_WAITING, CLAIM_HELD, CLAIM_REVOKED, CLAIM_OVERDUE };

struct leases_tenant;

/* A restore's claim to a lease; all zero at first. May be freed while it is CLAIM_NONE. */
struct claim {
	enum claim_state state;
	uint32_t ask;                 /* number of the last ask, repeated in the grant */
	uint64_t since_us;            /* when the lease was granted, or revoked */
	struct leases_tenant *tenant; /* while waiting */
	TAILQ_ENTRY(claim) link;
};
TAILQ_HEAD(claims, claim);

struct leases {
	uint64_t max;                           /* bound on counted; at least 1 */
	uint64_t slice_us;                      /* how long a lease is kept while others wait */
	uint64_t answer_us;                     /* how long a revoked worker may take to answer */
	uint64_t waiting;                       /* claims in all queues */
	uint64_t counted;                       /* held and revoked */
	uint64_t called;                        /* revoked */
	struct claims held, revoked;            /* oldest first */
	uint64_t now;                           /* on the clock of turns */
	TAILQ_HEAD(turns, leases_tenant) turns; /* tenants with restores that wait, due first */
	void *tenants;                          /* the same tenants by name: a tree of tsearch() */
};

/* @max: at least 1. */
void leases_init(struct leases *ls, uint64_t max, uint64_t slice_us, uint64_t answer_us);

/*
 * The restore holds no lease (any more) and wants one. @ask numbers the wish, for the grant. A
 * claim that waits already keeps its place. @tenant is copied. @share: of the tenant, at least 1.
 */
void leases_ask(struct leases *ls, struct claim *c, const char *tenant, uint64_t share,
		uint32_t ask);
/* The restore holds no lease (any more) and wants none, or is about to be freed. */
void leases_back(struct leases *ls, struct claim *c);

/*
 * leases_grant, leases_revoke - the next restore to get a lease, or to give one back
 *
 * Each call changes the state of one claim and returns it, so that its worker is told; NULL: none.
 * After each change, and when leases_wait_us() is over, call both until they return NULL. @now: us.
 */
struct claim *leases_grant(struct leases *ls, uint64_t now);
struct claim *leases_revoke(struct leases *ls, uint64_t now);
/* Microseconds until one of them returns a claim; UINT64_MAX: not before the next change. */
uint64_t leases_wait_us(const struct leases *ls, uint64_t now);

#endif
