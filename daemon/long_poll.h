/*
 * long_poll - long polls: requests that are answered once a restore has got somewhere
 *
 * Each is bounded in time. What it waits for is looked at when the restore
 * changes, never by polling. A restore is only compared here; the goal looks into it.
 */
#ifndef UFFDD_LONG_POLL_H
#define UFFDD_LONG_POLL_H

#include <sys/queue.h>

#include "common/base.h"
#include "common/err.h"

struct event_base;
struct http_request;
struct restore;
struct wait;

struct long_polls {
	struct event_base *base; /* borrowed */
	TAILQ_HEAD(, wait) held;
};

struct wait_goal {
	/* Has the restore got there, or can it no longer? */
	bool (*reached)(const struct restore *restore, int target);
	int target;
	/*
	 * Answers @req and returns 0, or leaves it and returns -1: then @err is the answer.
	 * @late: time is over, and the goal not reached.
	 */
	int (*answer)(struct http_request *req, const struct restore *restore, bool late,
		      struct err *err);
};

/* What is held ends with its HTTP server, so there is nothing to be freed. */
void long_poll_init(struct long_polls *waits, struct event_base *base);

/*
 * long_poll_hold - answer when @goal is reached, at once if it is, or after @ms
 * @live: there as long as anything waits for it
 * @goal: copied
 *
 * Like a handler (api_request.h): 0: answered, or held; -1: @err is the answer, ERR_QUOTA
 * where too many are held.
 */
int long_poll_hold(struct long_polls *waits, struct http_request *req,
		   const struct restore *restore, uint64_t ms, const struct wait_goal *goal,
		   struct err *err);
/* @live has changed: look at those that wait for it. */
void long_poll_look(struct long_polls *waits, const struct restore *restore);

#endif
