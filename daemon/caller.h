/*
 * caller - who is calling, in which role, and for which tenant
 *
 * Decided for every request from the kernel's word (SO_PEERCRED, SO_PEERGROUPS), never from what
 * the caller says about itself. Pure: no look-ups that can block.
 *
 *   admin      uid 0, the daemon's own, and "admins"      sees all, acts for every tenant
 *   observer   "observers"                                sees all, changes nothing
 *   tenant     users of a tenant (tenants.h)              sees and acts for that one alone
 *   outsider   any other user                             is refused
 *
 * A user who has several roles has the first of them.
 */
#ifndef UFFDD_CALLER_H
#define UFFDD_CALLER_H

#include "daemon/tenants.h"

#define CALLER_DEFAULT_TENANT "default" /* of an admin that names no tenant */

enum caller_role { ROLE_OUTSIDER, ROLE_TENANT, ROLE_OBSERVER, ROLE_ADMIN, ROLE_COUNT };

struct caller {
	enum caller_role role;
	char tenant[PROTO_ID_MAX + 1]; /* that it acts for if it names none; "": for none */
	uid_t uid;
	gid_t gid;
	struct err why; /* of an outsider: why it has no tenant, and the cure */
};

/* Fills @ret from the credentials of @peer. */
void caller_resolve(const struct tenants *ts, const struct sock_peer *peer, struct caller *ret);
/* The name of a tenant that is one user; @ret has room for PROTO_ID_MAX + 1 bytes. */
void caller_user_tenant(uid_t uid, char *ret);

/*
 * The one tenant whose restores and events the caller may see, borrowed from @caller; NULL: all of
 * them. Not to be asked of an outsider, who may see none.
 */
const char *caller_only(const struct caller *caller);
/* May the caller know that @tenant is there? Others are "not found" to it. */
bool caller_may_see(const struct caller *caller, const char *tenant);
/*
 * caller_check_act - may the caller create, change or stop restores of @tenant?
 *
 * Returns 0, or -1 with ERR_DENIED (or ERR_INVALID: not a tenant's name).
 */
int caller_check_act(const struct caller *caller, const char *tenant, struct err *err);

#endif
