/*
 * waits - requests that are answered once a restore has got somewhere
 *
 * Each is bounded in time. What it waits for is looked at when the restore
 * changes, never by polling.
 */
#ifndef UFFDD_WAITS_H
#define UFFDD_WAITS_H

#include <sys/queue.h>

#include "daemon/call.h"

struct wait;
TAILQ_HEAD(wait_list, wait);

/* Has it got there, or can it no longer? @target as given to waits_hold(). */
typedef bool (*wait_test)(const struct live *live, int target);
/* Answers the request. @late: time is over. */
typedef void (*wait_answer)(struct http_request *req, const struct live *live, bool late);

/* Answers at once if @test is true already, or with 429 when too many are held. */
void waits_hold(struct wait_list *waits, struct call *c, struct live *live, uint64_t ms,
		wait_test test, int target, wait_answer answer);
/* Look at those that wait for @live. */
void waits_look(struct wait_list *waits, const struct live *live);

#endif
