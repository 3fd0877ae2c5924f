/*
 * api_request - one API request while its handler works on it
 *
 * A handler is called with what its caller has a right to (routes.h), and returns
 *
 *    0   the request is settled: answered, or left to a long poll (long_poll.h), a create or
 *        a stream, which answers it later; @c is over when the handler returns
 *   -1   it has done neither; the dispatcher answers with @err
 */
#ifndef UFFDD_API_REQUEST_H
#define UFFDD_API_REQUEST_H

#include "common/js.h"
#include "common/proto.h"
#include "daemon/http.h"

struct event_streams;
struct restore;
struct supervisor;
struct long_polls;

struct api_request {
	struct http_request *req;
	struct supervisor *sup; /* borrowed, like all here */
	struct long_polls *polls;
	struct event_streams *streams;
	char id[PROTO_ID_MAX + 1]; /* of the path, or "" */
	struct json_object *body;  /* owned by the dispatcher; NULL if the route takes none */
};

/* Each of these answers the request: it is over then. */
void api_reply(struct http_request *req, int status, struct json_object *o); /* takes @o over */
void api_problem(struct http_request *req, const struct err *err);
void api_reply_restore(struct http_request *req, int status, const struct restore *restore);

/* Query parameters; outputs are untouched when the parameter is absent. */
int api_query_u64(struct api_request *c, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
		  struct err *err);
int api_query_bool(struct api_request *c, const char *key, bool *ret, struct err *err);
int api_query_ms(struct api_request *c, const char *key, uint64_t max_ms, uint64_t *ret,
		 struct err *err);

#endif
