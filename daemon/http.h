/*
 * http - HTTP/1.1 over a Unix socket: requests in, replies, held requests and streams out
 *
 * Hides evhttp from the rest of the daemon. One loop, one thread; the process ignores SIGPIPE.
 * Everything that a client chooses is bounded by struct http_limits; whatever a client sends, only
 * its own connection suffers. Errors found by evhttp's parser (bad request line, headers or body
 * too large: 400, 413; unknown method: 501) are answered by evhttp, with an HTML body and a close:
 * a client should read a body only if its Content-Type is the expected one.
 *
 * A request belongs to the handler until exactly one of these has happened:
 *
 *   http_reply()                          answered
 *   http_stream_end(), http_stream_drop() the stream is over
 *   its gone callback was called          the client hung up, or http_free()
 *
 * Afterwards the pointer is invalid. Everything that is got from a request is borrowed from it. A
 * handler must reply, hold or begin a stream before it returns.
 */
#ifndef UFFDD_HTTP_H
#define UFFDD_HTTP_H

#include "common/sock.h"
#include "daemon/http_accounts.h"
#include "daemon/http_limits.h"

struct event_base;
struct http;
struct http_request;

/* Must answer, hold or begin a stream before it returns. */
typedef void (*http_handler)(struct http_request *req, void *arg);
/* The client is gone: forget @req, which is invalid when this returns. */
typedef void (*http_gone)(struct http_request *req, void *arg);

struct http_options {
	struct http_limits limits;
	http_handler handler;
	http_identify identify;
	void *arg; /* of both */
};

/*
 * http_new - serves an AF_UNIX stream socket
 * @listen_fd: listening, non-blocking, CLOEXEC; owned by the server from success on
 * @options: copied
 *
 * 0, or -1 with ERR_SYSTEM.
 */
int http_new(struct event_base *base, int listen_fd, const struct http_options *options,
	     struct http **ret, struct err *err);
/* Accepts NULL. Calls gone for everything held. Not to be called from a handler. */
void http_free(struct http *http);

/* connections, held: now; the others: since http_new(). */
struct http_stats {
	size_t connections, held;
	uint64_t accepted;
	uint64_t refused; /* of accepted, at once: by a cap, or for want of descriptors */
	/* of accepted, later: too slow, too much sent, or in the way of a user who has less */
	uint64_t cut;
};
struct http_stats http_stats(const struct http *http);

const char *http_method(const struct http_request *req); /* "GET", … */
/* Decoded once; begins with "/", has no NUL. Not normalised: match it, do not open it. */
const char *http_path(const struct http_request *req);
/* Decoded value of a parameter ("" if it has none); NULL: no such parameter. No key comes twice. */
const char *http_query(const struct http_request *req, const char *key);
/* The key of the i-th parameter, in the request's order; NULL after the last. */
const char *http_query_key(const struct http_request *req, size_t i);
/* Never NULL, not NUL-terminated; *ret_len is at most the limit body_bytes. */
const void *http_body(const struct http_request *req, size_t *ret_len);
/* The client, as it was when it connected. */
const struct sock_peer *http_peer(const struct http_request *req);

/* Adds a header to the reply to come, such as Allow. Not for text that a user made. */
void http_reply_header(struct http_request *req, const char *name, const char *value);
/* Answers @req. @body is copied, and may be NULL if @len is 0. */
void http_reply(struct http_request *req, int status, const char *content_type, const void *body,
		size_t len);

/*
 * http_hold - answer later
 *
 * @gone is called at most once, within a loop turn of the client's hang-up. Returns 0, or -1 when a
 * cap is reached (answer with 429). When all places are taken, a user who has none gets that of the
 * request that was held longest, of the user who has most, if that is more than one: the other
 * client is hung up on.
 */
int http_hold(struct http_request *req, http_gone gone, void *arg);

/*
 * http_stream_begin - status and headers now, the body in pieces
 *
 * A held request may become a stream, and keeps its place in the caps. Otherwise the caps and
 * results of http_hold(). Only the writes bound a stream in time.
 */
int http_stream_begin(struct http_request *req, int status, const char *content_type,
		      http_gone gone, void *arg);
/* Writing to the stream has taken @us of our time, which counts for its user. */
void http_stream_charge(struct http_request *req, uint64_t us);
/* Do others come first (http_accounts.h)? */
bool http_stream_is_late(const struct http_request *req);
/* Copies @data; @len may be 0. -1: the queue is full and nothing was added: try later, or drop. */
int http_stream_write(struct http_request *req, const void *data, size_t len);
/* The proper end of the body. */
void http_stream_end(struct http_request *req);
/* Hangs up without the proper end, so that the client knows that the body is not complete. */
void http_stream_drop(struct http_request *req);

#endif
