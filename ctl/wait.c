#include "ctl/wait.h"

#include <poll.h>
#include <string.h>

#include "common/proto.h"
#include "ctl/member.h"
#include "ctl/progress.h"
#include "ctl/render.h"

#define POLL_MS 30000      /* one long poll */
#define POLL_DRAWN_MS 1000 /* while a bar is drawn */
#define PACE_MS 100        /* between polls that are answered at once */
#define SLACK_MS 10000     /* an answer may come so much later than asked for */

const struct args_option wait_options[] = {
	{"for", 0, "STATE", ARGS_GOAL, false,
	 "waiting, serving, recovering, ended, failed or complete (default serving)"},
	{"timeout", 0, "TIME", ARGS_DURATION, false, "how long at most (default 30s)"},
	CTL_TENANT_OPTION,
	{0},
};

struct wait {
	struct ctl *ctl;
	const char *id, *goal;
	uint64_t deadline_us;
	struct progress progress;
	struct json_object *restore; /* owned: as last seen, or NULL */
};

enum wait_verdict wait_judge(struct json_object *restore, const char *goal)
{
	const char *state = member_string(restore, "state");

	if (!state)
		return WAIT_ON;
	if (strcmp(state, goal) == 0 ||
	    (strcmp(goal, "complete") == 0 && member_true(restore, "complete")))
		return WAIT_REACHED;
	if (strcmp(state, "failed") == 0)
		return WAIT_FAILED;
	/* A restore begins in "waiting", and never returns to it. */
	if (strcmp(state, "ended") == 0 || strcmp(goal, "waiting") == 0)
		return WAIT_LOST;
	return WAIT_ON;
}

static uint64_t left_ms(const struct wait *w)
{
	uint64_t now = now_us();

	return now < w->deadline_us ? (w->deadline_us - now + 999) / 1000 : 0;
}

/* @step_ms: of the long poll; 0: the answer comes at once. */
static int look(struct wait *w, uint64_t step_ms, struct err *err)
{
	char target[CTL_TARGET_MAX], query[64] = "";
	struct client_request req = {"GET", target, .timeout_ms = step_ms + SLACK_MS};
	struct json_object *restore;

	if (step_ms)
		snprintf(query, sizeof(query), "for=%s&wait=%llums", w->goal,
			 (unsigned long long)step_ms);
	ctl_restore_target(w->ctl, w->id, "", query, target);
	if (ctl_call(w->ctl, &req, &restore, err) < 0)
		return -1;
	json_object_put(w->restore);
	w->restore = restore;
	progress_draw(&w->progress, restore, now_us());
	return 0;
}

/* Looks until the verdict is final, or the time is over (then WAIT_ON). */
static int look_on(struct wait *w, enum wait_verdict *ret, struct err *err)
{
	const uint64_t longest = w->progress.on ? POLL_DRAWN_MS : POLL_MS;
	/* The bar is drawn from the beginning, so its first look does not wait. */
	uint64_t step = w->progress.on ? 0 : min_u64(left_ms(w), longest);

	for (;;) {
		uint64_t began = now_us(), took;
		enum wait_verdict verdict;

		if (look(w, step, err) < 0)
			return -1;
		verdict = wait_judge(w->restore, w->goal);
		if (verdict != WAIT_ON || left_ms(w) == 0) {
			*ret = verdict;
			return 0;
		}
		took = (now_us() - began) / 1000;
		if (step && took < PACE_MS)
			poll(NULL, 0, (int)min_u64(PACE_MS - took, left_ms(w)));
		step = min_u64(max_u64(left_ms(w), 1), longest);
	}
}

static int conclude(struct wait *w, enum wait_verdict verdict)
{
	const char *state = member_string(w->restore, "state");
	const char *reason = member_string(w->restore, "reason");
	const char *colon = reason && *reason ? ": " : "";
	struct err err;

	ctl_print(w->ctl, w->restore, render_line);
	if (!state)
		state = "in no known state";
	if (!reason)
		reason = "";
	switch (verdict) {
	case WAIT_REACHED:
		return CTL_DONE;
	case WAIT_FAILED:
		err_set(&err, ERR_STATE, "%s has failed%s%s", w->id, colon, reason);
		ctl_fail(w->ctl, &err);
		return CTL_FAILED;
	case WAIT_LOST:
		err_set(&err, ERR_STATE, "%s is %s and can no longer become %s%s%s", w->id, state,
			w->goal, colon, reason);
		return ctl_fail(w->ctl, &err);
	case WAIT_ON:
		break;
	}
	err_set(&err, ERR_TIMEOUT, "%s is still %s, not %s; --timeout gives it more time", w->id,
		state, w->goal);
	return ctl_fail(w->ctl, &err);
}

int wait_run(struct ctl *ctl)
{
	const char *goal = ctl_option(ctl, "for"), *timeout = ctl_option(ctl, "timeout");
	struct wait w = {.ctl = ctl, .id = ctl->args.words[0], .goal = goal ? goal : "serving"};
	enum wait_verdict verdict = WAIT_ON;
	uint64_t ms = POLL_MS;
	struct err err;
	int rc;

	if (timeout)
		proto_duration_ms(timeout, &ms);
	w.deadline_us = now_us() + ms * 1000;
	progress_start(&w.progress, !ctl->json && !ctl->quiet);
	rc = look_on(&w, &verdict, &err);
	progress_stop(&w.progress);
	rc = rc < 0 ? ctl_fail(ctl, &err) : conclude(&w, verdict);
	json_object_put(w.restore);
	return rc;
}
