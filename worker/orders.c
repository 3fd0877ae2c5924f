#include "worker/orders.h"

#include "worker/failure.h"
#include "worker/fault_injection.h"
#include "worker/holder.h"
#include "worker/peers.h"
#include "worker/messages.h"
#include "worker/report.h"

/* A message, and those of its descriptors that no handler has taken. */
struct heard {
	struct chan_msg msg;
	int fds[CHAN_FDS_MAX];
};

/* ---- before a guest is served ---- */

static void on_assign(struct job *j, struct heard *h)
{
	job_assign(j, &h->msg.assign, h->fds);
}

static void on_peer(struct job *j, struct heard *h)
{
	if (h->fds[0] >= 0)
		peers_add(j->peers, steal_fd(&h->fds[0]), now_us());
}

static void on_prefetch_wish(struct job *j, struct heard *h)
{
	if (h->msg.prefetch.mode >= PREFETCH_COUNT)
		return;
	j->spec.prefetch = (enum spec_prefetch)h->msg.prefetch.mode;
	j->spec.rate_bytes_per_s = h->msg.prefetch.rate_bytes_per_s;
	j->spec.max_resident_bytes = h->msg.prefetch.max_resident_bytes;
	j->prefetch_held = h->msg.prefetch.paused;
}

static void on_stop_at_once(struct job *j, struct heard *h)
{
	(void)h;
	j->stop = true;
}

/* ---- in several phases ---- */

/* From now on the restore survives its worker's death, and the loss of the store. */
static void on_known(struct job *j, struct heard *h)
{
	(void)h;
	j->known = true;
	holder_known(j->holder);
}

static void on_wset_given(struct job *j, struct heard *h)
{
	working_set_receive(&j->working_set, h->fds);
}

/* ---- while a guest is served ---- */

static void on_presence(struct job *j, struct heard *h)
{
	struct loop *l = j->loop;

	guest_use_pagemap(l->guest, steal_fd(&h->fds[0]));
	/* A pause taken over from a predecessor, whose survey need not be right any more. */
	if (l->paused && !l->survey.on)
		survey_begin(&l->survey, l->guest);
}

static void on_cgroups(struct job *j, struct heard *h)
{
	room_receive(&j->loop->prefetch.room, &h->msg.cgroups, h->fds);
}

static void on_prefetch(struct job *j, struct heard *h)
{
	struct loop *l = j->loop;

	l->held = h->msg.prefetch.paused;
	room_bound(&l->prefetch.room, h->msg.prefetch.max_resident_bytes);
	if (h->msg.prefetch.mode < PREFETCH_COUNT)
		prefetch_set(&l->prefetch, (enum spec_prefetch)h->msg.prefetch.mode,
			     l->held || l->paused, h->msg.prefetch.rate_bytes_per_s, now_us());
	report_prefetch(l);
}

static void on_pause(struct job *j, struct heard *h)
{
	struct loop *l = j->loop;

	(void)h;
	l->paused = l->prefetch.held = true;
	survey_begin(&l->survey, l->guest);
}

static void on_resume(struct job *j, struct heard *h)
{
	struct loop *l = j->loop;

	(void)h;
	survey_end(&l->survey, l->guest);
	l->paused = false;
	l->prefetch.held = l->held;
}

/*
 * The restore is stopped, the guest lives. A complete guest is released. Otherwise the worker may
 * leave only after it has poisoned the absent pages: closing the uffd over missing pages would turn
 * them into zeros. (FAILURE_KILL is done by the supervisor.)
 */
static void on_stop(struct job *j, struct heard *h)
{
	struct loop *l = j->loop;
	struct err err;

	(void)h;
	fault_point(FAULT_STOPPING);
	l->stopping = true;
	/* A PAUSE that crossed the STOP would keep the worker here. */
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
		l->failure.policy = FAILURE_KILL;
		failure_begin(l, &err);
		break;
	}
}

static void on_lease_grant(struct job *j, struct heard *h)
{
	lease_granted(&j->loop->lease, &h->msg.lease);
}

static void on_lease_revoke(struct job *j, struct heard *h)
{
	(void)h;
	lease_revoked(&j->loop->lease);
}

/* ---- the table ---- */

#define IN(phase) (1u << JOB_##phase)

/* A type has at most one row in each phase. A handler takes the descriptors that it keeps. */
/* clang-format off */
static const struct row {
	enum chan_type type;
	unsigned phases;
	void (*handle)(struct job *j, struct heard *h);
} rows[] = {
	{CHAN_ASSIGN,       IN(IDLE),                                on_assign},
	{CHAN_KNOWN,        IN(WAITING) | IN(SERVING) | IN(REFUSED), on_known},
	{CHAN_WSET_GIVEN,   IN(WAITING) | IN(SERVING),               on_wset_given},
	{CHAN_PEER,         IN(WAITING),                             on_peer},
	{CHAN_PREFETCH,     IN(WAITING),                             on_prefetch_wish},
	{CHAN_PREFETCH,     IN(SERVING),                             on_prefetch},
	{CHAN_PRESENCE,     IN(SERVING),                             on_presence},
	{CHAN_CGROUPS,      IN(SERVING),                             on_cgroups},
	{CHAN_LEASE_GRANT,  IN(SERVING),                             on_lease_grant},
	{CHAN_LEASE_REVOKE, IN(SERVING),                             on_lease_revoke},
	{CHAN_PAUSE,        IN(SERVING),                             on_pause},
	{CHAN_RESUME,       IN(SERVING),                             on_resume},
	{CHAN_STOP,         IN(WAITING) | IN(REFUSED),               on_stop_at_once},
	{CHAN_STOP,         IN(SERVING),                             on_stop},
};
/* clang-format on */

static const struct row *find(uint32_t type, enum job_phase phase)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].type == type && rows[i].phases & 1u << phase)
			return &rows[i];
	return NULL;
}

enum orders_step orders_receive(struct job *j)
{
	const struct row *row;
	struct heard h;

	if (supervisor_link_recv(&j->link, &h.msg, h.fds) != CHAN_GOT)
		return ORDERS_NOTHING;
	row = find(h.msg.type, j->phase);
	if (row)
		row->handle(j, &h);
	chan_close_fds(h.fds);
	return row || h.msg.type == CHAN_NONE ? ORDERS_DONE : ORDERS_IGNORED;
}

void orders_read(struct job *j)
{
	while (!j->stop && orders_receive(j) != ORDERS_NOTHING)
		;
}
