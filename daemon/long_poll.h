/*
 * long_poll - requests that are answered once a restore has reached a goal
 *
 * Each is bounded in time. Whether the goal is reached is checked when the restore changes, never
 * by polling. This file only compares pointers to restores; the goal's callbacks read them.
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
	/* Has @restore reached @target, or can it never? */
	bool (*reached)(const struct restore *restore, int target);
	int target;
	/*
	 * Answers @req and returns 0. Or returns -1, and @err becomes the answer. @late: the time
	 * is over, and the goal was not reached.
	 */
	int (*answer)(struct http_request *req, const struct restore *restore, bool late,
		      struct err *err);
	/* Answers @req where too many requests are held; NULL: that is refused with ERR_QUOTA. */
	void (*no_place)(struct http_request *req, const struct restore *restore);
};

/* Nothing is to be freed: a held request ends with its HTTP server. @base is borrowed. */
void long_poll_init(struct long_polls *waits, struct event_base *base);

/*
 * long_poll_hold - answers once @goal is reached, or after @ms milliseconds
 * @restore: borrowed until then
 * @ms: 0: answer at once
 * @goal: copied
 *
 * Returns like a handler (api_request.h): 0: answered, or held; -1: @err is the answer.
 */
int long_poll_hold(struct long_polls *waits, struct http_request *req,
		   const struct restore *restore, uint64_t ms, const struct wait_goal *goal,
		   struct err *err);
/* @restore has changed: answers the requests whose goal is reached. */
void long_poll_look(struct long_polls *waits, const struct restore *restore);

#endif
