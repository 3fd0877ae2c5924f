#include "worker/loop.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/timerfd.h>

#include "common/proc.h"
#include "worker/fault.h"

#define BACKOFF_MIN_US 20
#define BACKOFF_MAX_US 2000
/* A layer that was copied from for a fault is looked at again within … */
#define PROOF_US 5000
#define WARMED_MAX 64 /* taken at once */

/* What wakes it. */
enum { WAKES_UFFD, WAKES_VMM, WAKES_LINK, WAKES_WARM, WAKES_PROOF, WAKES_WINDOW };

static int set_waits(struct loop *l, struct err *err)
{
	return wait_set(&l->wait, WAKES_UFFD, l->guest->uffd, err) ||
	       wait_set(&l->wait, WAKES_VMM, l->vmm, err) ||
	       wait_set(&l->wait, WAKES_LINK, link_fd(l->link), err) ||
	       wait_set(&l->wait, WAKES_WARM, warm_fd(l->warm), err) ||
	       wait_set(&l->wait, WAKES_PROOF, l->proof, err) ||
	       wait_set(&l->wait, WAKES_WINDOW, l->window, err) ? -1 : 0;
}

int loop_init(struct loop *l, struct guest *guest, struct link *link, struct habit *habit,
	      int vmm, const struct spec *spec, struct err *err)
{
	memset(l, 0, sizeof(*l));
	l->guest = guest;
	l->link = link;
	l->habit = habit;
	l->vmm = vmm;
	l->when_complete = spec->when_complete;
	l->on_failure = spec->on_failure;
	l->link_epoch = link->epoch;
	l->proof = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	l->window = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (wait_open(&l->wait, err) || warm_new(guest->src, &l->warm, err) || set_waits(l, err)) {
		loop_fini(l);
		return -1;
	}
	prefetch_init(&l->prefetch, l->warm, spec->prefetch, spec->rate_bytes_per_s, now_us());
	lease_init(&l->lease, link);
	return 0;
}

bool loop_fini(struct loop *l)
{
	wait_close(&l->wait);
	close_fd(&l->proof);
	close_fd(&l->window);
	return warm_free(l->warm);
}

/* ---- to the supervisor ---- */

static void tell(struct loop *l, enum chan_type type)
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
	lease_anew(&l->lease);
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
		link_note(l->link, "forked", "the VMM forked; its child's memory is not served");
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
	uint64_t faults = l->guest->map.stats->faults;
	struct err err;
	int n;

	do {
		n = uffd_read(l->guest->uffd, l->guest->map.inbox, msgs, UF_READ_MAX, &err);
		if (n < 0) {
			wait_set(&l->wait, WAKES_UFFD, -1, &err);
			fail(l, &err);
			return;
		}
		if (n > 0)
			fault_point(FAULT_AFTER_READ);
		take(l, msgs, n);
	} while (n == UF_READ_MAX);
	if (l->guest->map.stats->faults != faults && prefetch_wants(&l->prefetch))
		prefetch_yield(&l->prefetch, now_us());
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
	case GUEST_COLD:
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

/* Its bytes are on the disk: threads that may wait for it do. */
static void have_warmed(struct loop *l, struct fault *f)
{
	const uint64_t page_bytes = l->guest->page_bytes;
	bool asked = warm_ask(l->warm, f->page * page_bytes, page_bytes, WARM_DEMAND);

	/* Nobody can: then this one must. */
	f->stage = asked ? FAULT_WARMING : FAULT_WARMED;
}

static bool answer(void *arg, struct fault *f)
{
	struct loop *l = arg;
	bool first = pagemap_get(&l->guest->map, f->page) == PAGE_ABSENT;
	struct err err;

	if (l->gone)
		return true;
	if (l->failed && first)
		return answer_failed(l, f->page);
	fault_point(FAULT_BEFORE_INSTALL);
	switch (guest_fault(l->guest, f->page, f->stage == FAULT_WARMED, &err)) {
	case GUEST_DONE:
		if (first && l->habit->record.on &&
		    pagemap_get(&l->guest->map, f->page) == PAGE_PRESENT)
			record_touch(&l->habit->record, f->page, now_us());
		return true;
	case GUEST_DEFER:
		return false;
	case GUEST_COLD:
		have_warmed(l, f);
		return false;
	case GUEST_GONE:
		l->gone = true;
		return true;
	case GUEST_FAIL:
		break;
	}
	fail(l, &err);
	return answer_failed(l, f->page);
}

static void answer_all(struct loop *l)
{
	size_t answered;

	if (!faults_ready(&l->faults))
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
	return faults_ready(&l->faults) && !(l->failed && l->on_failure != FAILURE_POISON);
}

/* ---- from the disk ---- */

static void take_warmed(struct loop *l)
{
	const uint64_t page_bytes = l->guest->page_bytes;
	struct warm_range done[WARMED_MAX];
	size_t n = warm_take(l->warm, done, WARMED_MAX);

	for (size_t i = 0; i < n; i++) {
		if (done[i].bytes)
			guest_lend(l->guest, done[i].off / page_bytes, done[i].bytes);
		if (done[i].why == WARM_DEMAND)
			faults_warmed(&l->faults, done[i].off / page_bytes, 1);
		else
			prefetch_warmed(&l->prefetch, l->guest, done[i].off);
	}
}

/* What was put together for pages that are there now. */
static void give_back(struct loop *l)
{
	void *bytes;

	while (l->guest->nlent && (bytes = guest_unlend(l->guest)))
		warm_give_back(l->warm, bytes);
}

