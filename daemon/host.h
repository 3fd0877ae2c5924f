/*
 * host - what all restores of this host share
 *
 * The supervisor sets up and owns one struct host; every restore borrows it. Restores report to the
 * supervisor through the hooks.
 */
#ifndef UFFDD_HOST_H
#define UFFDD_HOST_H

#include "daemon/conf.h"
#include "daemon/journal.h"
#include "daemon/lease_scheduler.h"
#include "daemon/pool.h"
#include "daemon/run_dir.h"
#include "daemon/tenants.h"
#include "daemon/worker_user.h"
#include "daemon/wset_store.h"

struct event_base;
struct reconnect;
struct restore;
struct tenant_cgroup;

struct host_hooks {
	/* The state or a flag of @restore has changed. Does not free it. */
	void (*changed)(void *arg, struct restore *restore);
	/* @restore has ended: keep its record for the retention time. Does not free it at once. */
	void (*ended)(void *arg, struct restore *restore);
	/* @restore could not be created. Removes it from the table and frees it. */
	void (*create_failed)(void *arg, struct restore *restore);
	/* The VMM of @restore is another process than was thought: carry out a pending stop. */
	void (*found)(void *arg, struct restore *restore);
	/* What the tenant of @restore, which is being created, may have beside its others. */
	void (*left)(void *arg, const struct restore *restore, struct budgets *ret);
	/* Are descriptors left for a connection that is accepted now? */
	bool (*room)(void *arg);
};

struct host {
	struct event_base *base;
	struct conf conf;       /* a copy */
	struct tenants tenants; /* owned */
	struct worker_user user;
	struct store *store;
	struct journal *journal;
	struct pool *pool;
	struct reconnect *reconnect;
	struct lease_scheduler *leases;
	struct wset_store *wset_store;
	struct tenant_cgroup *cgroup;            /* NULL: none is configured (placement.h) */
	char boot_id[BOOT_ID_LEN + 1];           /* of this boot; see run_dir_boot_id() */
	const struct worker_hooks *worker_hooks; /* of all workers; @arg: the restore */
	const struct host_hooks *hooks;
	void *arg; /* of the hooks */
};

/* The path <run_dir>/<what>/<key>; @ret has room for CONF_PATH_MAX + 1 bytes. */
static inline void host_path(const struct host *host, const char *what, const char *key, char *ret)
{
	snprintf(ret, CONF_PATH_MAX + 1, "%s/%s/%s", host->conf.run_dir, what, key);
}

#endif
