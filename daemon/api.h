/*
 * api - the control API: the socket it listens on, and what its requests are given
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

/* Borrowed until api_free(); conf only until api_new() returns. */
struct api_parts {
	struct event_base *base;
	const struct conf *conf;
	struct store *store;    /* of the supervisor, with its events */
	struct supervisor *sup; /* its observer becomes the API */
};

/* Listens on <run_dir>/control.sock. 0, or -1 (ERR_INVALID: no such socket_group). */
int api_new(const struct api_parts *parts, struct api **ret, struct err *err);
/* Accepts NULL. Hangs up on held requests and streams. To be called before supervisor_free(). */
void api_free(struct api *api);

#endif
