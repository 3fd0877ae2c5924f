/*
 * event_stream - GET /v1/events: the event log as a stream of JSON lines
 *
 * Everything is read from the store, so a slow reader costs no memory: it gets events as fast as it
 * reads, from where it stopped.
 */
#ifndef UFFDD_EVENT_STREAM_H
#define UFFDD_EVENT_STREAM_H

#include <sys/queue.h>

#include "daemon/api_request.h"

struct event_base;
struct event_stream;
struct store;
struct tenants;

struct event_streams {
	struct event_base *base; /* borrowed, like the store */
	struct store *store;
	TAILQ_HEAD(open_streams, event_stream) open;
};

/* Nothing is to be freed: streams end with their HTTP server. */
void event_streams_init(struct event_streams *streams, struct event_base *base,
			struct store *store);

/*
 * A handler (api_request.h). The stream has the events of @tenant; NULL: of all. ERR_QUOTA: too
 * many streams; ERR_TRIMMED: events after ?after= are no longer kept; ERR_INVALID.
 */
int event_stream_get(struct api_request *c, const char *tenant, struct err *err);
/* The store has new events: streams that follow go on. */
void event_stream_wake(struct event_streams *streams);
/* Tenants have changed: ends the streams of those who would get other events now, or none. */
void event_streams_recheck(struct event_streams *streams, const struct tenants *ts);

#endif
