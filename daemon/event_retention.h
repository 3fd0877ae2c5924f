/*
 * event_retention - how many events are kept: of each tenant, and of all
 *
 * Each tenant keeps its newest ones, as many as its budget says. If all of them together are still
 * too many, those who have most lose their oldest, until all have equally many at most. So no tenant
 * pushes out another's events by its own.
 */
#ifndef UFFDD_EVENT_RETENTION_H
#define UFFDD_EVENT_RETENTION_H

#include "daemon/store.h"
#include "daemon/tenants.h"

/*
 * Removes what is too old or too many (event_retention_age, event_retention_count, budgets). 0, or
 * -1 with the store's error; the next call goes on. O(events), if there are many new ones.
 */
struct event_retention {
	uint64_t looked_at; /* the newest event when events were counted last; 0: never */
};
int event_retention_run(struct event_retention *er, struct store *store, const struct tenants *ts,
			const struct conf *conf, int64_t now_ms, struct err *err);

/*
 * event_retention_level - the greatest level with which the sum of min(counts[i], level) is at most
 *	@most; UINT64_MAX: no bound is needed
 * @counts: sorted by this function
 */
uint64_t event_retention_level(uint64_t *counts, size_t n, uint64_t most);

#endif
