/*
 * routes - the API as one table: method, path, who has the right, handler
 *
 * The only place where the API decides who may do what: per request, from the peer's credentials
 * (tenant.h). A handler is given only what the caller has a right to: the restore, or the tenant
 * whose restores and events it may show.
 */
#ifndef UFFDD_ROUTES_H
#define UFFDD_ROUTES_H

#include "daemon/api_request.h"

struct tenant_caller;

enum route_right {
	RIGHT_NONE,        /* a row that says nothing: refused to all */
	RIGHT_ANYBODY,     /* shows nothing of a tenant */
	RIGHT_NEW_RESTORE, /* for the tenant in the body; ERR_DENIED if the caller may not act for it */
	RIGHT_ADMIN,       /* ERR_DENIED for all others */
	RIGHT_OWN_TENANT,  /* those of the caller's tenant, or all for an admin */
	RIGHT_OWN_RESTORE, /* the restore {id}; ERR_NOTFOUND if the caller may not see it */
};

struct route {
	const char *method, *path; /* {id} stands for one segment, a valid id */
	enum route_right right;
	union {
		/* RIGHT_OWN_RESTORE */
		int (*of_restore)(struct api_request *c, struct restore *r, struct err *err);
		/*
		 * @tenant: borrowed. RIGHT_OWN_TENANT: the caller's, or NULL for an admin, who has
		 * a right to all. RIGHT_NEW_RESTORE: the one that the restore is for.
		 */
		int (*of_tenant)(struct api_request *c, const char *tenant, struct err *err);
		/* every other right */
		int (*plain)(struct api_request *c, struct err *err);
	} handle;
	const char *const *query; /* allowed parameters, NULL at the end */
	bool body;                /* takes a body, a JSON object */
};

/* The i-th row, or NULL after the last. */
const struct route *routes_at(size_t i);

/*
 * routes_call - calls the handler of @r, if @caller has the right
 *
 * Returns what the handler returns (api_request.h), or -1 without having called it.
 */
int routes_call(const struct route *r, const struct tenant_caller *caller, struct api_request *c,
		struct err *err);
/*
 * Answers the request of @c, or leaves it to be answered later (api_request.h). The caller has
 * filled all of @c but id and body.
 */
void routes_answer(struct api_request *c);

#endif
