#include "worker/loop.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "common/proc.h"
#include "worker/fault.h"

#define BACKOFF_MIN_US 20
#define BACKOFF_MAX_US 2000
#define NEVER UINT64_MAX

void loop_init(struct loop *l, struct guest *guest, struct link *link, int vmm,
	       const struct spec *spec)
{
	memset(l, 0, sizeof(*l));
	l->guest = guest;
	l->link = link;
	l->vmm = vmm;
	l->when_complete = spec->when_complete;
	l->on_failure = spec->on_failure;
	prefetch_init(&l->prefetch, spec->prefetch, spec->rate_bytes_per_s, now_us());
}

/* ---- to the supervisor ---- */

static void tell(struct loop *l, enum chan_type type)
{
	struct chan_msg msg = {0};

	link_send(l->link, type, &msg, NULL, 0);
}

/* The queue to the supervisor is short: each kind of note is sent once or rarely. */
static void note(struct loop *l, const char *type, const char *text)
{
	struct chan_msg msg = {0};

	snprintf(msg.note.type, sizeof(msg.note.type), "%s", type);
	snprintf(msg.note.msg, sizeof(msg.note.msg), "%s", text);
	link_send(l->link, CHAN_NOTE, &msg, NULL, 0);
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

/* Absent pages can no longer be supplied; removed ones still read zero. */
static void fail(struct loop *l, const struct err *err)
{
	if (l->failed)
		return;
	l->failed = true;
	l->err = *err;
	tell_failed(l);
	/* Nobody there to do it: try it ourselves. */
	if (l->link->chan < 0 && l->on_failure == FAILURE_KILL) {
		struct err ignored;

		proc_kill(l->vmm, &ignored);
	}
}

void loop_replay(struct loop *l)
{
	if (l->paused)
		tell(l, CHAN_PAUSED);
	if (l->completed)
		tell(l, CHAN_COMPLETE);
	if (l->failed)
		tell_failed(l);
}

/* ---- from the uffd ---- */

static void on_fault(struct loop *l, const struct uf_msg *m)
{
	struct pagemap_stats *stats = l->guest->map.stats;
	struct err err;
	uint64_t page;

	stats->faults++;
	stats->faults_written += m->write;
	prefetch_yield(&l->prefetch);
	if (guest_page(l->guest, m->start, &page)) {
		faults_add(&l->faults, page);
		return;
	}
	err_set(&err, ERR_PEER, "a fault at %#llx, which is in no region of the handshake",
		(unsigned long long)m->start);
	fail(l, &err);
}

/* Write protection is the VMM's business; a write must not hang on us. */
static void on_fault_wp(struct loop *l, const struct uf_msg *m)
{
	uint64_t start = align_down(m->start, l->guest->page_bytes);

	uffd_unprotect(l->guest->uffd, start, l->guest->page_bytes);
}

static void on_fault_minor(struct loop *l, const struct uf_msg *m)
{
	struct err err;

	err_set(&err, ERR_PEER, "a minor fault at %#llx: guest memory must be private anonymous, "
		"registered for missing pages", (unsigned long long)m->start);
	fail(l, &err);
}

static void on_remove(struct loop *l, const struct uf_msg *m)
{
	fault_point(FAULT_REMOVAL_PENDING);
	l->guest->map.stats->events_remove++;
	guest_removed(l->guest, m->start, m->end);
}

static void on_unmap(struct loop *l, const struct uf_msg *m)
{
	l->guest->map.stats->events_unmap++;
	guest_removed(l->guest, m->start, m->end);
}

static void on_remap(struct loop *l, const struct uf_msg *m)
{
	struct err err;

	l->guest->map.stats->events_remap++;
	if (regions_move(l->guest->map.regions, m->start, m->to, m->end - m->start, &err))
		fail(l, &err);
}

/* The child's memory is not ours to serve: its own descriptor is all we got. */
static void on_fork(struct loop *l, const struct uf_msg *m)
{
	if (m->fd >= 0)
		close(m->fd);
	if (l->guest->map.stats->events_fork++ == 0)
		note(l, "forked", "the VMM forked; its child's memory is not served");
}

static void on_unknown(struct loop *l, const struct uf_msg *m)
{
	struct err err;

	(void)m;
	err_set(&err, ERR_PEER, "the uffd delivered an event of an unknown kind");
	fail(l, &err);
}

static void (*const on_event[])(struct loop *l, const struct uf_msg *m) = {
	[UF_FAULT] = on_fault,       [UF_FAULT_WP] = on_fault_wp, [UF_FAULT_MINOR] = on_fault_minor,
	[UF_REMOVE] = on_remove,     [UF_UNMAP] = on_unmap,       [UF_REMAP] = on_remap,
	[UF_FORK] = on_fork,         [UF_UNKNOWN] = on_unknown,
};

/*
 * Faults only join a set of ours; they are lost with us and come again when the
 * region is woken. Removals must not be: the inbox is cleared once they are in the
 * page map.
 */
static void take(struct loop *l, const struct uf_msg *msgs, int n)
{
	for (int i = 0; i < n; i++)
		on_event[msgs[i].event](l, &msgs[i]);
	uffd_clear(l->guest->map.inbox);
}

/* Until the queue was seen empty. */
static void read_all(struct loop *l)
{
	struct uf_msg msgs[UF_READ_MAX];
	struct err err;
	int n;

	do {
		n = uffd_read(l->guest->uffd, l->guest->map.inbox, msgs, UF_READ_MAX, &err);
		if (n < 0) {
			l->deaf = true;
			fail(l, &err);
			return;
		}
		if (n > 0)
			fault_point(FAULT_AFTER_READ);
		take(l, msgs, n);
	} while (n == UF_READ_MAX);
}

void loop_take_over(struct loop *l)
{
	struct uf_msg msgs[UF_READ_MAX];

	/* A guest that was being left alone needs nothing but the end of that. */
	if (l->guest->map.head->releasing)
		l->stopping = l->completed = true;
	take(l, msgs, uffd_left(l->guest->map.inbox, msgs));
	guest_wake_all(l->guest);
}

/* For guest_release() and guest_poison_absent(): somebody else must get to run, too. */
static void drain(void *arg)
{
	struct loop *l = arg;
	struct pollfd p = {.fd = l->guest->uffd, .events = POLLIN};

	poll(&p, 1, 1);
	read_all(l);
}

/* ---- answering ---- */

/* Once failed, a page that needs the snapshot is poisoned, or its threads stay put. */
static bool answer_failed(struct loop *l, uint64_t page)
{
	struct err err;

	if (l->on_failure != FAILURE_POISON)
		return false;
	switch (guest_poison(l->guest, page, &err)) {
	case GUEST_DONE:
		return true;
	case GUEST_GONE:
		l->gone = true;
		return true;
	case GUEST_DEFER:
		return false;
	case GUEST_FAIL:
		break;
	}
	/* No UFFDIO_POISON here: a guest must not hang unseen. */
	l->on_failure = FAILURE_KILL;
	l->failed = false;
	fail(l, &err);
	return false;
}

static bool answer(void *arg, uint64_t page)
{
	struct loop *l = arg;
	struct err err;

	if (l->gone)
		return true;
	if (l->failed && pagemap_get(&l->guest->map, page) == PAGE_ABSENT)
		return answer_failed(l, page);
	fault_point(FAULT_BEFORE_INSTALL);
	switch (guest_fault(l->guest, page, &err)) {
	case GUEST_DONE:
		return true;
	case GUEST_DEFER:
		return false;
	case GUEST_GONE:
		l->gone = true;
		return true;
	case GUEST_FAIL:
		break;
	}
	fail(l, &err);
	return answer_failed(l, page);
}

static void answer_all(struct loop *l)
{
	size_t answered;

	if (!l->faults.n)
		return;
	answered = faults_each(&l->faults, answer, l);
	if (answered || !l->backoff_us)
		l->backoff_us = BACKOFF_MIN_US;
	else
		l->backoff_us = min_u64(l->backoff_us * 2, BACKOFF_MAX_US);
	if (l->faults.overflow && l->faults.n < FAULTS_MAX) {
		l->faults.overflow = false;
		l->guest->map.stats->wakes_overflow++;
		guest_wake_all(l->guest);
	}
}

/* Faults that wait for a removal to finish are tried again; those of a failed page are not. */
static bool retry_soon(const struct loop *l)
{
	return l->faults.n && !(l->failed && l->on_failure != FAILURE_POISON);
}

/* ---- prefetch and completion ---- */

static void step(struct loop *l)
{
	struct err err;

	switch (prefetch_step(&l->prefetch, l->guest, now_us(), &err)) {
	case GUEST_GONE:
		l->gone = true;
		break;
	case GUEST_FAIL:
		fail(l, &err);
		break;
	default:
		if (l->prefetch.stopped)
			note(l, "prefetch-stopped", err.msg);
		break;
	}
}

static void check_complete(struct loop *l)
{
	if (l->completed || !pagemap_complete(&l->guest->map))
		return;
	l->completed = true;
	tell(l, CHAN_COMPLETE);
}

/* May the guest be left alone now? Not while a snapshot wants exact page states. */
static bool may_release(const struct loop *l)
{
	bool wanted = l->stopping || l->when_complete == COMPLETE_RELEASE;

	return wanted && l->completed && !l->paused && !l->failed && l->faults.n == 0;
}

/* ---- from the supervisor ---- */

static void on_prefetch(struct loop *l, const struct chan_msg *msg)
{
	l->held = msg->prefetch.paused;
	if (msg->prefetch.mode < PREFETCH_COUNT)
		prefetch_set(&l->prefetch, (enum spec_prefetch)msg->prefetch.mode,
			     l->held || l->paused, msg->prefetch.rate_bytes_per_s, now_us());
}

static void on_pause(struct loop *l, const struct chan_msg *msg)
{
	(void)msg;
	l->paused = l->prefetch.held = true;
	tell(l, CHAN_PAUSED);
}

static void on_resume(struct loop *l, const struct chan_msg *msg)
{
	(void)msg;
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
	l->stopping = true;
	/* A pause that crossed it on the way would keep us here. */
	l->paused = false;
	if (l->completed)
		return;
	switch (guest_poison_absent(l->guest, drain, l, &err)) {
	case GUEST_DONE:
		l->completed = true;
		faults_each(&l->faults, answer, l);
		break;
	case GUEST_GONE:
		l->gone = true;
		break;
	default:
		l->on_failure = FAILURE_KILL;
		fail(l, &err);
		break;
	}
}

static const struct {
	enum chan_type type;
	void (*handle)(struct loop *l, const struct chan_msg *msg);
} handlers[] = {
	{CHAN_PREFETCH, on_prefetch},
	{CHAN_PAUSE, on_pause},
	{CHAN_RESUME, on_resume},
	{CHAN_STOP, on_stop},
};

static void read_link(struct loop *l)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;

	while (link_recv(l->link, &msg, fds) == CHAN_GOT) {
		for (size_t i = 0; i < CHAN_FDS_MAX; i++)
			close_fd(&fds[i]);
		for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
			if (handlers[i].type == msg.type)
				handlers[i].handle(l, &msg);
	}
}

