#include "daemon/waits.h"

#include <event2/event.h>

#include "daemon/call.h"

struct wait {
	TAILQ_ENTRY(wait) link;
	struct waits *waits;
	struct http_request *req;
	const struct restore *restore;
	struct event *deadline;
	struct wait_goal goal;
};

void waits_init(struct waits *waits, struct event_base *base)
{
	waits->base = base;
	TAILQ_INIT(&waits->held);
}

static void wait_free(struct wait *w)
{
	TAILQ_REMOVE(&w->waits->held, w, link);
	event_free(w->deadline);
	free(w);
}

static void finish(struct wait *w, bool late)
{
	const struct wait done = *w;
	struct err err;

	wait_free(w);
	if (done.goal.answer(done.req, done.restore, late, &err))
		call_problem(done.req, &err);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	finish(arg, true);
}

static void on_gone(struct http_request *req, void *arg)
{
	(void)req;
	wait_free(arg);
}

static bool has_reached(const struct wait_goal *goal, const struct restore *restore)
{
	return goal->reached(restore, goal->target);
}

int waits_hold(struct waits *waits, struct http_request *req, const struct restore *restore,
	       uint64_t ms, const struct wait_goal *goal, struct err *err)
{
	const struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000};
	struct wait *w;

	if (ms == 0 || has_reached(goal, restore))
		return goal->answer(req, restore, !has_reached(goal, restore), err);
	w = xcalloc(1, sizeof(*w));
	if (http_hold(req, on_gone, w)) {
		free(w);
		return err_set(err, ERR_QUOTA,
			       "too many requests wait already: try again, or poll");
	}
	*w = (struct wait){
		.waits = waits,
		.req = req,
		.restore = restore,
		.deadline = evtimer_new(waits->base, on_deadline, w),
		.goal = *goal,
	};
	evtimer_add(w->deadline, &tv);
	TAILQ_INSERT_TAIL(&waits->held, w, link);
	return 0;
}

void waits_look(struct waits *waits, const struct restore *restore)
{
	struct wait *w, *next;

	for (w = TAILQ_FIRST(&waits->held); w; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->restore == restore && has_reached(&w->goal, restore))
			finish(w, false);
	}
}
