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

struct feed;
TAILQ_HEAD(feed_list, feed);

void feed_get(struct feed_list *feeds, struct call *c);
/* There are new events. */
void feed_wake(struct feed_list *feeds);

#endif
