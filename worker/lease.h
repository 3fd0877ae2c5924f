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
 * What a holder took is paid at the lease's rate before it gives the lease away, so
 * that all together keep to the host's limit. While the supervisor is away no
 * lease is needed; a new one knows of none, so it all begins again.
 */
#ifndef UFFDD_LEASE_H
#define UFFDD_LEASE_H

#include "worker/supervisor_link.h"

/* Whoever still waits then says so again, should the answer be lost. */
#define LEASE_AGAIN_US ((uint64_t)5 * 1000 * 1000)

enum lease_state { LEASE_NONE, LEASE_ASKED, LEASE_HELD, LEASE_RETURNING };

struct lease {
	struct supervisor_link *link; /* borrowed */
	enum lease_state state;
	uint32_t ask;              /* number of the last ASK */
	uint64_t again_us;         /* asked: when to ask again */
	uint64_t rate_bytes_per_s; /* held: of snapshot data, 0: no limit */
	uint64_t paid_us;          /* until then what was taken is being paid */
};

void lease_init(struct lease *l, struct supervisor_link *link);
/* There is another supervisor. */
void lease_anew(struct lease *l);

/* Neither held nor asked for. */
static inline bool lease_idle(const struct lease *l)
{
	return l->state == LEASE_NONE;
}

/* Its messages. */
void lease_granted(struct lease *l, const struct chan_lease *grant);
void lease_revoked(struct lease *l);

/*
 * lease_turn - ask or give back, as things are
 * @need_us: until prefetch, were it alone, would take a step; UINT64_MAX: it has nothing to do
 */
void lease_turn(struct lease *l, uint64_t need_us, uint64_t now);
/* A step took so much out of the snapshot. */
void lease_spend(struct lease *l, uint64_t bytes, uint64_t now);

/* Microseconds until the lease allows a step; UINT64_MAX: there is none. */
uint64_t lease_wait_us(const struct lease *l, uint64_t now);
/* Microseconds until lease_turn() has something to do; UINT64_MAX: not as things are. */
uint64_t lease_alarm_us(const struct lease *l, uint64_t need_us, uint64_t now);

#endif
