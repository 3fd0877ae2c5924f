#include "daemon/tenant.h"

#include <string.h>

void tenant_resolve(const struct sock_peer *peer, struct tenant_caller *ret)
{
	struct tenant_caller caller = {.uid = peer->uid, .gid = peer->gid};

	if (peer->uid == 0 || peer->uid == geteuid()) {
		caller.role = TENANT_ROLE_ADMIN;
		snprintf(caller.tenant, sizeof(caller.tenant), "%s", TENANT_DEFAULT);
	} else {
		caller.role = TENANT_ROLE_TENANT;
		snprintf(caller.tenant, sizeof(caller.tenant), "uid-%ju", (uintmax_t)peer->uid);
	}
	*ret = caller;
}

bool tenant_is_admin(const struct tenant_caller *caller)
{
	return caller->role == TENANT_ROLE_ADMIN;
}

const char *tenant_only(const struct tenant_caller *caller)
{
	return tenant_is_admin(caller) ? NULL : caller->tenant;
}

bool tenant_may_see(const struct tenant_caller *caller, const char *tenant)
{
	const char *only = tenant_only(caller);

	return !only || strcmp(only, tenant) == 0;
}

int tenant_may_act(const struct tenant_caller *caller, const char *tenant, struct err *err)
{
	if (!proto_id_valid(tenant))
		return err_set(err, ERR_INVALID,
			       "tenant: must be a letter or digit and up to %d more of "
			       "letters, digits, '.', '_' and '-'",
			       PROTO_ID_MAX - 1);
	if (!tenant_may_see(caller, tenant))
		return err_set(err, ERR_DENIED,
			       "uid %ju may act for tenant \"%s\" only, not \"%s\"",
			       (uintmax_t)caller->uid, caller->tenant, tenant);
	return 0;
}
