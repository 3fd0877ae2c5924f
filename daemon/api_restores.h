/*
 * api_restores - the handlers of /v1/restores
 *
 * The table of routes.c says which restore, or whose restores, each of them is given. What they
 * return: api_request.h.
 */
#ifndef UFFDD_API_RESTORES_H
#define UFFDD_API_RESTORES_H

#include "daemon/api_request.h"

/* @tenant: whose restores are listed; NULL: all. */
int api_restores_list(struct api_request *c, const char *tenant, struct err *err);

/* Create, for @tenant: with a new id, or with the id of the path. */
int api_restores_post(struct api_request *c, const char *tenant, struct err *err);
int api_restores_put(struct api_request *c, const char *tenant, struct err *err);

int api_restores_get(struct api_request *c, struct restore *r, struct err *err);
int api_restores_delete(struct api_request *c, struct restore *r, struct err *err);
int api_restores_prefetch(struct api_request *c, struct restore *r, struct err *err);
int api_restores_pages(struct api_request *c, struct restore *r, struct err *err);
int api_restores_working_set(struct api_request *c, struct restore *r, struct err *err);
int api_restores_pause(struct api_request *c, struct restore *r, struct err *err);
int api_restores_resume(struct api_request *c, struct restore *r, struct err *err);
int api_restores_restart_worker(struct api_request *c, struct restore *r, struct err *err);

#endif
