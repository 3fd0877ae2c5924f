/*
 * waits - long polls: requests that are answered once a restore has got somewhere
 *
 * Each is bounded in time. What it waits for is looked at when the restore
 * changes, never by polling. A restore is only compared here; the goal looks into it.
 */
#ifndef UFFDD_WAITS_H
#define UFFDD_WAITS_H

#include <sys/queue.h>

#include "common/base.h"
#include "common/err.h"

struct event_base;
struct http_request;
struct restore;
struct wait;

struct waits {
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
void waits_init(struct waits *waits, struct event_base *base);

/*
 * waits_hold - answer when @goal is reached, at once if it is, or after @ms
 * @live: there as long as anything waits for it
 * @goal: copied
 *
 * Like a handler (call.h): 0: answered, or held; -1: @err is the answer, ERR_QUOTA
 * where too many are held.
 */
int waits_hold(struct waits *waits, struct http_request *req, const struct restore *restore,
	       uint64_t ms, const struct wait_goal *goal, struct err *err);
/* @live has changed: look at those that wait for it. */
void waits_look(struct waits *waits, const struct restore *restore);

#endif
