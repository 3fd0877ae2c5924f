/*
 * usage - what a tenant has of this host now
 *
 * Counted from the restores that are there, not kept beside them: so nothing leaks, and it is the
 * same after a restart.
 */
#ifndef UFFDD_USAGE_H
#define UFFDD_USAGE_H

#include "daemon/budget.h"
#include "daemon/table.h"

struct usage { /* by enum budget */
	uint64_t of[BUDGET_COUNT];
};

/* @tenant: NULL: of all tenants together. @pool: NULL: no workers but of restores. O(restores). */
void usage_count(const struct table *table, const struct pool *pool, const char *tenant,
		 struct usage *ret);
/* @r, which was counted, is about to go. */
void usage_less(struct usage *u, const struct restore *r);
/* Does the tenant have anything here, also a record of what has ended? O(restores). */
bool usage_any(const struct table *table, const char *tenant);

#endif
