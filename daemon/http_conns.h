/*
 * http_conns - the HTTP connections: caps, deadlines, no spinning when descriptors run out
 *
 * evhttp has no such limits. Each connection is registered when its bufferevent is made, and
 * admitted before anything is read from it, once its peer is known. It leaves the list when evhttp
 * frees it.
 *
 * A connection is idle (a request may arrive) or busy (a request is being answered). When all
 * places are taken, a new connection gets that of another user who has no fewer: of those who have
 * most, the connection that has waited longest for its client.
 */
#ifndef UFFDD_HTTP_CONNS_H
#define UFFDD_HTTP_CONNS_H

#include <sys/queue.h>

#include "common/sock.h"
#include "daemon/http_limits.h"
#include "daemon/http_users.h"

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
	struct bufferevent *bev;      /* borrowed from evhttp */
	struct evhttp_connection *ev; /* NULL until admitted */
	struct sock_peer peer;
	struct http_user *user;   /* NULL until the peer is known */
	struct http_request *req; /* in the handler's hands; or NULL */
	bool busy;
	uint64_t since_us;    /* now_us() when it became idle or busy */
	uint64_t deadline_us; /* now_us() by which a whole request must be here; 0: none */
	int last_fd;          /* owned: of the connection, to be closed last; or -1 */
};

/* Called while a connection with a request goes away; the callee frees conn->req. */
typedef void (*http_conn_closed)(struct http_conn *conn);

struct http_conns {
	LIST_ENTRY(http_conns) link;
	LIST_HEAD(, http_conn) fresh, live; /* fresh: accepted, not yet admitted */
	LIST_HEAD(, http_conn) gone, done;  /* evhttp is closing them, and has closed them */
	size_t n;                           /* of fresh and live */
	struct http_users users;            /* of those in live */
	struct http_accounts accounts;      /* of the users, and of those who were there */
	http_identify identify;
	void *arg; /* of identify */
	struct http_limits limits;
	http_conn_closed closed;
	struct evhttp *ev;
	struct evhttp_bound_socket *bound; /* NULL: accepts no more */
	struct evconnlistener *listener;   /* of bound */
	struct event *turn;                /* owned; runs before the next poll */
	struct event *timer;               /* owned; the earliest deadline, or earlier */
	struct event *retry;               /* owned; pending: out of descriptors, not accepting */
	int listen_fd, reserve_fd;         /* owned */
	bool clean;                        /* clients cannot send descriptors (http_foreign.h) */
	uint64_t starved_us;               /* now_us() when accept() last failed */
	uint64_t accepted, refused, cut;
};

/*
 * @c: zeroed but for limits, identify and its argument. @listen_fd: owned from success on. @ev: borrowed, and freed before
 * http_conns_fini(). 0, or -1 with ERR_SYSTEM; call http_conns_fini() then, too.
 */
int http_conns_init(struct http_conns *c, struct event_base *base, struct evhttp *ev, int listen_fd,
		    http_conn_closed closed, struct err *err);
/* Closes the listening socket. Safe to repeat. */
void http_conns_stop(struct http_conns *c);
/* To be called after evhttp_free(). */
void http_conns_fini(struct http_conns *c);

/* NULL only if there was no memory to register the connection. */
struct http_conn *http_conns_find(struct http_conns *c, const struct evhttp_connection *ev);

/* How many things of the kind in question @conn's user has; 0: @conn is not to be chosen. */
typedef size_t (*http_conn_share)(const struct http_conn *conn, const void *arg);
/*
 * Of the users with the largest @share, the connection that has been idle or busy longest. NULL: no
 * connection has a share.
 */
struct http_conn *http_conns_longest(struct http_conns *c, http_conn_share share, const void *arg);

/* Asks anew who the client is; @conn has a user. */
void http_conn_identify(struct http_conn *conn);
/* Do others come first (http_accounts.h)? */
bool http_conn_is_late(const struct http_conn *conn);

/* A request is being answered: only the stall deadline runs. */
void http_conn_busy(struct http_conn *conn);
/* The answer is written: the next request may arrive. */
void http_conn_idle(struct http_conn *conn);
/* As if the peer had hung up: @conn is freed when this returns. */
void http_conn_cut(struct http_conn *conn);

#endif
