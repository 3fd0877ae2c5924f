#include "daemon/caller.h"

#include <string.h>

static bool is_in(const struct user_set *set, const struct sock_peer *peer)
{
	return user_set_has_uid(set, peer->uid) || user_set_has_group_of(set, peer);
}

void caller_user_tenant(uid_t uid, char *ret)
{
	snprintf(ret, PROTO_ID_MAX + 1, "uid-%ju", (uintmax_t)uid);
}

/* Of a user who is neither admin nor observer. */
static void resolve_tenant(const struct tenants *ts, const struct sock_peer *peer,
			   struct caller *ret)
{
	const struct tenant *t = NULL;

	if (tenants_of(ts, peer, &t, &ret->why))
		return;
	if (t) {
		ret->role = ROLE_TENANT;
		memcpy(ret->tenant, t->name, sizeof(ret->tenant));
	} else if (ts->each_user) {
		ret->role = ROLE_TENANT;
		caller_user_tenant(peer->uid, ret->tenant);
	} else {
		err_set(&ret->why, ERR_DENIED,
			"uid %ju belongs to no tenant: an administrator adds it to one (uffdctl "
			"tenant set NAME --uid %ju)",
			(uintmax_t)peer->uid, (uintmax_t)peer->uid);
	}
}

void caller_resolve(const struct tenants *ts, const struct sock_peer *peer, struct caller *ret)
{
	*ret = (struct caller){.role = ROLE_OUTSIDER, .uid = peer->uid, .gid = peer->gid};
	if (peer->uid == 0 || peer->uid == geteuid() || is_in(&ts->admins, peer)) {
		ret->role = ROLE_ADMIN;
		snprintf(ret->tenant, sizeof(ret->tenant), "%s", CALLER_DEFAULT_TENANT);
	} else if (is_in(&ts->observers, peer)) {
		ret->role = ROLE_OBSERVER;
	} else {
		resolve_tenant(ts, peer, ret);
	}
}

const char *caller_only(const struct caller *caller)
{
	return caller->role == ROLE_TENANT ? caller->tenant : NULL;
}

bool caller_may_see(const struct caller *caller, const char *tenant)
{
	switch (caller->role) {
	case ROLE_ADMIN:
	case ROLE_OBSERVER:
		return true;
	case ROLE_TENANT:
		return strcmp(caller->tenant, tenant) == 0;
	case ROLE_OUTSIDER:
	case ROLE_COUNT:
		break;
	}
	return false;
}

int caller_check_act(const struct caller *caller, const char *tenant, struct err *err)
{
	switch (caller->role) {
	case ROLE_ADMIN:
		return tenant_check_name(tenant, err);
	case ROLE_TENANT:
		if (strcmp(caller->tenant, tenant) == 0)
			return 0;
		if (tenant_check_name(tenant, err))
			return -1;
		return err_set(err, ERR_DENIED,
			       "uid %ju may act for tenant \"%s\" only, not \"%s\"",
			       (uintmax_t)caller->uid, caller->tenant, tenant);
	case ROLE_OBSERVER:
		return err_set(err, ERR_DENIED, "uid %ju is an observer, who may change nothing",
			       (uintmax_t)caller->uid);
	case ROLE_OUTSIDER:
	case ROLE_COUNT:
		break;
	}
	*err = caller->why;
	return -1;
}
