/*
 * http - HTTP/1.1 over a Unix socket: requests in, replies, holds and streams out
 *
 * Hides evhttp from everybody else. One loop, one thread; the process ignores
 * SIGPIPE. Everything a client chooses is bounded by struct http_limits; whatever
 * it sends, only its own connection suffers. Errors found by evhttp's parser (bad
 * request line, headers or body too large: 400, 413; unknown method: 501) are
 * answered there, with an HTML body and a close: a client reads a body only if
 * its Content-Type says what it expects.
 *
 * A request belongs to the handler until exactly one of these has happened:
 *
 *   http_reply()                          answered
 *   http_stream_end(), http_stream_drop() stream is over
 *   its gone callback was called          the client hung up, or http_free()
 *
 * Afterwards the pointer is invalid. A handler must reply, hold or begin a
 * stream before it returns.
 */
#ifndef UFFDD_HTTP_H
#define UFFDD_HTTP_H

#include "common/sock.h"
#include "daemon/http_limits.h"

struct event_base;
struct http;
struct http_request;

/* What is shipped. */
struct http_limits http_limits_default(void);

/* Must answer, hold or begin a stream before it returns. */
typedef void (*http_handler)(struct http_request *req, void *arg);
/* The client is gone: drop @req from every table; it is invalid when this returns. */
typedef void (*http_gone)(struct http_request *req, void *arg);

/*
 * http_new - serve an AF_UNIX stream socket
 * @listen_fd: listening, non-blocking, CLOEXEC; owned from success on
 * @limits:    copied
 */
int http_new(struct event_base *base, int listen_fd, const struct http_limits *limits,
	     http_handler fn, void *arg, struct http **ret, struct err *err);
/* Calls gone for everything held. Not from within a handler. Accepts NULL. */
void http_free(struct http *http);

struct http_stats {
	size_t connections, held;
	uint64_t accepted;
	uint64_t refused; /* of these, at once: by a cap, or for want of descriptors */
	uint64_t cut;     /* later, by header_deadline_ms or for sending too much */
};
struct http_stats http_stats(const struct http *http);

const char *http_method(const struct http_request *req); /* "GET", … */
/* Decoded once; begins with "/", has no NUL. Not normalised: match it, do not open it. */
const char *http_path(const struct http_request *req);
/* Decoded value of a parameter ("" if it has none), or NULL. No key comes twice. */
const char *http_query(const struct http_request *req, const char *key);
/* The i-th parameter's key in order of the request, or NULL after the last. */
const char *http_query_key(const struct http_request *req, size_t i);
/* Not NUL-terminated; at most body_bytes. */
const void *http_body(const struct http_request *req, size_t *ret_len);
/* As it was at connect. */
const struct sock_peer *http_peer(const struct http_request *req);

/* A header of the reply to come: Allow, Retry-After. Not for user-made text. */
void http_reply_header(struct http_request *req, const char *name, const char *value);
/* @body is copied; may be NULL when @len is 0. */
void http_reply(struct http_request *req, int status, const char *content_type, const void *body,
		size_t len);

/*
 * http_hold - answer later
 *
 * @gone is called at most once, within a loop turn of the client's hang-up.
 * Returns 0, or -1 when a cap is reached (answer 429).
 */
int http_hold(struct http_request *req, http_gone gone, void *arg);

/*
 * http_stream_begin - status and headers now, body in pieces
 *
 * A held request may become a stream; it keeps its place then. The same caps as
 * http_hold(): 0 or -1. Nothing but the writes bounds a stream in time.
 */
int http_stream_begin(struct http_request *req, int status, const char *content_type,
		      http_gone gone, void *arg);
/* Copies. -1: the queue is full and nothing was added: try later, or drop it. len may be 0. */
int http_stream_write(struct http_request *req, const void *data, size_t len);
void http_stream_end(struct http_request *req);
/* Hang up without the proper end, so that the client knows it is not complete. */
void http_stream_drop(struct http_request *req);

#endif
