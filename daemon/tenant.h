/*
 * tenant - one tenant: who acts for it, and what it may have
 *
 * As JSON, the same in the tenants file, at the API and in the store:
 *
 *   {"uids": [1000], "gids": [], "snapshot_roots": ["/srv/acme"], "prefetch_share": 2,
 *    "budgets": {"restores": 100}}
 *
 * Pure.
 */
#ifndef UFFDD_TENANT_H
#define UFFDD_TENANT_H

#include "common/proto.h"
#include "daemon/budget.h"
#include "daemon/user_set.h"

#define TENANT_SHARE_MAX 100
#define TENANT_ROOTS_MAX 32
#define TENANT_ROOT_BYTES_MAX 4095

struct tenant {
	char name[PROTO_ID_MAX + 1];
	bool configured;       /* in the tenants file: the API does not change it */
	struct user_set users; /* who act for it; owned */
	char **roots;          /* owned paths: beneath which its files are; none: anywhere */
	size_t nroots;
	uint64_t prefetch_share; /* turns with the leases of prefetch, relative to other tenants */
	struct budgets budgets;
};

/* Is it a name that a tenant may have? 0, or -1 with ERR_INVALID. */
int tenant_check_name(const char *name, struct err *err);
/*
 * tenant_parse - a tenant from its JSON object
 * @name: of the tenant; checked here
 * @ret: filled on success only; released by tenant_fini()
 *
 * Returns 0, or -1 with ERR_INVALID naming the member.
 */
int tenant_parse(struct js_at at, const char *name, struct tenant *ret, struct err *err);
/* A tenant of which nothing was said: nobody's, with the default budgets. @name is valid. */
void tenant_init(struct tenant *ret, const char *name);
/* Adds all members of the object that tenant_parse() takes to @o. */
void tenant_json(const struct tenant *t, struct json_object *o);

/* Safe to repeat. */
void tenant_fini(struct tenant *t);

#endif
