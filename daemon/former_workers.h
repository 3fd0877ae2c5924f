/*
 * former_workers - workers of a former daemon that no row knows: found at start, counted until they end
 *
 * A worker that waits for a tenant's file system may outlive the daemon that started or killed it. A
 * tenant must not have more workers for a restart. Whoever comes back after all is adopted (orphan.h),
 * and counted with its restore.
 */
#ifndef UFFDD_FORMER_WORKERS_H
#define UFFDD_FORMER_WORKERS_H

#include "daemon/table.h"

/*
 * Has host->pool count each process that runs the worker program, has a page map in our run
 * directory open, and is in no row of @table: for the tenant of its user. To be called once, before
 * the pool has workers of its own. Asks the kernel alone, about each process of this host.
 */
void former_workers_find(const struct host *host, const struct table *table);

#endif
