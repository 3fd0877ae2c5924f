/*
 * feed - GET /v1/events: the event log as a stream of JSON lines
 *
 * Everything comes from the store, so a reader that falls behind costs no memory:
 * it is fed as fast as it reads, from where it stood.
 */
#ifndef UFFDD_FEED_H
#define UFFDD_FEED_H

#include <sys/queue.h>

#include "daemon/call.h"

struct event_base;
struct feed;
struct store;

struct feeds {
	struct event_base *base; /* borrowed, as the store is */
	struct store *store;
	TAILQ_HEAD(open_feeds, feed) open;
};

/* Streams end with their HTTP server, so there is nothing to be freed. */
void feeds_init(struct feeds *feeds, struct event_base *base, struct store *store);

/* A handler; the stream has the events of @tenant, or of all where it is NULL. */
int feed_get(struct call *c, const char *tenant, struct err *err);
/* There are new events. */
void feed_wake(struct feeds *feeds);

#endif
