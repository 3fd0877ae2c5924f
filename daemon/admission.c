#include "daemon/admission.h"

#include <string.h>
#include <sys/statvfs.h>

#include "daemon/caller.h"
#include "daemon/usage.h"

/* The page map of a guest of 16 GiB. */
#define RUN_DIR_BYTES ((uint64_t)1 << 20)

/* ---- the request ---- */

static int default_socket(const struct host *host, const char *key, struct spec *spec,
			  struct err *err)
{
	char path[CONF_PATH_MAX + 1];

	if (spec->socket_path[0])
		return 0;
	host_path(host, "uffd", key, path);
	if (strlen(path) > PROTO_SUN_MAX)
		return err_set(err, ERR_INVALID,
			       "socket.path: %s has %zu bytes, a Unix socket may "
			       "have %d: choose a shorter run directory, or name a path",
			       path, strlen(path), PROTO_SUN_MAX);
	memcpy(spec->socket_path, path, strlen(path) + 1);
	return 0;
}

static int check_caller(const struct host *host, const struct sock_peer *peer, struct err *err)
{
	if (worker_user_is(&host->user, peer->uid))
		return err_set(err, ERR_DENIED,
			       "uid %u is the workers' own, and no caller's: see worker_uid",
			       (unsigned)peer->uid);
	if (geteuid() == 0 || peer->uid == geteuid())
		return 0;
	return err_set(err, ERR_DENIED,
		       "uffdd runs unprivileged, as uid %u, and cannot open "
		       "snapshots with the rights of uid %u: run it as root to serve others",
		       (unsigned)geteuid(), (unsigned)peer->uid);
}

static int check_spec(const struct host *host, const struct spec *spec, struct err *err)
{
	if (spec->connect_timeout_ms > host->conf.connect_timeout_max_ms)
		return err_set(err, ERR_INVALID,
			       "connect_timeout: %llu ms is more than the "
			       "configured connect_timeout_max, %llu ms",
			       (unsigned long long)spec->connect_timeout_ms,
			       (unsigned long long)host->conf.connect_timeout_max_ms);
	return 0;
}

/* A tenant's socket is its own: the supervisor, as root, could give it to anybody. */
static int check_owner(const struct host *host, const struct spec *spec,
		       const struct sock_peer *peer, struct err *err)
{
	const struct tenant *t = tenants_find(&host->tenants, spec->tenant);
	struct user_set own = t ? t->users : (struct user_set){0};
	struct user_set gid = {.gids = (uint32_t *)&spec->socket_gid, .ngids = 1};
	struct caller caller;

	caller_resolve(&host->tenants, peer, &caller);
	if (caller.role == ROLE_ADMIN)
		return 0;
	if (spec->socket_uid != peer->uid && !user_set_has_uid(&own, spec->socket_uid))
		return err_set(err, ERR_DENIED, "socket.uid: %u is not a user of tenant %s",
			       spec->socket_uid, spec->tenant);
	if (!user_set_has_group_of(&gid, peer) && !user_set_has_gid(&own, spec->socket_gid))
		return err_set(err, ERR_DENIED,
			       "socket.gid: %u is neither a group of yours nor of tenant %s",
			       spec->socket_gid, spec->tenant);
	return 0;
}

int admission_request(const struct host *host, const char *key, struct spec *spec,
		      const struct sock_peer *peer, struct err *err)
{
	return check_caller(host, peer, err) || default_socket(host, key, spec, err) ||
			       check_spec(host, spec, err) || check_owner(host, spec, peer, err)
		       ? -1
		       : 0;
}

/* ---- how many ---- */

static int check_host_quota(const struct host *host, const struct table *table, struct err *err)
{
	struct usage all;

	usage_count(table, host->pool, NULL, &all);
	if (all.of[BUDGET_RESTORES] < host->conf.max_restores)
		return 0;
	return err_set(err, ERR_QUOTA, "this host has %llu of %llu restores (max_restores)",
		       (unsigned long long)all.of[BUDGET_RESTORES],
		       (unsigned long long)host->conf.max_restores);
}

void admission_left(const struct host *host, const struct table *table, const char *tenant,
		    struct budgets *ret)
{
	struct usage own;

	usage_count(table, host->pool, tenant, &own);
	for (enum budget b = 0; b < BUDGET_COUNT; b++) {
		uint64_t most = tenants_budget(&host->tenants, &host->conf, tenant, b);

		ret->of[b] = most > own.of[b] ? most - own.of[b] : 0;
	}
}

/* Records of what has ended make room by themselves (retention.h). */
static bool is_taken(enum budget b)
{
	return budget_is_counted(b) && b != BUDGET_RECORDS;
}

static int check_tenant_quota(const struct host *host, const struct table *table,
			      const char *tenant, struct err *err)
{
	struct budgets left;

	admission_left(host, table, tenant, &left);
	for (enum budget b = 0; b < BUDGET_COUNT; b++)
		if (is_taken(b) && !left.of[b])
			return err_set(err, ERR_QUOTA, "tenant %s has all of its budget of %llu %s",
				       tenant,
				       (unsigned long long)tenants_budget(&host->tenants,
									  &host->conf, tenant, b),
				       budget_name(b));
	return 0;
}

int admission_quota(const struct host *host, const struct table *table, const char *tenant,
		    struct err *err)
{
	return check_host_quota(host, table, err) || check_tenant_quota(host, table, tenant, err)
		       ? -1
		       : 0;
}

/* ---- ready ---- */

static int check_run_dir(const struct host *host, struct err *err)
{
	const char *dir = host->conf.run_dir;
	struct statvfs fs;
	uint64_t left;

	if (statvfs(dir, &fs))
		return err_sys(err, "the run directory %s", dir);
	left = (uint64_t)fs.f_bavail * fs.f_frsize;
	/* A tmpfs without a limit says that it has no blocks at all. */
	if (!fs.f_blocks || left >= RUN_DIR_BYTES)
		return 0;
	return err_set(err, ERR_UNREADY,
		       "the run directory %s has %llu bytes left for page maps: make it larger, "
		       "or end restores",
		       dir, (unsigned long long)left);
}

int admission_ready(const struct host *host, const struct table *table,
		    const struct capacity *capacity, struct err *err)
{
	if (journal_check(host->journal, err) == 0 && pool_check(host->pool, err) == 0 &&
	    check_host_quota(host, table, err) == 0 && capacity_check(capacity, err) == 0 &&
	    check_run_dir(host, err) == 0)
		return 0;
	err->code = ERR_UNREADY;
	return -1;
}
