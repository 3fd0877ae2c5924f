#include "daemon/event_retention.h"

#include <stdlib.h>

/* Counting walks through an index: not for every handful of events. */
#define COUNT_EVERY 256

struct owner {
	char tenant[PROTO_ID_MAX + 1];
	uint64_t events, most;
};

struct owners {
	const struct tenants *ts;
	const struct conf *conf;
	struct owner *v; /* owned */
	size_t n, cap;
};

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

uint64_t event_retention_level(uint64_t *counts, size_t n, uint64_t most)
{
	qsort(counts, n, sizeof(*counts), by_number);
	for (size_t i = 0; i < n; i++) {
		uint64_t share = most / (n - i);

		if (counts[i] > share)
			return share;
		most -= counts[i];
	}
	return UINT64_MAX;
}

static int on_count(void *arg, const char *tenant, uint64_t events, struct err *err)
{
	struct owners *os = arg;
	struct owner *o;

	(void)err;
	if (os->n == os->cap) {
		size_t cap = os->cap ? 2 * os->cap : 64;
		struct owner *v = xcalloc(cap, sizeof(*v));

		for (size_t i = 0; i < os->n; i++)
			v[i] = os->v[i];
		free(os->v);
		os->v = v;
		os->cap = cap;
	}
	o = &os->v[os->n++];
	snprintf(o->tenant, sizeof(o->tenant), "%s", tenant);
	o->events = events;
	/* The daemon's own are no tenant's, and few. */
	o->most = *tenant ? tenants_budget(os->ts, os->conf, tenant, BUDGET_EVENTS) : UINT64_MAX;
	return 0;
}

static int trim_owners(const struct owners *os, struct store *store, struct err *err)
{
	cleanup_free uint64_t *counts = xcalloc(os->n + 1, sizeof(*counts));
	uint64_t level;

	for (size_t i = 0; i < os->n; i++)
		counts[i] = min_u64(os->v[i].events, os->v[i].most);
	level = event_retention_level(counts, os->n, os->conf->event_retention_count);
	for (size_t i = 0; i < os->n; i++) {
		uint64_t keep = min_u64(os->v[i].most, level);

		if (os->v[i].events > keep && store_trim_tenant(store, os->v[i].tenant, keep, err))
			return -1;
	}
	return 0;
}

/* Fewer than all that may be there is not too many. */
static bool may_be_many(const struct event_retention *er, const struct conf *conf, uint64_t newest)
{
	uint64_t step = min_u64(COUNT_EVERY, conf->event_retention_count);

	step = min_u64(step, conf->events_per_tenant);
	return !er->looked_at || newest - er->looked_at >= step;
}

int event_retention_run(struct event_retention *er, struct store *store, const struct tenants *ts,
			const struct conf *conf, int64_t now_ms, struct err *err)
{
	struct owners os = {.ts = ts, .conf = conf};
	uint64_t oldest, newest;
	int rc;

	if (store_trim_events(store, now_ms - (int64_t)conf->event_retention_age_ms, err) ||
	    store_event_range(store, NULL, &oldest, &newest, err))
		return -1;
	if (!may_be_many(er, conf, newest))
		return 0;
	rc = store_event_counts(store, on_count, &os, err) || trim_owners(&os, store, err) ? -1 : 0;
	free(os.v);
	if (rc == 0)
		er->looked_at = newest;
	return rc;
}
