#include "daemon/leases.h"

#include <search.h>
#include <string.h>

#define TURN ((uint64_t)1 << 32) /* of a tenant with a share of 1, on the clock of turns */

struct leases_tenant {
	char name[PROTO_ID_MAX + 1]; /* first: the tree compares it */
	uint64_t share, due;
	struct claims queue;
	TAILQ_ENTRY(leases_tenant) link;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

void leases_init(struct leases *ls, uint64_t max, uint64_t slice_us, uint64_t answer_us)
{
	*ls = (struct leases){.max = max, .slice_us = slice_us, .answer_us = answer_us};
	TAILQ_INIT(&ls->held);
	TAILQ_INIT(&ls->revoked);
	TAILQ_INIT(&ls->turns);
}

/* ---- the queue ---- */

/* Behind those that are due no later: of equals, the first that came is next. */
static void await_turn(struct leases *ls, struct leases_tenant *t)
{
	struct leases_tenant *before = TAILQ_LAST(&ls->turns, turns);

	while (before && before->due > t->due)
		before = TAILQ_PREV(before, turns, link);
	if (before)
		TAILQ_INSERT_AFTER(&ls->turns, before, t, link);
	else
		TAILQ_INSERT_HEAD(&ls->turns, t, link);
}

static struct leases_tenant *tenant_of(struct leases *ls, const char *name, uint64_t share)
{
	struct leases_tenant **found = tfind(name, &ls->tenants, by_name);
	struct leases_tenant *t;

	if (found) {
		(*found)->share = share;
		return *found;
	}
	t = xcalloc(1, sizeof(*t));
	snprintf(t->name, sizeof(t->name), "%s", name);
	TAILQ_INIT(&t->queue);
	if (!tsearch(t, &ls->tenants, by_name))
		abort();
	t->share = share;
	t->due = ls->now + TURN / share;
	await_turn(ls, t);
	return t;
}

static void enqueue(struct leases *ls, struct claim *c, const char *tenant, uint64_t share)
{
	c->tenant = tenant_of(ls, tenant, share);
	TAILQ_INSERT_TAIL(&c->tenant->queue, c, link);
	c->state = CLAIM_WAITING;
	ls->waiting++;
}

/* A tenant without waiting restores is freed. */
static void dequeue(struct leases *ls, struct claim *c)
{
	struct leases_tenant *t = steal_ptr(&c->tenant);

	TAILQ_REMOVE(&t->queue, c, link);
	ls->waiting--;
	if (!TAILQ_EMPTY(&t->queue))
		return;
	TAILQ_REMOVE(&ls->turns, t, link);
	tdelete(t, &ls->tenants, by_name);
	free(t);
}

/* ---- held and revoked leases ---- */

static void hold(struct leases *ls, struct claim *c, uint64_t now)
{
	TAILQ_INSERT_TAIL(&ls->held, c, link);
	c->state = CLAIM_HELD;
	c->since_us = now;
	ls->counted++;
}

static void leave(struct leases *ls, struct claim *c)
{
	switch (c->state) {
	case CLAIM_WAITING:
		dequeue(ls, c);
		break;
	case CLAIM_HELD:
		TAILQ_REMOVE(&ls->held, c, link);
		ls->counted--;
		break;
	case CLAIM_REVOKED:
		TAILQ_REMOVE(&ls->revoked, c, link);
		ls->counted--;
		ls->called--;
		break;
	case CLAIM_NONE:
	case CLAIM_OVERDUE:
		break;
	}
	c->state = CLAIM_NONE;
}

void leases_ask(struct leases *ls, struct claim *c, const char *tenant, uint64_t share,
		uint32_t ask)
{
	c->ask = ask;
	if (c->state == CLAIM_WAITING)
		return;
	leave(ls, c);
	enqueue(ls, c, tenant, share);
}

void leases_back(struct leases *ls, struct claim *c)
{
	leave(ls, c);
}

/* ---- turns ---- */

static uint64_t left_us(uint64_t since, uint64_t span, uint64_t now)
{
	return now - since < span ? span - (now - since) : 0;
}

/* They are in order of their time, so only the oldest are looked at. */
static void give_up_overdue(struct leases *ls, uint64_t now)
{
	struct claim *c;

	while ((c = TAILQ_FIRST(&ls->revoked)) && !left_us(c->since_us, ls->answer_us, now)) {
		leave(ls, c);
		c->state = CLAIM_OVERDUE;
	}
}

struct claim *leases_grant(struct leases *ls, uint64_t now)
{
	struct leases_tenant *t = TAILQ_FIRST(&ls->turns);
	struct claim *c;

	if (!t)
		return NULL;
	give_up_overdue(ls, now);
	if (ls->counted >= ls->max)
		return NULL;
	c = TAILQ_FIRST(&t->queue);
	ls->now = t->due;
	t->due += TURN / t->share;
	TAILQ_REMOVE(&ls->turns, t, link);
	await_turn(ls, t);
	dequeue(ls, c);
	hold(ls, c, now);
	return c;
}

struct claim *leases_revoke(struct leases *ls, uint64_t now)
{
	struct claim *c = TAILQ_FIRST(&ls->held);

	/* No more leases are revoked than are waited for. */
	if (!c || ls->called >= ls->waiting || left_us(c->since_us, ls->slice_us, now))
		return NULL;
	TAILQ_REMOVE(&ls->held, c, link);
	TAILQ_INSERT_TAIL(&ls->revoked, c, link);
	c->state = CLAIM_REVOKED;
	c->since_us = now;
	ls->called++;
	return c;
}

uint64_t leases_wait_us(const struct leases *ls, uint64_t now)
{
	const struct claim *held = TAILQ_FIRST(&ls->held), *revoked = TAILQ_FIRST(&ls->revoked);
	uint64_t wait = UINT64_MAX;

	if (!ls->waiting)
		return UINT64_MAX;
	if (ls->counted < ls->max)
		return 0;
	if (held && ls->called < ls->waiting)
		wait = left_us(held->since_us, ls->slice_us, now);
	if (revoked)
		wait = min_u64(wait, left_us(revoked->since_us, ls->answer_us, now));
	return wait;
}
