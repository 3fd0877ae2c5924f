/*
 * routes - the API as one table: path, who has a right to it, handler
 *
 * The only place where the API decides who may do what, per request and from the
 * peer's credentials (tenant.h). A handler is called with what the caller has a right to:
 * it is given the restore, or the tenant whose restores and events it may tell.
 */
#ifndef UFFDD_ROUTES_H
#define UFFDD_ROUTES_H

#include "daemon/api_request.h"

struct tenant_caller;

enum route_right {
	RIGHT_NONE,        /* a row that says nothing: nobody gets in */
	RIGHT_ANYBODY,     /* nothing of a tenant is told */
	RIGHT_NEW_RESTORE, /* for whom is in the body: supervisor_create() looks at it */
	RIGHT_ADMIN,       /* ERR_DENIED for everybody else */
	RIGHT_OWN_TENANT,  /* many restores: the caller's tenant's, or all for an admin */
	RIGHT_OWN_RESTORE, /* the one of {id}; ERR_NOTFOUND where the caller may not see it */
};

struct route {
	const char *method, *path; /* {id} stands for one segment that follows the grammar of ids */
	enum route_right right;
	union {
		/* RIGHT_OWN_RESTORE */
		int (*of_restore)(struct api_request *c, struct restore *r, struct err *err);
		/* RIGHT_OWN_TENANT; @tenant: NULL for an admin, who has a right to all */
		int (*of_tenant)(struct api_request *c, const char *tenant, struct err *err);
		/* every other right */
		int (*plain)(struct api_request *c, struct err *err);
	} handle;
	const char *const *query; /* parameters that there are, NULL at the end */
	bool body;                /* it takes one, a JSON object */
};

/* The i-th row, or NULL after the last. */
const struct route *routes_at(size_t i);

/*
 * routes_call - the handler of @r, if @caller has the right to it
 *
 * Returns what the handler does (api_request.h), or -1 and it was not called.
 */
int routes_call(const struct route *r, const struct tenant_caller *caller, struct api_request *c,
		struct err *err);
/* Settles the request of @c (api_request.h); id and body of @c are filled in here. */
void routes_answer(struct api_request *c);

#endif
