/*
 * api - the control API: the socket it listens at, and what its requests are given
 *
 * The requests themselves are in routes.h.
 */
#ifndef UFFDD_API_H
#define UFFDD_API_H

#include "common/err.h"

struct api;
struct conf;
struct event_base;
struct store;
struct supervisor;

/* All borrowed, and there until api_free() but for conf. */
struct api_parts {
	struct event_base *base;
	const struct conf *conf;
	struct store *store;    /* where the supervisor's events are */
	struct supervisor *sup; /* gets the API as its observer */
};

/* Listens on <run_dir>/control.sock. */
int api_new(const struct api_parts *parts, struct api **ret, struct err *err);
/* Finishes what is held; before supervisor_free(). Accepts NULL. */
void api_free(struct api *api);

#endif
