/*
 * lease - the supervisor's leave to prefetch
 *
 *              a step could be taken                GRANT of the last ASK
 *    none ─────────────ASK───────────► asked ─────────────────────────────► held
 *     ▲ ▲                              │  ▲                                   │
 *     │ └── nothing to do: BACK ───────┘  │ a step could be taken: ASK        │ REVOKE, or
 *     │                                   │                                   │ nothing to do
 *     └── not now: BACK ───────────── returning ◄─────────────────────────────┘
 *
 * A worker pays for what it took at the lease's rate before it gives the lease back, so that all
 * workers together keep to the host's limit. While the supervisor is away no lease is needed. A new
 * supervisor knows of no lease, so the worker begins at none again.
 */
#ifndef UFFDD_LEASE_H
#define UFFDD_LEASE_H

#include "worker/supervisor_link.h"

/* A worker that still waits after this time asks again, in case the answer was lost. */
#define LEASE_AGAIN_US ((uint64_t)5 * 1000 * 1000)

enum lease_state { LEASE_NONE, LEASE_ASKED, LEASE_HELD, LEASE_RETURNING };

struct lease {
	struct supervisor_link *link; /* borrowed */
	enum lease_state state;
	uint32_t ask;              /* number of the last ASK */
	uint64_t again_us;         /* asked: when to ask again, now_us() */
	uint64_t rate_bytes_per_s; /* held: of snapshot data; 0: no limit */
	uint64_t paid_us;          /* what was taken is paid for by then, now_us() */
};

/* @link is borrowed. */
void lease_init(struct lease *l, struct supervisor_link *link);
/* There is a new supervisor: back to none. */
void lease_anew(struct lease *l);

/* Neither held nor asked for. */
static inline bool lease_idle(const struct lease *l)
{
	return l->state == LEASE_NONE;
}

/* The messages GRANT and REVOKE. */
void lease_granted(struct lease *l, const struct chan_lease *grant);
void lease_revoked(struct lease *l);

/*
 * lease_turn - ask for the lease, or give it back, as needed
 * @need_us: microseconds until prefetch would take a step if it needed no lease; UINT64_MAX:
 *	never
 */
void lease_turn(struct lease *l, uint64_t need_us, uint64_t now);
/* A step took @bytes out of the snapshot. */
void lease_spend(struct lease *l, uint64_t bytes, uint64_t now);

/* Microseconds until the lease allows a step: 0 without a supervisor; UINT64_MAX: not held. */
uint64_t lease_wait_us(const struct lease *l, uint64_t now);
/* Microseconds until lease_turn() has something to do; UINT64_MAX: nothing for now. */
uint64_t lease_alarm_us(const struct lease *l, uint64_t need_us, uint64_t now);

#endif