/* ---- what was copied without a look at the layer afterwards ---- */

/* Once; 0: not any more. A timeout of each sleep would cost every fault the setting of a timer. */
static void set_timer(int fd, uint64_t us)
{
	const struct itimerspec when = {.it_value = {(time_t)(us / 1000000),
						     (long)(us % 1000000) * 1000}};

	timerfd_settime(fd, 0, &when, NULL);
}

static void prove(struct loop *l)
{
	struct err err;

	set_timer(l->proof, 0);
	l->proof_due = false;
	if (guest_prove(l->guest, &err))
		fail(l, &err);
}

/* ---- prefetch and completion ---- */

static void step(struct loop *l)
{
	uint64_t before = l->guest->map.stats->installed_bytes, now = now_us();
	enum guest_answer a;
	struct err err;

	a = prefetch_step(&l->prefetch, l->guest, now, &err);
	habit_stepped(l->habit, now);
	l->guest->map.head->prefetch_done = l->prefetch.done;
	switch (a) {
	case GUEST_GONE:
		l->gone = true;
		break;
	case GUEST_FAIL:
		fail(l, &err);
		break;
	default:
		if (l->prefetch.stopped)
			link_note(l->link, "prefetch-stopped", err.msg);
		break;
	}
	lease_spend(&l->lease, l->guest->map.stats->installed_bytes - before, now_us());
}

/* After a release, or the guest's end, it is left to whoever runs the loop. */
static void check_recording(struct loop *l)
{
	if (!l->habit->record.on)
		return;
	if (l->failed)
		habit_drop(l->habit);
	else if (l->paused || l->completed || l->window_over)
		habit_end(l->habit, &l->guest->map, now_us());
}

static void check_complete(struct loop *l)
{
	if (l->completed || !pagemap_complete(&l->guest->map))
		return;
	prove(l);
	l->guest->map.head->complete = !l->failed;
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
	fault_point(FAULT_STOPPING);
	l->stopping = true;
	/* A pause that crossed it on the way would keep us here. */
	l->paused = false;
	if (l->completed)
		return;
	switch (guest_poison_absent(l->guest, drain, l, &err)) {
	case GUEST_DONE:
		l->completed = true;
		answer_all(l);
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

static void read_link(struct loop *l)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;

	while (link_recv(l->link, &msg, fds) == CHAN_GOT) {
		if (msg.type == CHAN_WSET_GIVEN)
			habit_hear(l->habit, fds);
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
	unsigned ready;
	struct err err;

	/* Found again. One that was lost has left by itself. */
	if (l->link_epoch != l->link->epoch) {
		l->link_epoch = l->link->epoch;
		wait_set(&l->wait, WAKES_LINK, link_fd(l->link), &err);
	}
	if (guest_unproven(l->guest) && !l->proof_due) {
		set_timer(l->proof, PROOF_US);
		l->proof_due = true;
	}
	ready = wait_sleep(&l->wait, wait_us);
	if (ready & 1u << WAKES_VMM)
		l->gone = true;
	if (ready & 1u << WAKES_LINK)
		read_link(l);
	if (ready & 1u << WAKES_WARM)
		take_warmed(l);
	if (ready & 1u << WAKES_PROOF)
		prove(l);
	if (ready & 1u << WAKES_WINDOW) {
		set_timer(l->window, 0);
		l->window_over = true;
	}
}

/*
 * When the next step may be taken, and when a lease must be looked after; WAIT_NEVER:
 * not as things are. The clock is not looked at while nothing depends on it.
 */
static void step_due(struct loop *l, uint64_t *ret_step_us, uint64_t *ret_lease_us)
{
	bool wants = !l->failed && !l->completed && prefetch_wants(&l->prefetch);
	uint64_t now, need = WAIT_NEVER;

	*ret_step_us = *ret_lease_us = WAIT_NEVER;
	if (!wants && lease_idle(&l->lease))
		return;
	now = now_us();
	if (wants)
		need = prefetch_wait_us(&l->prefetch, now);
	lease_turn(&l->lease, need, now);
	*ret_step_us = max_u64(need, lease_wait_us(&l->lease, now));
	*ret_lease_us = lease_alarm_us(&l->lease, need, now);
}

static uint64_t link_due(struct loop *l)
{
	return link_away(l->link) ? link_wait_us(l->link, now_us()) : WAIT_NEVER;
}

enum loop_end loop_run(struct loop *l)
{
	if (l->habit->record.on)
		set_timer(l->window, max_u64(record_wait_us(&l->habit->record, now_us()), 1));
	while (!l->gone) {
		uint64_t step_us, lease_us;

		read_all(l);
		answer_all(l);
		check_complete(l);
		if (link_away(l->link))
			link_turn(l->link, now_us());
		if (may_release(l)) {
			l->guest->map.head->releasing = 1;
			fault_point(FAULT_RELEASING);
			if (guest_release(l->guest, drain, l) == GUEST_GONE)
				break;
			return LOOP_RELEASED;
		}
		check_recording(l);
		step_due(l, &step_us, &lease_us);
		/* No step is taken while faults wait for a removal. */
		if (retry_soon(l))
			step_us = l->backoff_us;
		else if (step_us == 0)
			step(l);
		give_back(l);
		sleep_until_something(l, min_u64(step_us, min_u64(lease_us, link_due(l))));
	}
	return LOOP_GONE;
}
