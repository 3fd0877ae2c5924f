#include "daemon/pace.h"

#include <search.h>
#include <string.h>

#include "common/proto.h"

#define SECOND_US ((uint64_t)1000000)
#define TIDY_MIN 64

/*
 * The virtual time of the generic cell rate algorithm: each call adds its share of a second to the
 * later of then and now; a call is refused if that is more than a second ahead.
 */
struct tenant_pace {
	char name[PROTO_ID_MAX + 1]; /* first: the tree compares it */
	uint64_t until_us;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* ---- those that are quiet again ---- */

struct quiet {
	uint64_t now_us;
	struct tenant_pace **v; /* owned, room for all */
	size_t n;
};

static void note_quiet(const void *node, VISIT visit, void *arg)
{
	struct tenant_pace *t = *(struct tenant_pace *const *)node;
	struct quiet *q = arg;

	if ((visit == postorder || visit == leaf) && t->until_us <= q->now_us)
		q->v[q->n++] = t;
}

static void tidy(struct pace *p, uint64_t now_us)
{
	struct quiet q = {now_us, xcalloc(p->n + 1, sizeof(struct tenant_pace *)), 0};

	twalk_r(p->tenants, note_quiet, &q);
	for (size_t i = 0; i < q.n; i++) {
		tdelete(q.v[i], &p->tenants, by_name);
		free(q.v[i]);
	}
	free(q.v);
	p->n -= q.n;
	p->tidy_at = p->n * 2 > TIDY_MIN ? p->n * 2 : TIDY_MIN;
}

/* ---- calls ---- */

static struct tenant_pace *find(struct pace *p, const char *tenant, uint64_t now_us)
{
	struct tenant_pace **found = tfind(tenant, &p->tenants, by_name);
	struct tenant_pace *t;

	if (found)
		return *found;
	if (p->n >= p->tidy_at)
		tidy(p, now_us);
	t = xcalloc(1, sizeof(*t));
	snprintf(t->name, sizeof(t->name), "%s", tenant);
	if (!tsearch(t, &p->tenants, by_name))
		abort();
	p->n++;
	return t;
}

bool pace_take(struct pace *p, const char *tenant, uint64_t per_s, uint64_t now_us,
	       uint64_t *ret_wait_us)
{
	struct tenant_pace *t = find(p, tenant, now_us);
	uint64_t next = max_u64(t->until_us, now_us) + SECOND_US / per_s;

	if (next > now_us + SECOND_US) {
		*ret_wait_us = next - now_us - SECOND_US;
		return false;
	}
	t->until_us = next;
	return true;
}

void pace_fini(struct pace *p)
{
	tdestroy(p->tenants, free);
	*p = (struct pace){0};
}
