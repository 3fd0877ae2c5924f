/*
 * host - what all restores of this host share
 *
 * Set up by the supervisor, borrowed by every live restore; what a restore has
 * to say goes back through the hooks.
 */
#ifndef UFFDD_HOST_H
#define UFFDD_HOST_H

#include "daemon/conf.h"
#include "daemon/journal.h"
#include "daemon/lease_scheduler.h"
#include "daemon/pool.h"
#include "daemon/run_dir.h"
#include "daemon/wset_store.h"

struct event_base;
struct reconnect;
struct restore;

struct host_hooks {
	/* Its state or flags changed; it may be waited for. */
	void (*changed)(void *arg, struct restore *restore);
	/* It was released: keep its record for the retention time. */
	void (*ended)(void *arg, struct restore *restore);
	/* It could not be created: remove and free it. */
	void (*create_failed)(void *arg, struct restore *restore);
	/* Its VMM is another process than was thought: what was wanted of it may be done now. */
	void (*found)(void *arg, struct restore *restore);
	/* Are there descriptors for whoever just comes? */
	bool (*room)(void *arg);
};

struct host {
	struct event_base *base;
	struct conf conf;
	struct journal *journal;
	struct pool *pool;
	struct reconnect *reconnect;
	struct lease_scheduler *leases;
	struct wset_store *wset_store;
	char boot_id[BOOT_ID_LEN + 1];
	const struct worker_hooks *worker_hooks; /* of every restore's worker; @arg: the restore */
	const struct host_hooks *hooks;
	void *arg;
};

/* <run>/<what>/<id>; @ret has room for CONF_PATH_MAX + 1. */
static inline void host_path(const struct host *host, const char *what, const char *id, char *ret)
{
	snprintf(ret, CONF_PATH_MAX + 1, "%s/%s/%s", host->conf.run_dir, what, id);
}

#endif
