/*
 * api_request - one API request while its handler works on it
 *
 * A handler is called with what its caller has a right to (routes.h), and returns
 *
 *    0   the request is settled: answered, or left to a long poll (long_poll.h), a create or
 *        a stream, which answers it later; @c is invalid when the handler returns
 *   -1   neither was done; the dispatcher answers with @err
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
struct pace;

struct api_request {
	struct http_request *req; /* see http.h for its life */
	struct supervisor *sup;   /* borrowed, as all pointers here */
	struct long_polls *polls;
	struct event_streams *streams;
	struct pace *commands;     /* of tenants */
	char id[PROTO_ID_MAX + 1]; /* from the path, or "" */
	const char *tenant;        /* from the query: a name; NULL: none */
	struct json_object *body;  /* owned by the dispatcher; NULL if the route takes none */
};

/* Each of these answers @req, which is invalid then. restore is borrowed. */
void api_reply(struct http_request *req, int status, struct json_object *o); /* takes @o */
void api_problem(struct http_request *req, const struct err *err);
void api_reply_restore(struct http_request *req, int status, const struct restore *restore);

/*
 * Query parameters. 0, also without the parameter (*ret stays as it was); -1 with ERR_INVALID.
 * api_query_ms() takes durations such as "30s" and returns milliseconds.
 */
int api_query_u64(struct api_request *c, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
		  struct err *err);
int api_query_bool(struct api_request *c, const char *key, bool *ret, struct err *err);
int api_query_ms(struct api_request *c, const char *key, uint64_t max_ms, uint64_t *ret,
		 struct err *err);

#endif
