/*
 * call - one API request while its handler works on it
 *
 * A handler is called with what its caller has a right to (routes.h), and returns
 *
 *    0   the request is settled: answered, or left to a long poll (waits.h), a create or
 *        a stream, which answers it later; @c is over when the handler returns
 *   -1   it has done neither; the dispatcher answers with @err
 */
#ifndef UFFDD_CALL_H
#define UFFDD_CALL_H

#include "common/js.h"
#include "common/proto.h"
#include "daemon/http.h"

struct feeds;
struct restore;
struct supervisor;
struct waits;

struct call {
	struct http_request *req;
	struct supervisor *sup;    /* borrowed, like all here */
	struct waits *waits;
	struct feeds *feeds;
	char id[PROTO_ID_MAX + 1]; /* of the path, or "" */
	struct json_object *body;  /* owned by the dispatcher; NULL if the route takes none */
};

/* Each of these answers the request: it is over then. */
void call_reply(struct http_request *req, int status, struct json_object *o); /* takes @o over */
void call_problem(struct http_request *req, const struct err *err);
void call_reply_restore(struct http_request *req, int status, const struct restore *restore);

/* Query parameters; outputs are untouched when the parameter is absent. */
int call_query_u64(struct call *c, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
		   struct err *err);
int call_query_bool(struct call *c, const char *key, bool *ret, struct err *err);
int call_query_ms(struct call *c, const char *key, uint64_t max_ms, uint64_t *ret,
		  struct err *err);

#endif
