/*
 * http_target - path and query of a request, split and decoded once
 *
 * The results have no NUL inside and no escapes left. Nothing is normalised: "/a/../b" stays as it
 * is, and simply matches no route.
 */
#ifndef UFFDD_HTTP_TARGET_H
#define UFFDD_HTTP_TARGET_H

#include "common/base.h"
#include "common/err.h"

#define HTTP_PARAMS_MAX 16

struct http_param {
	const char *key, *value; /* borrowed from query; value: "" if none */
};

struct http_target {
	char *path, *query; /* owned; the parameters point into query */
	struct http_param params[HTTP_PARAMS_MAX];
	size_t nparams;
};

/*
 * http_target_parse - splits and decodes the raw texts
 * @query: without "?"; may be NULL
 *
 * Returns 0, or -1 with ERR_INVALID: no leading "/", a bad escape, an escaped NUL, a parameter
 * without a name, one that comes twice, or too many.
 */
int http_target_parse(const char *path, const char *query, struct http_target *ret,
		      struct err *err);
/* Frees what the struct owns. Accepts a zeroed struct; safe to repeat. */
void http_target_fini(struct http_target *t);

/* The value, borrowed; NULL: no such parameter. */
const char *http_target_param(const struct http_target *t, const char *key);

#endif
