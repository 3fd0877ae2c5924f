#include "worker/loop.h"

#include <sys/timerfd.h>

#include "worker/answer.h"
#include "worker/failure.h"
#include "worker/fault_injection.h"
#include "worker/install.h"
#include "worker/messages.h"
#include "worker/orders.h"
#include "worker/report.h"

/* Maximum time between a copy for a fault and the check of its layer. */
#define VERIFY_US 5000
/* Pause between checks whether a guest can be released. */
#define ALONE_AGAIN_US ((uint64_t)1000 * 1000)

/* A shortage ends by age if no thread faults any more. */
static uint64_t shortage_due(const struct loop *l)
{
	return l->guest->shortage.since_us ? SHORTAGE_STALE_US : WAIT_NEVER;
}

/* ---- copies whose layer was not checked afterwards ---- */

/* Fires once; 0: stops. A timeout of each sleep instead would cost every fault a timer. */
static void set_timer(int fd, uint64_t us)
{
	const struct itimerspec when = {
		.it_value = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000}};

	timerfd_settime(fd, 0, &when, NULL);
}

static void verify(struct loop *l)
{
	struct err err;

	set_timer(l->wakes.verify, 0);
	l->wakes.verify_due = false;
	if (install_verify(l->guest, &err))
		failure_begin(l, &err);
}

/* ---- prefetch and completion ---- */

static void step(struct loop *l)
{
	uint64_t before = guest_paid_bytes(l->guest), now = now_us();
	enum guest_answer a;
	struct err err;

	a = prefetch_step(&l->prefetch, l->guest, now, &err);
	working_set_stepped(&l->job->working_set, now);
	report_prefetch(l);
	switch (a) {
	case GUEST_GONE:
		l->gone = true;
		break;
	case GUEST_FAIL:
		failure_begin(l, &err);
		break;
	default:
		if (l->prefetch.stopped)
			supervisor_link_note(&l->job->link, CHAN_NOTE_PREFETCH_STOPPED, err.msg);
		break;
	}
	lease_spend(&l->lease, guest_paid_bytes(l->guest) - before, now_us());
}

/* After a release, or the guest's end, serve.c ends the recording. */
static void check_recording(struct loop *l)
{
	if (!l->job->working_set.touch_log.on)
		return;
	if (l->failure.on)
		working_set_drop(&l->job->working_set);
	else if (l->paused || l->completed || l->window_over)
		working_set_end(&l->job->working_set, &l->guest->map, now_us());
}

static void check_complete(struct loop *l)
{
	if (l->completed || l->failure.on || !pagemap_complete(&l->guest->map))
		return;
	verify(l);
	/* The last pages came from a layer that has changed: nothing can be said for them. */
	if (l->failure.on)
		return;
	l->guest->map.head->complete = true;
	l->completed = true;
	report_plain(l->job, CHAN_COMPLETE);
}

static bool wants_release(const struct loop *l)
{
	/* Memory given back to the kernel would look as if the guest had written all of it. */
	bool tracked = l->guest->tracks == UF_TRACKS;
	bool wanted = l->stopping || (l->when_complete == COMPLETE_RELEASE && !tracked);

	/* Not while a snapshot needs exact page states. */
	return wanted && l->completed && !l->paused && !l->failure.on && l->faults.n == 0;
}

/*
 * To a guest without a worker the kernel gives zeros for missing pages. But if the pool has no huge
 * page left, such a fault kills the guest. So release waits until the missing pages can be had.
 */
static bool can_be_alone(struct loop *l)
{
	const uint64_t *pages = l->guest->map.stats->pages;
	uint64_t missing = (pages[PAGE_ABSENT] + pages[PAGE_REMOVED]) * l->guest->page_bytes;
	uint64_t now;

	if (l->stopping || l->guest->page_bytes == PAGE_4K || !missing)
		return true;
	now = now_us();
	if (now < l->alone_us)
		return false;
	l->alone_us = now + ALONE_AGAIN_US;
	return room_suffices(&l->prefetch.room, missing);
}

static uint64_t alone_due(const struct loop *l)
{
	return l->alone_us && wants_release(l) ? ALONE_AGAIN_US : WAIT_NEVER;
}

/* ---- page states that are exact ---- */

/* Not while threads wait, and one chunk at a time. */
static bool survey_turn(struct loop *l)
{
	if (!l->survey.on || answer_soon(l))
		return false;
	if (survey_step(&l->survey, l->guest) == SURVEY_OVER)
		report_plain(l->job, CHAN_PAUSED);
	return l->survey.on;
}

/* ---- the end of the VMM ---- */

static void on_peer_ended(struct loop *l)
{
	struct err err;

	wait_set(&l->wakes.wait, WAKES_VMM, -1, &err);
	life_begin(&l->life, now_us());
}

static void check_life(struct loop *l)
{
	if (!l->life.since_us)
		return;
	switch (life_ask(&l->life, l->guest->uffd, now_us())) {
	case LIFE_GONE:
		l->gone = true;
		break;
	case LIFE_ELSEWHERE:
		failure_poison_instead(l);
		break;
	case LIFE_WAIT:
		break;
	}
}

