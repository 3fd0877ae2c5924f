/*
 * call - one API request while its handler works on it
 */
#ifndef UFFDD_CALL_H
#define UFFDD_CALL_H

#include "common/js.h"
#include "daemon/http.h"
#include "daemon/supervisor.h"
#include "daemon/tenant.h"

struct api;

struct call {
	struct api *api;
	struct supervisor *sup;
	struct http_request *req;
	struct tenant_caller caller;
	char id[PROTO_ID_MAX + 1]; /* of the path, or "" */
	struct json_object *body;  /* owned by the dispatcher; NULL if the route takes none */
};

/* Each of these answers the request: it is over then. */
void call_reply(struct http_request *req, int status, struct json_object *o); /* takes @o over */
void call_problem(struct http_request *req, const struct err *err);
void call_reply_restore(struct http_request *req, int status, const struct live *live);

/* Query parameters; outputs are untouched when the parameter is absent. */
int call_query_u64(struct call *c, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
		   struct err *err);
int call_query_bool(struct call *c, const char *key, bool *ret, struct err *err);
int call_query_ms(struct call *c, const char *key, uint64_t max_ms, uint64_t *ret,
		  struct err *err);

/* The restore of the path, if the caller may see it: NULL with ERR_NOTFOUND. */
struct live *call_restore(struct call *c, struct err *err);

#endif
