/*
 * tenant_cgroup - a cgroup for the workers of each tenant: what they may have, and what they take
 *
 *   TENANT_CGROUP              of the configuration (tenant_cgroup), delegated to uffdd
 *   TENANT_CGROUP/TENANT       made with the tenant's first worker, removed after its last
 *
 * Version 2 only. A name that is no tenant's is left alone. Limits of a cgroup with processes are
 * written by cgroup_writer, so nothing here waits for memory to become free.
 */
#ifndef UFFDD_TENANT_CGROUP_H
#define UFFDD_TENANT_CGROUP_H

#include <limits.h>
#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"
#include "common/proto.h"

struct json_object;

enum tenant_cgroup_kind { TENANT_CGROUP_MEMORY, TENANT_CGROUP_PIDS, TENANT_CGROUP_COUNT };

/* A few workers. With less the kernel would kill each worker at once, and guests would be lost. */
#define TENANT_CGROUP_MEMORY_MIN ((uint64_t)16 << 20)

struct tenant_cgroup {
	char path[PATH_MAX];
	int dir;                           /* owned */
	bool enabled[TENANT_CGROUP_COUNT]; /* the controllers, for the cgroups below */
	char own[PROTO_ID_MAX + 1]; /* the cgroup below in which the daemon is; "": none of them */
};

struct tenant_cgroup_limits {
	uint64_t of[TENANT_CGROUP_COUNT]; /* bytes, processes and threads; 0: no limit */
};

/*
 * tenant_cgroup_open - take the cgroup at @path into use
 *
 * Enables the controllers that the kernel has there for the cgroups below. Returns 0, or -1 with
 * ERR_PATH or ERR_STATE that names the path and the cure: no cgroup of version 2, not writable, or
 * processes are in it.
 */
int tenant_cgroup_open(const char *path, struct tenant_cgroup **ret, struct err *err);
/* Accepts NULL. The cgroups stay: workers outlive their supervisor. */
void tenant_cgroup_close(struct tenant_cgroup *g);

/*
 * Can this host hold a tenant to @limits? @g: NULL: none is configured. Otherwise -1, naming the
 * budget and the cure: ERR_STATE, or ERR_INVALID where no worker could live with it.
 */
int tenant_cgroup_check(const struct tenant_cgroup *g, const struct tenant_cgroup_limits *limits,
			struct err *err);

/*
 * tenant_cgroup_place - move a process and its children into the cgroup of @tenant
 *
 * Makes the cgroup, if need be, and sees to its limits. Children that are made later are born
 * there. Memory that the process has already stays charged to where it came from. Returns 0, or -1
 * with ERR_UNREADY, or ERR_STATE where the cgroup of that name is the daemon's own.
 */
int tenant_cgroup_place(const struct tenant_cgroup *g, const char *tenant,
			const struct tenant_cgroup_limits *limits, pid_t pid, struct err *err);
/* Other limits for @tenant from now on; its cgroup need not be there. Failure is logged. */
void tenant_cgroup_limit(const struct tenant_cgroup *g, const char *tenant,
			 const struct tenant_cgroup_limits *limits);
/* Removes the cgroup of @tenant, or of all tenants, where no process is in it. */
void tenant_cgroup_remove(const struct tenant_cgroup *g, const char *tenant);
void tenant_cgroup_tidy(const struct tenant_cgroup *g);

/*
 * What the cgroup of @tenant has now, as the API shows it; the caller's. Values are null where the
 * controller, or the cgroup, is not there.
 */
struct json_object *tenant_cgroup_json(const struct tenant_cgroup *g, const char *tenant);

#endif
