/*
 * http_conns - who is connected: caps, deadlines, and no spinning when descriptors run out
 *
 * evhttp has no limits of its own here. Each connection is registered when its
 * bufferevent is made, looked at once more before anything is read from it
 * (then its peer is known), and leaves the list when evhttp frees it.
 *
 * A connection is idle (a request may arrive) or busy (one is being answered).
 */
#ifndef UFFDD_HTTP_CONNS_H
#define UFFDD_HTTP_CONNS_H

#include <sys/queue.h>

#include "common/sock.h"
#include "daemon/http_limits.h"

struct bufferevent;
struct event;
struct event_base;
struct evconnlistener;
struct evhttp;
struct evhttp_bound_socket;
struct evhttp_connection;
struct http_conns;
struct http_request;

struct http_conn {
	LIST_ENTRY(http_conn) link;
	struct http_conns *conns;
	struct bufferevent *bev;
	struct evhttp_connection *ev; /* NULL until it is admitted */
	struct sock_peer peer;
	struct http_request *req; /* in the handler's hands, or NULL */
	bool busy;
	uint64_t deadline_us; /* a whole request must be here by then; 0: none */
};

/* Called while a connection with a request goes away; conn->req is the callee's to free. */
typedef void (*http_conn_closed)(struct http_conn *conn);

struct http_conns {
	LIST_ENTRY(http_conns) link;
	LIST_HEAD(, http_conn) fresh, live; /* fresh: accepted, not yet admitted */
	size_t n;                           /* both */
	struct http_limits limits;
	http_conn_closed closed;
	struct evhttp *ev;
	struct evhttp_bound_socket *bound; /* NULL: accepts no more */
	struct evconnlistener *listener;   /* of bound */
	struct event *turn;                /* runs before the next poll */
	struct event *timer;               /* the earliest deadline, or earlier */
	struct event *retry;               /* pending: out of descriptors, not accepting */
	int listen_fd, reserve_fd;         /* owned */
	uint64_t starved_us;               /* when accept() last failed */
	uint64_t accepted, refused, cut;
};

/* @listen_fd is owned from success on. @ev outlives the call to http_conns_fini(). */
int http_conns_init(struct http_conns *c, struct event_base *base, struct evhttp *ev, int listen_fd,
		    http_conn_closed closed, struct err *err);
/* Closes the listening socket; safe to repeat. */
void http_conns_stop(struct http_conns *c);
/* After evhttp_free(). */
void http_conns_fini(struct http_conns *c);

/* NULL only if there was no memory to register it. */
struct http_conn *http_conns_find(struct http_conns *c, const struct evhttp_connection *ev);

void http_conn_busy(struct http_conn *conn);
void http_conn_idle(struct http_conn *conn);
/* As if the peer had hung up: @conn is gone when this returns. */
void http_conn_cut(struct http_conn *conn);

#endif
