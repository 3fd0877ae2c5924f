#include "worker/orders.h"

#include <string.h>

#include "common/proc.h"
#include "worker/fault.h"
#include "worker/messages.h"

/* ---- to it ---- */

void orders_tell(struct loop *l, enum chan_type type)
{
	struct chan_msg msg = {0};

	link_send(l->link, type, &msg, NULL, 0);
}

static void tell_failed(struct loop *l)
{
	struct chan_msg msg = {0};

	msg.failed.code = l->err.code;
	msg.failed.sys = l->err.sys;
	msg.failed.kill = l->on_failure == FAILURE_KILL;
	snprintf(msg.failed.msg, sizeof(msg.failed.msg), "%s", l->err.msg);
	link_send(l->link, CHAN_FAILED, &msg, NULL, 0);
}

/* Whom to kill is not known here: so what is missing is poisoned, and nobody hangs on it. */
void orders_poison_instead(struct loop *l)
{
	if (l->failed && l->life.elsewhere && l->on_failure == FAILURE_KILL)
		l->on_failure = FAILURE_POISON;
}

/* Absent pages can no longer be supplied; removed ones still read zero. */
void orders_fail(struct loop *l, const struct err *err)
{
	if (l->failed)
		return;
	l->failed = true;
	l->err = *err;
	tell_failed(l);
	/* Nobody there to do it: try it ourselves. */
	if (l->link->chan < 0 && l->on_failure == FAILURE_KILL && l->vmm >= 0) {
		struct err ignored;

		proc_kill(l->vmm, &ignored);
	}
	orders_poison_instead(l);
}

void orders_publish(struct loop *l)
{
	enum pagemap_limit limit = l->prefetch.room.limit;

	l->guest->map.head->prefetch_done = l->prefetch.done;
	l->guest->map.head->prefetch_limit = limit;
	if (limit == LIMIT_NONE || l->limits_told & 1u << limit || link_away(l->link))
		return;
	l->limits_told |= 1u << limit;
	link_note(l->link, CHAN_NOTE_PREFETCH_LIMITED, pagemap_limit_texts[limit]);
}

void orders_replay(struct loop *l)
{
	lease_anew(&l->lease);
	if (l->paused && !l->survey.on)
		orders_tell(l, CHAN_PAUSED);
	if (l->completed)
		orders_tell(l, CHAN_COMPLETE);
	if (l->failed)
		tell_failed(l);
}

/* ---- from it ---- */

static void use_pagemap(struct loop *l, int fd)
{
	guest_use_pagemap(l->guest, fd);
	/* A predecessor's pause: what it had found out need not be right any more. */
	if (l->paused && !l->survey.on)
		survey_begin(&l->survey, l->guest);
}

static void on_prefetch(struct loop *l, const struct chan_msg *msg)
{
	l->held = msg->prefetch.paused;
	room_bound(&l->prefetch.room, msg->prefetch.max_resident_bytes);
	if (msg->prefetch.mode < PREFETCH_COUNT)
		prefetch_set(&l->prefetch, (enum spec_prefetch)msg->prefetch.mode,
			     l->held || l->paused, msg->prefetch.rate_bytes_per_s, now_us());
	orders_publish(l);
}

static void on_pause(struct loop *l, const struct chan_msg *msg)
{
	(void)msg;
	l->paused = l->prefetch.held = true;
	survey_begin(&l->survey, l->guest);
}

static void on_resume(struct loop *l, const struct chan_msg *msg)
{
	(void)msg;
	survey_end(&l->survey, l->guest);
	l->paused = false;
	l->prefetch.held = l->held;
}

/*
 * The restore is stopped, the guest lives. Complete: let it go on alone. Else
 * only poisoned pages make it safe to leave: a descriptor closed over missing
 * pages would turn them into zeros. (FAILURE_KILL is the supervisor's.)
 */
static void on_stop(struct loop *l, const struct chan_msg *msg)
{
	struct err err;

	(void)msg;
	fault_point(FAULT_STOPPING);
	l->stopping = true;
	/* A pause that crossed it on the way would keep us here. */
	survey_end(&l->survey, l->guest);
	l->paused = false;
	if (l->completed)
		return;
	switch (guest_poison_absent(l->guest, messages_drain, l, &err)) {
	case GUEST_DONE:
		l->completed = true;
		break;
	case GUEST_GONE:
		l->gone = true;
		break;
	default:
		l->on_failure = FAILURE_KILL;
		orders_fail(l, &err);
		break;
	}
}

static void on_lease_grant(struct loop *l, const struct chan_msg *msg)
{
	lease_granted(&l->lease, &msg->lease);
}

static void on_lease_revoke(struct loop *l, const struct chan_msg *msg)
{
	(void)msg;
	lease_revoked(&l->lease);
}

static const struct {
	enum chan_type type;
	void (*handle)(struct loop *l, const struct chan_msg *msg);
} handlers[] = {
	{CHAN_PREFETCH, on_prefetch},
	{CHAN_PAUSE, on_pause},
	{CHAN_RESUME, on_resume},
	{CHAN_STOP, on_stop},
	{CHAN_LEASE_GRANT, on_lease_grant},
	{CHAN_LEASE_REVOKE, on_lease_revoke},
};

void orders_read(struct loop *l)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;

	while (link_recv(l->link, &msg, fds) == CHAN_GOT) {
		if (msg.type == CHAN_WSET_GIVEN)
			habit_hear(l->habit, fds);
		if (msg.type == CHAN_PRESENCE)
			use_pagemap(l, steal_fd(&fds[0]));
		if (msg.type == CHAN_CGROUPS)
			room_hear(&l->prefetch.room, &msg.cgroups, fds);
		for (size_t i = 0; i < CHAN_FDS_MAX; i++)
			close_fd(&fds[i]);
		for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
			if (handlers[i].type == msg.type)
				handlers[i].handle(l, &msg);
	}
}
