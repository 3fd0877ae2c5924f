/*
 * routes - the API as one table: method, path, who has the right, handler
 *
 * The only place where the API decides who may do what: per request, from the peer's credentials
 * (caller.h). A handler is given only what the caller has a right to: the restore, or the tenant
 * whose restores and events it may show.
 */
#ifndef UFFDD_ROUTES_H
#define UFFDD_ROUTES_H

#include "daemon/api_request.h"

struct caller;

enum route_right {
	RIGHT_NONE,    /* a row that says nothing: refused to all */
	RIGHT_ANYBODY, /* shows nothing of a tenant; for outsiders, too */
	/* ERR_DENIED for all others */
	RIGHT_ADMIN,
	RIGHT_SEE_HOST,       /* admins and observers */
	RIGHT_SEE_TENANT,     /* what is the caller's tenant's, or all for admins and observers */
	RIGHT_SEE_THE_TENANT, /* the tenant {name}; ERR_NOTFOUND if the caller may not see it */
	RIGHT_NEW_RESTORE,    /* for the tenant in the body; ERR_DENIED: not the caller's */
	RIGHT_SEE_RESTORE,    /* the restore {id}; ERR_NOTFOUND if the caller may not see it */
	RIGHT_STOP_RESTORE,   /* the same, and ERR_DENIED for those who only see it */
	RIGHT_CHANGE_RESTORE, /* the same, and ERR_QUOTA for a tenant that does so too often */
};

struct route {
	const char *method, *path; /* {id} or {name} stands for one segment, a valid id */
	enum route_right right;
	union {
		/* RIGHT_…_RESTORE, but for a new one */
		int (*of_restore)(struct api_request *c, struct restore *r, struct err *err);
		/*
		 * @tenant: borrowed. RIGHT_SEE_TENANT: the caller's, or NULL for all.
		 * RIGHT_SEE_THE_TENANT: the one in the path. RIGHT_NEW_RESTORE: the one that the
		 * restore is for.
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
int routes_call(const struct route *r, const struct caller *caller, struct api_request *c,
		struct err *err);
/*
 * Answers the request of @c, or leaves it to be answered later (api_request.h). The caller has
 * filled all of @c but id and body.
 */
void routes_answer(struct api_request *c);

#endif