/* ---- the turn ---- */

static void sleep_until_something(struct loop *l, uint64_t wait_us)
{
	struct pollfd p[] = {
		{.fd = l->deaf ? -1 : l->guest->uffd, .events = POLLIN},
		{.fd = l->vmm, .events = POLLIN},
		{.fd = l->link->chan, .events = POLLIN},
	};
	struct timespec ts = {
		.tv_sec = (time_t)(wait_us / 1000000),
		.tv_nsec = (long)(wait_us % 1000000) * 1000,
	};

	if (ppoll(p, ARRAY_LEN(p), wait_us == NEVER ? NULL : &ts, NULL) <= 0)
		return;
	if (p[1].revents)
		l->gone = true;
	if (p[2].revents)
		read_link(l);
}

static uint64_t wait_us(struct loop *l)
{
	uint64_t now = now_us();
	uint64_t wait = l->failed ? NEVER : prefetch_wait_us(&l->prefetch, now);

	if (retry_soon(l))
		wait = min_u64(l->backoff_us, wait);
	return min_u64(wait, link_wait_us(l->link, now));
}

enum loop_end loop_run(struct loop *l)
{
	while (!l->gone) {
		read_all(l);
		answer_all(l);
		check_complete(l);
		link_turn(l->link, now_us());
		if (may_release(l)) {
			l->guest->map.head->releasing = 1;
			if (guest_release(l->guest, drain, l) == GUEST_GONE)
				break;
			return LOOP_RELEASED;
		}
		if (!l->failed && !retry_soon(l) && prefetch_wait_us(&l->prefetch, now_us()) == 0) {
			step(l);
			sleep_until_something(l, 0);
			continue;
		}
		sleep_until_something(l, wait_us(l));
	}
	return LOOP_GONE;
}
