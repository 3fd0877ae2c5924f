#include "daemon/former_workers.h"

#include <dirent.h>
#include <limits.h>
#include <string.h>

#include "common/chan.h"
#include "common/parse.h"
#include "common/proc.h"
#include "daemon/caller.h"
#include "daemon/descriptors.h"
#include "daemon/log.h"

/* A worker gets its page map with its assignment, before it opens anything. */
#define EARLY_FDS 64

static FILE *open_proc(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return fopen(path, "re");
}

/* By the name that the worker gives itself, which its holder changes. */
static bool is_worker(pid_t pid)
{
	cleanup_file FILE *f = open_proc(pid, "comm");
	char name[32] = "";

	return f && fgets(name, sizeof(name), f) && strcmp(name, CHAN_WORKER "\n") == 0;
}

static bool link_begins(const char *path, const char *with)
{
	char to[PATH_MAX];
	ssize_t n = readlink(path, to, sizeof(to) - 1);

	to[n > 0 ? n : 0] = '\0';
	return strncmp(to, with, strlen(with)) == 0;
}

/* A page map that was removed is still named by its path. */
static bool has_map(pid_t pid, const char *maps)
{
	char path[64];

	for (int fd = 0; fd < EARLY_FDS; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
		if (link_begins(path, maps))
			return true;
	}
	return false;
}

static void read_groups(const char *p, struct sock_peer *who)
{
	char *end;

	for (who->ngroups = 0; who->ngroups < SOCK_GROUPS_MAX; p = end) {
		unsigned long gid = strtoul(p, &end, 10);

		if (end == p)
			return;
		who->groups[who->ngroups++] = (gid_t)gid;
	}
}

/* The effective ids: the files in /proc of a process that is not dumpable belong to root. */
static bool user_of(pid_t pid, struct sock_peer *ret)
{
	cleanup_file FILE *f = open_proc(pid, "status");
	cleanup_free char *line = NULL;
	unsigned uid = 0, gid = 0;
	size_t size = 0;
	int found = 0;

	*ret = (struct sock_peer){.pid = pid};
	while (f && getline(&line, &size, f) > 0) {
		found += sscanf(line, "Uid: %*u %u", &uid) == 1 ||
			 sscanf(line, "Gid: %*u %u", &gid) == 1;
		if (strncmp(line, "Groups:", strlen("Groups:")) == 0)
			read_groups(line + strlen("Groups:"), ret);
	}
	ret->uid = uid;
	ret->gid = gid;
	return found == 2;
}

/* Whose worker it is by a row that holds it no more, or else by its user. */
static void tenant_of(const struct host *host, const struct restore *r, const struct sock_peer *who,
		      char *ret)
{
	struct sock_peer served = worker_user_caller(&host->user, who);
	struct caller caller;

	caller_resolve(&host->tenants, &served, &caller);
	if (!caller.tenant[0])
		caller_user_tenant(served.uid, caller.tenant);
	snprintf(ret, PROTO_ID_MAX + 1, "%s", r ? r->rec.tenant : caller.tenant);
}

/*
 * A tenant with as many as it may have gets no other anyway. Whoever makes processes that look like
 * workers must not take all descriptors.
 */
static bool has_room(const struct host *host, const char *tenant)
{
	return pool_abandoned(host->pool, tenant) <
		       tenants_budget(&host->tenants, &host->conf, tenant, BUDGET_WORKERS) &&
	       descriptors_used() < descriptors_limit() / 2;
}

static void look_at(const struct host *host, const struct table *table, const char *maps, pid_t pid)
{
	char tenant[PROTO_ID_MAX + 1];
	const struct restore *r;
	cleanup_fd int pidfd = -1;
	struct sock_peer who;
	struct err err;

	/* The pidfd comes first, so that all that follows is about that process. */
	if (proc_pidfd(pid, &pidfd, &err) || !is_worker(pid) || !user_of(pid, &who))
		return;
	r = table_of_worker(table, pid, proc_start_time(pid));
	if (proc_ended(pidfd) || (r ? restore_stands(r) : !has_map(pid, maps)))
		return;
	tenant_of(host, r, &who, tenant);
	if (!has_room(host, tenant))
		return;
	log_warning("a worker of a former daemon has not ended", "pid=%d tenant=%s", (int)pid,
		    tenant);
	pool_count_former(host->pool, pid, &pidfd, tenant);
}

void former_workers_find(const struct host *host, const struct table *table)
{
	char path[CONF_PATH_MAX + 1], real[PATH_MAX], maps[PATH_MAX + 1];
	struct dirent *e;
	uint64_t pid;
	DIR *dir;

	host_path(host, "maps", "", path);
	if (!realpath(path, real))
		return;
	snprintf(maps, sizeof(maps), "%s/", real);
	dir = opendir("/proc");
	while (dir && (e = readdir(dir)))
		if (parse_u64(e->d_name, 1, INT32_MAX, &pid))
			look_at(host, table, maps, (pid_t)pid);
	if (dir)
		closedir(dir);
}
