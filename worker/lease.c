#include "worker/lease.h"

/* Prefetch's need at this turn, and the supervisor's messages. */
enum lease_event {
	NEED_NONE,  /* prefetch has nothing to do */
	NEED_LATER, /* prefetch waits for a time: its own rate, or a removal */
	NEED_NOW,
	GRANTED,
	REVOKED,
	UNHEARD, /* an ASK of long ago is not answered */
};

/* The edges of the diagram in lease.h. Any other event changes nothing. */
/* clang-format off */
static const struct {
	enum lease_state from;
	enum lease_event on;
	enum lease_state to;
	enum chan_type say; /* CHAN_NONE: no message */
} edges[] = {
	{LEASE_NONE,      NEED_NOW,   LEASE_ASKED,     CHAN_LEASE_ASK},
	{LEASE_ASKED,     NEED_NONE,  LEASE_NONE,      CHAN_LEASE_BACK},
	{LEASE_ASKED,     UNHEARD,    LEASE_ASKED,     CHAN_LEASE_ASK},
	{LEASE_ASKED,     GRANTED,    LEASE_HELD,      CHAN_NONE},
	{LEASE_HELD,      NEED_NONE,  LEASE_RETURNING, CHAN_NONE},
	{LEASE_HELD,      REVOKED,    LEASE_RETURNING, CHAN_NONE},
	{LEASE_RETURNING, NEED_NONE,  LEASE_NONE,      CHAN_LEASE_BACK},
	{LEASE_RETURNING, NEED_LATER, LEASE_NONE,      CHAN_LEASE_BACK},
	{LEASE_RETURNING, NEED_NOW,   LEASE_ASKED,     CHAN_LEASE_ASK},
};
/* clang-format on */

static void say(struct lease *l, enum chan_type type, uint64_t now)
{
	struct chan_msg msg = {0};

	if (type == CHAN_LEASE_ASK) {
		msg.lease.ask = ++l->ask;
		l->again_us = now + LEASE_AGAIN_US;
	}
	supervisor_link_send(l->link, type, &msg, NULL, 0);
}

static void happen(struct lease *l, enum lease_event event, uint64_t now)
{
	for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
		if (edges[i].from != l->state || edges[i].on != event)
			continue;
		l->state = edges[i].to;
		if (edges[i].say != CHAN_NONE)
			say(l, edges[i].say, now);
		return;
	}
}

void lease_init(struct lease *l, struct supervisor_link *link)
{
	*l = (struct lease){.link = link};
}

void lease_anew(struct lease *l)
{
	l->state = LEASE_NONE;
	/* What was taken without a lease need not be paid for. */
	l->paid_us = 0;
}

void lease_granted(struct lease *l, const struct chan_lease *grant)
{
	if (grant->ask != l->ask)
		return;
	l->rate_bytes_per_s = grant->rate_bytes_per_s;
	happen(l, GRANTED, 0);
}

void lease_revoked(struct lease *l)
{
	happen(l, REVOKED, 0);
}

static uint64_t until(uint64_t then, uint64_t now)
{
	return then > now ? then - now : 0;
}

static enum lease_event need(uint64_t need_us)
{
	if (need_us == UINT64_MAX)
		return NEED_NONE;
	return need_us ? NEED_LATER : NEED_NOW;
}

void lease_turn(struct lease *l, uint64_t need_us, uint64_t now)
{
	if (l->link->chan < 0)
		return;
	if (l->state == LEASE_HELD)
		happen(l, need(need_us), now);
	if (l->state == LEASE_RETURNING && until(l->paid_us, now))
		return;
	if (l->state == LEASE_ASKED && !until(l->again_us, now))
		happen(l, UNHEARD, now);
	happen(l, need(need_us), now);
}

void lease_spend(struct lease *l, uint64_t bytes, uint64_t now)
{
	uint64_t rate = l->rate_bytes_per_s;

	if (l->state == LEASE_HELD && rate)
		l->paid_us = now + (uint64_t)(((__uint128_t)bytes * 1000000 + rate - 1) / rate);
}

uint64_t lease_wait_us(const struct lease *l, uint64_t now)
{
	if (l->link->chan < 0)
		return 0;
	return l->state == LEASE_HELD ? until(l->paid_us, now) : UINT64_MAX;
}

uint64_t lease_alarm_us(const struct lease *l, uint64_t need_us, uint64_t now)
{
	if (l->link->chan < 0)
		return UINT64_MAX;
	switch (l->state) {
	case LEASE_NONE:
		return need_us;
	case LEASE_ASKED:
		return until(l->again_us, now);
	case LEASE_RETURNING:
		return until(l->paid_us, now);
	case LEASE_HELD:
		break;
	}
	return UINT64_MAX;
}
