/*
 * former_workers - workers of a former daemon that no row holds: found at start, counted until they end
 *
 * A worker that waits for a tenant's file system may outlive the daemon that started or killed it. A
 * tenant must not have more workers for a restart. A worker that comes back after all is adopted
 * (orphan.h), and counted with its restore.
 */
#ifndef UFFDD_FORMER_WORKERS_H
#define UFFDD_FORMER_WORKERS_H

#include "daemon/table.h"

/*
 * Has host->pool count each process that runs the worker program and is the worker of a row that
 * stands no more (restore_stands), or has a page map in our run directory open and is in no row.
 * For the tenant of the row, or else of the process's user: what root had asked for another tenant
 * counts for root's own.
 *
 * To be called once, before the pool has workers of its own. Asks the kernel alone, about each
 * process of this host. Does not see the page map of a worker that is in its exit, nor, unless this
 * is root, of any other.
 */
void former_workers_find(const struct host *host, const struct table *table);

#endif
