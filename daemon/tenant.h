/*
 * tenant - who is calling, and for which tenant the caller may act
 *
 * Decided for every request from the kernel's word (SO_PEERCRED), never from what the caller says
 * about itself. Pure: no look-ups that can block.
 *
 *   uid 0, or the daemon's own   admin: sees and acts for every tenant
 *   any other uid                tenant "uid-<n>": sees and acts for that one alone
 */
#ifndef UFFDD_TENANT_H
#define UFFDD_TENANT_H

#include "common/proto.h"
#include "common/sock.h"

#define TENANT_DEFAULT "default" /* of an admin that names no tenant */

enum tenant_role { TENANT_ROLE_TENANT, TENANT_ROLE_ADMIN };

struct tenant_caller {
	enum tenant_role role;
	char tenant[PROTO_ID_MAX + 1]; /* the caller's own */
	uid_t uid;
	gid_t gid;
};

/* Fills @ret from the credentials of @peer. */
void tenant_resolve(const struct sock_peer *peer, struct tenant_caller *ret);

bool tenant_is_admin(const struct tenant_caller *caller);
/*
 * The one tenant whose restores and events the caller may see, borrowed from @caller; NULL: an
 * admin, who sees all.
 */
const char *tenant_only(const struct tenant_caller *caller);
/* May the caller know that restores of @tenant exist? Others are "not found" to it. */
bool tenant_may_see(const struct tenant_caller *caller, const char *tenant);
/*
 * tenant_may_act - may the caller create, change or stop restores of @tenant?
 *
 * Returns 0, or -1 with ERR_DENIED (or ERR_INVALID: not a tenant's name).
 */
int tenant_may_act(const struct tenant_caller *caller, const char *tenant, struct err *err);

#endif
