#include "daemon/placement.h"

#include "daemon/log.h"
#include "daemon/tenant_cgroup.h"

static const enum budget budgets[TENANT_CGROUP_COUNT] = {
	[TENANT_CGROUP_MEMORY] = BUDGET_CGROUP_MEMORY,
	[TENANT_CGROUP_PIDS] = BUDGET_CGROUP_PIDS,
};

static struct tenant_cgroup_limits limits_by(const struct host *host, const struct budgets *b)
{
	struct tenant_cgroup_limits limits;

	for (size_t i = 0; i < TENANT_CGROUP_COUNT; i++)
		limits.of[i] = budget_of(b, budgets[i], &host->conf);
	return limits;
}

static struct tenant_cgroup_limits limits_of(const struct host *host, const char *tenant)
{
	struct tenant_cgroup_limits limits;

	for (size_t i = 0; i < TENANT_CGROUP_COUNT; i++)
		limits.of[i] = tenants_budget(&host->tenants, &host->conf, tenant, budgets[i]);
	return limits;
}

/* ---- start ---- */

int placement_check(const struct host *host, const struct tenant *t, struct err *err)
{
	const struct tenant_cgroup_limits limits = limits_by(host, &t->budgets);

	if (tenant_cgroup_check(host->cgroup, &limits, err) == 0)
		return 0;
	return err_wrap(err, "tenant %s", t->name);
}

static int check_defaults(const struct host *host, struct err *err)
{
	struct tenant_cgroup_limits limits;
	struct budgets defaults;

	budget_init(&defaults);
	limits = limits_by(host, &defaults);
	if (tenant_cgroup_check(host->cgroup, &limits, err) == 0)
		return 0;
	return err_wrap(err, "the default of tenants");
}

/* Guests of a tenant of the store may live: they need a daemon more than their host a limit. */
static int check_all(const struct host *host, struct err *err)
{
	if (check_defaults(host, err))
		return -1;
	for (size_t i = 0; i < host->tenants.n; i++) {
		const struct tenant *t = host->tenants.v[i];

		if (placement_check(host, t, err) == 0)
			continue;
		if (t->configured)
			return -1;
		log_warning("a tenant cannot be held to its limit, and creates nothing", "why=%s",
			    err->msg);
	}
	return 0;
}

int placement_open(struct host *host, struct err *err)
{
	const char *path = host->conf.tenant_cgroup;

	if ((path[0] && tenant_cgroup_open(path, &host->cgroup, err)) || check_all(host, err))
		return -1;
	placement_tidy(host);
	return 0;
}

/* ---- workers ---- */

static int place(const struct restore *r, struct err *err)
{
	const struct tenant_cgroup_limits limits = limits_of(r->host, r->rec.tenant);

	if (!r->host->cgroup)
		return 0;
	return tenant_cgroup_place(r->host->cgroup, r->rec.tenant, &limits, r->worker->pid, err);
}

static int check_limits(const struct restore *r, struct err *err)
{
	const struct tenant_cgroup_limits limits = limits_of(r->host, r->rec.tenant);

	if (tenant_cgroup_check(r->host->cgroup, &limits, err) == 0)
		return 0;
	return err_wrap(err, "tenant %s", r->rec.tenant);
}

int placement_begin(const struct restore *r, struct err *err)
{
	if (restore_is_creating(r))
		return check_limits(r, err) || place(r, err) ? -1 : 0;
	placement_again(r);
	return 0;
}

void placement_again(const struct restore *r)
{
	struct err err;

	if (place(r, &err))
		log_warning("a guest is served from outside its tenant's cgroup",
			    "id=%s tenant=%s why=%s", r->rec.id, r->rec.tenant, err.msg);
}

void placement_changed(const struct host *host, const char *tenant)
{
	const struct tenant_cgroup_limits limits = limits_of(host, tenant);

	if (!host->cgroup)
		return;
	tenant_cgroup_remove(host->cgroup, tenant);
	tenant_cgroup_limit(host->cgroup, tenant, &limits);
}

/* ---- what is there ---- */

void placement_tidy(const struct host *host)
{
	if (host->cgroup)
		tenant_cgroup_tidy(host->cgroup);
}

struct json_object *placement_json(const struct host *host, const char *tenant)
{
	return host->cgroup ? tenant_cgroup_json(host->cgroup, tenant) : NULL;
}
