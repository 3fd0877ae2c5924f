/*
 * api_tenants - the handlers of /v1/tenants
 *
 * The table of routes.c says whose tenants each of them may show. What they return: api_request.h.
 */
#ifndef UFFDD_API_TENANTS_H
#define UFFDD_API_TENANTS_H

#include "daemon/api_request.h"

/* @only: the one tenant that is listed; NULL: all. */
int api_tenants_list(struct api_request *c, const char *only, struct err *err);
/* @name: a tenant of the configuration or of the API, or one that has restores. */
int api_tenants_get(struct api_request *c, const char *name, struct err *err);
int api_tenants_put(struct api_request *c, struct err *err);
int api_tenants_delete(struct api_request *c, struct err *err);

#endif
