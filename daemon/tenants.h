/*
 * tenants - the tenants of this host, and who may do what for whom
 *
 * From the tenants file, which the operator writes, and from the API, which keeps its own in the
 * store. A user acts for one tenant at most: two tenants never have a uid or a gid in common.
 *
 * The tenants file, all members optional:
 *
 *   {"admins": {"uids": [], "gids": []}, "observers": {"uids": [], "gids": []},
 *    "tenants": {"NAME": <tenant.h>, …}}
 *
 * Never blocks, but for the reading of that file.
 */
#ifndef UFFDD_TENANTS_H
#define UFFDD_TENANTS_H

#include "daemon/tenant.h"

#define TENANTS_MAX 4096
#define TENANTS_FILE_BYTES_MAX ((size_t)8 << 20)

struct tenants {           /* all zero: none */
	struct tenant **v; /* owned; sorted by name */
	size_t n;
	struct user_set admins, observers;
	bool each_user; /* a user of no tenant is one of its own, "uid-N" */
};

/*
 * tenants_load - what the configuration says
 * @conf: tenants_file, each_user_is_tenant
 * @ret: filled on success only; released by tenants_fini()
 *
 * Returns 0, or -1 with an error that names the file and the member.
 */
int tenants_load(const struct conf *conf, struct tenants *ret, struct err *err);
void tenants_fini(struct tenants *ts);

/* NULL: there is no such tenant. Borrowed, until the next change. */
const struct tenant *tenants_find(const struct tenants *ts, const char *name);
/* The first one whose name is greater than @after ("" begins), or NULL. Borrowed. */
const struct tenant *tenants_next(const struct tenants *ts, const char *after);
/*
 * tenants_of - the tenant that @peer acts for: by its uid, else by its groups
 * @ret: borrowed; NULL: none
 *
 * Returns 0, or -1 with ERR_DENIED: its groups belong to different tenants.
 */
int tenants_of(const struct tenants *ts, const struct sock_peer *peer, const struct tenant **ret,
	       struct err *err);

/*
 * tenants_check - could @t be there, in place of the one of its name?
 *
 * Returns 0, or -1: ERR_CONFLICT (another tenant has one of its users), ERR_STATE (the one of its
 * name is in the tenants file), or ERR_QUOTA (TENANTS_MAX).
 */
int tenants_check(const struct tenants *ts, const struct tenant *t, struct err *err);
/* Adds @t, which tenants_check() has let pass, or replaces the one of its name; @t is emptied. */
void tenants_put(struct tenants *ts, struct tenant *t);
/* Does nothing if there is no such tenant. */
void tenants_remove(struct tenants *ts, const char *name);

/* The bound that holds for the tenant @name, also if it is not listed. */
uint64_t tenants_budget(const struct tenants *ts, const struct conf *conf, const char *name,
			enum budget budget);
/* How many turns with the leases of prefetch: 1 if it is not listed. */
uint64_t tenants_prefetch_share(const struct tenants *ts, const char *name);

#endif
