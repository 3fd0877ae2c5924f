/*
 * http_target - path and query of a request, taken apart and decoded once
 *
 * What comes out has no NUL inside and no escape left. Nothing is normalised:
 * "/a/../b" stays what it is and simply matches no route.
 */
#ifndef UFFDD_HTTP_TARGET_H
#define UFFDD_HTTP_TARGET_H

#include "common/base.h"
#include "common/err.h"

#define HTTP_PARAMS_MAX 16

struct http_param {
	const char *key, *value; /* value is "" where there is none */
};

struct http_target {
	char *path, *query; /* owned; the parameters point into query */
	struct http_param params[HTTP_PARAMS_MAX];
	size_t nparams;
};

/*
 * http_target_parse - from the raw texts; @query without "?", may be NULL
 *
 * Returns 0, or -1 with ERR_INVALID: no leading "/", a bad escape, an escaped
 * NUL, a parameter without a name, one that comes twice, or too many.
 */
int http_target_parse(const char *path, const char *query, struct http_target *ret,
		      struct err *err);
/* Accepts a zeroed struct. */
void http_target_fini(struct http_target *t);

/* The value, or NULL. */
const char *http_target_param(const struct http_target *t, const char *key);

#endif
