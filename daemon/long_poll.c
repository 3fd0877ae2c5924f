#include "daemon/long_poll.h"

#include <event2/event.h>

#include "daemon/api_request.h"
#include "daemon/timer.h"

struct wait {
	TAILQ_ENTRY(wait) link;
	struct long_polls *polls;
	struct http_request *req;
	const struct restore *restore;
	struct event *deadline;
	struct wait_goal goal;
};

void long_poll_init(struct long_polls *waits, struct event_base *base)
{
	waits->base = base;
	TAILQ_INIT(&waits->held);
}

static void wait_free(struct wait *w)
{
	TAILQ_REMOVE(&w->polls->held, w, link);
	timer_drop(&w->deadline);
	free(w);
}

static void finish(struct wait *w, bool late)
{
	const struct wait done = *w;
	struct err err;

	wait_free(w);
	if (done.goal.answer(done.req, done.restore, late, &err))
		api_problem(done.req, &err);
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

int long_poll_hold(struct long_polls *waits, struct http_request *req,
		   const struct restore *restore, uint64_t ms, const struct wait_goal *goal,
		   struct err *err)
{
	struct wait *w;

	if (ms == 0 || has_reached(goal, restore))
		return goal->answer(req, restore, !has_reached(goal, restore), err);
	w = xcalloc(1, sizeof(*w));
	if (http_hold(req, on_gone, w)) {
		free(w);
		if (goal->no_place) {
			goal->no_place(req, restore);
			return 0;
		}
		return err_set(err, ERR_QUOTA,
			       "too many requests wait already: try again, or poll");
	}
	*w = (struct wait){
		.polls = waits,
		.req = req,
		.restore = restore,
		.deadline = evtimer_new(waits->base, on_deadline, w),
		.goal = *goal,
	};
	timer_add(w->deadline, ms * TIMER_MS);
	TAILQ_INSERT_TAIL(&waits->held, w, link);
	return 0;
}

void long_poll_look(struct long_polls *waits, const struct restore *restore)
{
	struct wait *w, *next;

	for (w = TAILQ_FIRST(&waits->held); w; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->restore == restore && has_reached(&w->goal, restore))
			finish(w, false);
	}
}
