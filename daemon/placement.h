/*
 * placement - workers in the cgroups of their tenants
 *
 * A worker is placed before it is sent its restore. So all memory that it takes for that, the file
 * pages that it is the first to read, and its threads and its holder count for its tenant. Where
 * no cgroup is configured (tenant_cgroup), nothing is placed.
 *
 * A limit that this host cannot enforce is never passed over: the configuration and PUT are
 * refused; for a tenant of the store the log warns, and creates are refused.
 */
#ifndef UFFDD_PLACEMENT_H
#define UFFDD_PLACEMENT_H

#include "daemon/restore.h"

/*
 * placement_open - take the configured cgroup into use, and remove what former runs left there
 * @host: the configuration and all tenants are there
 *
 * Returns 0, or -1 with an error that names the path, the option, or the tenant.
 */
int placement_open(struct host *host, struct err *err);
/* Can this host hold @t to its budgets? Otherwise -1 with ERR_STATE. */
int placement_check(const struct host *host, const struct tenant *t, struct err *err);

/*
 * placement_begin - place the worker of @r, which is there, before it is sent its restore
 *
 * Returns 0, or -1: @r is being created, and its worker cannot be placed, or held to its tenant's
 * limits. A successor is needed by a guest: there that is only logged.
 */
int placement_begin(const struct restore *r, struct err *err);
/* The same for a worker that has come back: the configuration may be another one by now. */
void placement_again(const struct restore *r);

/* The budgets of @tenant have changed, or it was removed. */
void placement_changed(const struct host *host, const char *tenant);
/* Removes cgroups without processes; to be called now and then. */
void placement_tidy(const struct host *host);

/* What the API shows of the cgroup of @tenant (tenant_cgroup.h); NULL: none is configured. */
struct json_object *placement_json(const struct host *host, const char *tenant);

#endif
