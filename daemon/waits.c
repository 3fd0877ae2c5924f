#include "daemon/waits.h"

#include <event2/event.h>

struct wait {
	TAILQ_ENTRY(wait) link;
	struct wait_list *list;
	struct http_request *req;
	struct live *live;
	struct event *deadline;
	wait_test test;
	int target;
	wait_answer answer;
};

static void wait_free(struct wait *w)
{
	TAILQ_REMOVE(w->list, w, link);
	event_free(w->deadline);
	free(w);
}

static void finish(struct wait *w, bool late)
{
	struct http_request *req = w->req;
	const struct live *live = w->live;
	wait_answer answer = w->answer;

	wait_free(w);
	answer(req, live, late);
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

void waits_hold(struct wait_list *waits, struct call *c, struct live *live, uint64_t ms,
		wait_test test, int target, wait_answer answer)
{
	const struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000};
	struct wait *w;
	struct err err;

	if (ms == 0 || test(live, target)) {
		answer(c->req, live, !test(live, target));
		return;
	}
	w = xcalloc(1, sizeof(*w));
	if (http_hold(c->req, on_gone, w)) {
		free(w);
		err_set(&err, ERR_QUOTA, "too many requests wait already: try again, or poll");
		call_problem(c->req, &err);
		return;
	}
	*w = (struct wait){
		.list = waits,
		.req = c->req,
		.live = live,
		.deadline = evtimer_new(c->sup->host.base, on_deadline, w),
		.test = test,
		.target = target,
		.answer = answer,
	};
	evtimer_add(w->deadline, &tv);
	TAILQ_INSERT_TAIL(waits, w, link);
}

void waits_look(struct wait_list *waits, const struct live *live)
{
	struct wait *w, *next;

	for (w = TAILQ_FIRST(waits); w; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->live == live && w->test(live, w->target))
			finish(w, false);
	}
}
