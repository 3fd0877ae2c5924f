/*
 * event_stream - GET /v1/events: the event log as a stream of JSON lines
 *
 * Everything comes from the store, so a reader that falls behind costs no memory:
 * it is fed as fast as it reads, from where it stood.
 */
#ifndef UFFDD_EVENT_STREAM_H
#define UFFDD_EVENT_STREAM_H

#include <sys/queue.h>

#include "daemon/api_request.h"

struct event_base;
struct event_stream;
struct store;

struct event_streams {
	struct event_base *base; /* borrowed, as the store is */
	struct store *store;
	TAILQ_HEAD(open_streams, event_stream) open;
};

/* Streams end with their HTTP server, so there is nothing to be freed. */
void event_streams_init(struct event_streams *streams, struct event_base *base,
			struct store *store);

/* A handler; the stream has the events of @tenant, or of all where it is NULL. */
int event_stream_get(struct api_request *c, const char *tenant, struct err *err);
/* There are new events. */
void event_stream_wake(struct event_streams *streams);

#endif
