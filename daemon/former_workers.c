#include "daemon/former_workers.h"

#include <dirent.h>
#include <limits.h>
#include <string.h>

#include "common/chan.h"
#include "common/parse.h"
#include "common/proc.h"
#include "daemon/caller.h"
#include "daemon/log.h"

/* A worker gets its page map with its assignment, before it opens anything. */
#define EARLY_FDS 64

static bool link_begins(const char *path, const char *with)
{
	char to[PATH_MAX];
	ssize_t n = readlink(path, to, sizeof(to) - 1);

	to[n > 0 ? n : 0] = '\0';
	return strncmp(to, with, strlen(with)) == 0;
}

/* By the name that the worker gives itself, which its holder changes. */
static bool is_worker(pid_t pid)
{
	cleanup_file FILE *f = NULL;
	char path[64], name[32] = "";

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	return f && fgets(name, sizeof(name), f) && strcmp(name, CHAN_WORKER "\n") == 0;
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

/* The effective ids: the files in /proc of a process that is not dumpable belong to root. */
static bool user_of(pid_t pid, struct sock_peer *ret)
{
	cleanup_file FILE *f = NULL;
	char path[64], line[256];
	unsigned uid = 0, gid = 0;
	int found = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		found += sscanf(line, "Uid: %*u %u", &uid) == 1 ||
			 sscanf(line, "Gid: %*u %u", &gid) == 1;
	*ret = (struct sock_peer){.pid = pid, .uid = uid, .gid = gid};
	return found == 2;
}

static void count(const struct host *host, const struct sock_peer *who, int *pidfd)
{
	struct sock_peer served = worker_user_caller(&host->user, who);
	struct caller caller;

	caller_resolve(&host->tenants, &served, &caller);
	if (!caller.tenant[0])
		caller_user_tenant(served.uid, caller.tenant);
	log_warning("a worker of a former daemon has not ended", "pid=%d tenant=%s", (int)who->pid,
		    caller.tenant);
	pool_count_former(host->pool, who->pid, pidfd, caller.tenant);
}

static void look_at(const struct host *host, const struct table *table, const char *maps, pid_t pid)
{
	cleanup_fd int pidfd = -1;
	struct sock_peer who;
	struct err err;

	/* The pidfd comes first, so that all that follows is about that process. */
	if (!is_worker(pid) || proc_pidfd(pid, &pidfd, &err) || !has_map(pid, maps) ||
	    !user_of(pid, &who) || table_of_worker(table, pid, proc_start_time(pid)) ||
	    proc_ended(pidfd))
		return;
	count(host, &who, &pidfd);
}

void former_workers_find(const struct host *host, const struct table *table)
{
	char path[CONF_PATH_MAX + 1], maps[PATH_MAX + 1];
	struct dirent *e;
	uint64_t pid;
	DIR *dir;

	host_path(host, "maps", "", path);
	dir = opendir("/proc");
	if (!dir || !realpath(path, maps)) {
		if (dir)
			closedir(dir);
		return;
	}
	strcat(maps, "/");
	while ((e = readdir(dir)))
		if (parse_u64(e->d_name, 1, INT32_MAX, &pid))
			look_at(host, table, maps, (pid_t)pid);
	closedir(dir);
}
