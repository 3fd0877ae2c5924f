/*
 * tenant - who is calling, and for whom it may act
 *
 * Decided from the kernel's word (SO_PEERCRED) on every request, never from
 * anything that the caller says about itself. Pure: no look-ups that can block.
 *
 *   uid 0, or the daemon's own   admin: sees and acts for every tenant
 *   any other uid                tenant "uid-<n>": sees and acts for that one alone
 */
#ifndef UFFDD_TENANT_H
#define UFFDD_TENANT_H

#include "common/proto.h"
#include "common/sock.h"

#define TENANT_DEFAULT "default" /* an admin's own, where it names none */

enum tenant_role { TENANT_ROLE_TENANT, TENANT_ROLE_ADMIN };

struct tenant_caller {
	enum tenant_role role;
	char tenant[PROTO_ID_MAX + 1]; /* its own */
	uid_t uid;
	gid_t gid;
};

void tenant_resolve(const struct sock_peer *peer, struct tenant_caller *ret);

bool tenant_is_admin(const struct tenant_caller *caller);
/* The one tenant whose restores and events it may see; NULL: an admin sees everybody's. */
const char *tenant_only(const struct tenant_caller *caller);
/* May it learn that restores of @tenant exist? What it may not see is "not found". */
bool tenant_may_see(const struct tenant_caller *caller, const char *tenant);
/*
 * tenant_may_act - may it create, change or stop restores of @tenant?
 * @tenant: "" = its own
 *
 * Returns 0, or -1 with ERR_DENIED (or ERR_INVALID: not a tenant's name).
 */
int tenant_may_act(const struct tenant_caller *caller, const char *tenant, struct err *err);

#endif