static uint64_t life_due(const struct loop *l)
{
	return l->life.since_us ? life_wait_us(&l->life, now_us()) : WAIT_NEVER;
}

/* ---- the turn ---- */

static void sleep_until_something(struct loop *l, uint64_t wait_us)
{
	unsigned ready;
	struct err err;

	/* A new channel. A lost one, being closed, has left the epoll set by itself. */
	if (l->wakes.link_epoch != l->job->link.epoch) {
		l->wakes.link_epoch = l->job->link.epoch;
		wait_set(&l->wakes.wait, WAKES_LINK, supervisor_link_fd(&l->job->link), &err);
	}
	if (install_unverified(l->guest) && !l->wakes.verify_due) {
		set_timer(l->wakes.verify, VERIFY_US);
		l->wakes.verify_due = true;
	}
	ready = wait_sleep(&l->wakes.wait, wait_us);
	if (ready & 1u << WAKES_VMM)
		on_peer_ended(l);
	if (ready & 1u << WAKES_LINK)
		orders_read(l->job);
	if (ready & 1u << WAKES_WARM)
		answer_take_warmed(l);
	if (ready & 1u << WAKES_VERIFY)
		verify(l);
	if (ready & 1u << WAKES_WINDOW) {
		set_timer(l->wakes.window, 0);
		l->window_over = true;
	}
}

/*
 * When prefetch would take a step if it had a lease. Without room, looking for room needs no lease.
 * Without a supervisor, which would have to open the cgroups' files, prefetch takes no step before
 * it has them.
 */
static uint64_t due(struct loop *l, uint64_t now, uint64_t *ret_look_us)
{
	if (supervisor_link_away(&l->job->link) && !l->prefetch.room.told)
		return WAIT_NEVER;
	if (prefetch_limited(&l->prefetch)) {
		prefetch_look(&l->prefetch, l->guest, now);
		report_prefetch(l);
	}
	if (!prefetch_limited(&l->prefetch))
		return prefetch_wait_us(&l->prefetch, now);
	*ret_look_us = prefetch_wait_us(&l->prefetch, now);
	return WAIT_NEVER;
}

/*
 * Time until the next step may be taken, and until the lease needs attention; WAIT_NEVER: not for
 * now. The clock is not read while nothing depends on it.
 */
static void step_due(struct loop *l, uint64_t *ret_step_us, uint64_t *ret_lease_us)
{
	bool wants = !l->failure.on && !l->completed && prefetch_wants(&l->prefetch);
	uint64_t now, need = WAIT_NEVER, look_us = WAIT_NEVER;

	*ret_step_us = *ret_lease_us = WAIT_NEVER;
	if (!wants && lease_idle(&l->lease))
		return;
	now = now_us();
	if (wants)
		need = due(l, now, &look_us);
	lease_turn(&l->lease, need, now);
	*ret_step_us = min_u64(max_u64(need, lease_wait_us(&l->lease, now)), look_us);
	*ret_lease_us = lease_alarm_us(&l->lease, need, now);
}

static uint64_t others_due(struct loop *l)
{
	const struct supervisor_link *to = &l->job->link;
	uint64_t link = supervisor_link_away(to) ? supervisor_link_wait_us(to, now_us())
						 : WAIT_NEVER;

	return min_u64(min_u64(link, life_due(l)), min_u64(shortage_due(l), alone_due(l)));
}

enum loop_end loop_run(struct loop *l)
{
	const struct touch_log *record = &l->job->working_set.touch_log;

	if (record->on)
		set_timer(l->wakes.window, max_u64(touch_log_wait_us(record, now_us()), 1));
	while (!l->gone) {
		uint64_t step_us, lease_us;

		messages_read(l);
		answer_faults(l);
		answer_watch_shortage(l);
		check_complete(l);
		if (supervisor_link_away(&l->job->link))
			report_turn(l->job, now_us());
		if (wants_release(l) && can_be_alone(l)) {
			l->guest->map.head->releasing = 1;
			fault_point(FAULT_RELEASING);
			if (guest_release(l->guest, messages_drain, l) == GUEST_GONE)
				break;
			return LOOP_RELEASED;
		}
		check_recording(l);
		step_due(l, &step_us, &lease_us);
		/* No step is taken while faults wait for a removal, or for memory. */
		if (answer_soon(l))
			step_us = answer_soon_us(l);
		else if (step_us == 0)
			step(l);
		if (survey_turn(l))
			step_us = 0;
		answer_give_back(l);
		sleep_until_something(l, min_u64(step_us, min_u64(lease_us, others_due(l))));
		check_life(l);
	}
	return LOOP_GONE;
}

/* clang-format off */
static const struct call needs[] = {
	CALL(timerfd_create), CALL(timerfd_settime), CALL(epoll_create1), CALL(epoll_ctl),
	CALL(epoll_wait), CALL(epoll_pwait), CALL(poll), CALL(ppoll),
};
/* clang-format on */
const struct calls loop_calls = CALLS(needs);
