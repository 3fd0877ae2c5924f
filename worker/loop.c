#include "worker/loop.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/timerfd.h>

#include "common/proc.h"
#include "worker/fault.h"
#include "worker/install.h"
#include "worker/messages.h"
#include "worker/orders.h"

#define BACKOFF_MIN_US 20
#define BACKOFF_MAX_US 2000
/* A layer that was copied from for a fault is looked at again within … */
#define PROOF_US 5000
#define WARMED_MAX 64 /* taken at once */
/* A guest that cannot be left alone yet: look again after … */
#define ALONE_AGAIN_US ((uint64_t)1000 * 1000)
/* Memory may come and go all the time: an event tells of it at most once in … */
#define SHORT_TOLD_AGAIN_US ((uint64_t)10 * 1000 * 1000)

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
	room_bound(&l->prefetch.room, spec->max_resident_bytes);
	/* What limited a predecessor has to be found again. */
	guest->map.head->prefetch_limit = LIMIT_NONE;
	if (!spec->zero_pages && guest->page_bytes > PAGE_4K)
		guest_leave_zeros(guest);
	lease_init(&l->lease, link);
	if (vmm < 0)
		life_begin(&l->life, now_us());
	return 0;
}

bool loop_fini(struct loop *l)
{
	wait_close(&l->wait);
	close_fd(&l->proof);
	close_fd(&l->window);
	prefetch_fini(&l->prefetch);
	return warm_free(l->warm);
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
	case GUEST_SHORT:
		return false;
	case GUEST_FAIL:
		break;
	}
	/* No UFFDIO_POISON here: a guest must not hang unseen. */
	l->on_failure = l->life.elsewhere ? FAILURE_HOLD : FAILURE_KILL;
	l->failed = false;
	orders_fail(l, &err);
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
	case GUEST_SHORT:
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
	orders_fail(l, &err);
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

/*
 * Faults that wait for a removal to finish, or for memory, are tried again; those of a failed
 * page are not.
 */
static bool retry_soon(const struct loop *l)
{
	return faults_ready(&l->faults) && !(l->failed && l->on_failure != FAILURE_POISON);
}

static uint64_t retry_us(const struct loop *l)
{
	if (!l->guest->shortage.since_us)
		return l->backoff_us;
	return max_u64(l->backoff_us, shortage_wait_us(&l->guest->shortage, now_us()));
}

static void tell_shortage(struct loop *l, uint64_t now)
{
	if (l->short_told_us && now - l->short_told_us < SHORT_TOLD_AGAIN_US)
		return;
	l->short_told_us = now;
	link_note(l->link, CHAN_NOTE_MEMORY_SHORT, l->guest->page_bytes == PAGE_4K
		  ? "threads of the guest wait: the VMM gets no more memory (its memory limit)"
		  : "threads of the guest wait: the pool of huge pages is empty (vm.nr_hugepages), "
		    "or the VMM's limit of them is reached");
}

/* While threads wait for memory that shows, once it has been so for a while. */
static void watch_shortage(struct loop *l)
{
	struct pagemap_head *head = l->guest->map.head;
	enum pagemap_short what = l->guest->page_bytes == PAGE_4K ? PAGEMAP_SHORT_OF_MEMORY
								  : PAGEMAP_SHORT_OF_HUGE;
	uint64_t now;

	if (!l->guest->shortage.since_us && !head->short_of)
		return;
	now = now_us();
	shortage_age(&l->guest->shortage, now);
	if (!shortage_lasts(&l->guest->shortage)) {
		head->short_of = PAGEMAP_SHORT_OF_NOTHING;
	} else if (!head->short_of) {
		head->short_of = what;
		tell_shortage(l, now);
	}
}

/* Nobody may fault any more who would show that it is over. */
static uint64_t shortage_due(const struct loop *l)
{
	return l->guest->shortage.since_us ? SHORTAGE_STALE_US : WAIT_NEVER;
}

/* ---- from the disk ---- */

static void take_warmed(struct loop *l)
{
	const uint64_t page_bytes = l->guest->page_bytes;
	struct warm_range done[WARMED_MAX];
	size_t n = warm_take(l->warm, done, WARMED_MAX);

	for (size_t i = 0; i < n; i++) {
		if (done[i].bytes)
			install_lend(l->guest, done[i].off / page_bytes, done[i].bytes);
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

	while (l->guest->nlent && (bytes = install_unlend(l->guest)))
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
	if (install_prove(l->guest, &err))
		orders_fail(l, &err);
}

/* ---- prefetch and completion ---- */

static void step(struct loop *l)
{
	uint64_t before = guest_paid_bytes(l->guest), now = now_us();
	enum guest_answer a;
	struct err err;

	a = prefetch_step(&l->prefetch, l->guest, now, &err);
	habit_stepped(l->habit, now);
	orders_publish(l);
	switch (a) {
	case GUEST_GONE:
		l->gone = true;
		break;
	case GUEST_FAIL:
		orders_fail(l, &err);
		break;
	default:
		if (l->prefetch.stopped)
			link_note(l->link, CHAN_NOTE_PREFETCH_STOPPED, err.msg);
		break;
	}
	lease_spend(&l->lease, guest_paid_bytes(l->guest) - before, now_us());
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
	l->guest->map.head->complete = 1;
	orders_tell(l, CHAN_COMPLETE);
}

static bool wants_release(const struct loop *l)
{
	/* Given back to the kernel, its memory would look as if the guest had written all of it. */
	bool tracked = l->guest->tracks == UF_TRACKS;
	bool wanted = l->stopping || (l->when_complete == COMPLETE_RELEASE && !tracked);

	/* Not while a snapshot wants exact page states. */
	return wanted && l->completed && !l->paused && !l->failed && l->faults.n == 0;
}

/*
 * To a guest that is alone the kernel gives zeros where nothing is; but a huge page that the
 * pool has not is its end. So it is not left by itself before the rest of them can be had.
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

/* Not while threads wait, and not all at once. */
static bool survey_turn(struct loop *l)
{
	if (!l->survey.on || retry_soon(l))
		return false;
	if (survey_step(&l->survey, l->guest) == SURVEY_OVER)
		orders_tell(l, CHAN_PAUSED);
	return l->survey.on;
}

/* ---- the end of the VMM ---- */

static void on_peer_ended(struct loop *l)
{
	struct err err;

	wait_set(&l->wait, WAKES_VMM, -1, &err);
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
		orders_poison_instead(l);
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

	/* Found again. One that was lost has left by itself. */
	if (l->link_epoch != l->link->epoch) {
		l->link_epoch = l->link->epoch;
		wait_set(&l->wait, WAKES_LINK, link_fd(l->link), &err);
	}
	if (install_unproven(l->guest) && !l->proof_due) {
		set_timer(l->proof, PROOF_US);
		l->proof_due = true;
	}
	ready = wait_sleep(&l->wait, wait_us);
	if (ready & 1u << WAKES_VMM)
		on_peer_ended(l);
	if (ready & 1u << WAKES_LINK)
		orders_read(l);
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
 * When prefetch, were it alone, would take a step. Without room it needs no lease to
 * look for some; and without a supervisor, who would have to open the files, it
 * takes none before one has.
 */
static uint64_t due(struct loop *l, uint64_t now, uint64_t *ret_look_us)
{
	if (link_away(l->link) && !l->prefetch.room.told)
		return WAIT_NEVER;
	if (prefetch_limited(&l->prefetch)) {
		prefetch_look(&l->prefetch, l->guest, now);
		orders_publish(l);
	}
	if (!prefetch_limited(&l->prefetch))
		return prefetch_wait_us(&l->prefetch, now);
	*ret_look_us = prefetch_wait_us(&l->prefetch, now);
	return WAIT_NEVER;
}

/*
 * When the next step may be taken, and when a lease must be looked after; WAIT_NEVER:
 * not as things are. The clock is not looked at while nothing depends on it.
 */
static void step_due(struct loop *l, uint64_t *ret_step_us, uint64_t *ret_lease_us)
{
	bool wants = !l->failed && !l->completed && prefetch_wants(&l->prefetch);
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
	uint64_t link = link_away(l->link) ? link_wait_us(l->link, now_us()) : WAIT_NEVER;

	return min_u64(min_u64(link, life_due(l)), min_u64(shortage_due(l), alone_due(l)));
}

enum loop_end loop_run(struct loop *l)
{
	if (l->habit->record.on)
		set_timer(l->window, max_u64(record_wait_us(&l->habit->record, now_us()), 1));
	while (!l->gone) {
		uint64_t step_us, lease_us;

		messages_read(l);
		answer_all(l);
		watch_shortage(l);
		check_complete(l);
		if (link_away(l->link))
			link_turn(l->link, now_us());
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
		if (retry_soon(l))
			step_us = retry_us(l);
		else if (step_us == 0)
			step(l);
		if (survey_turn(l))
			step_us = 0;
		give_back(l);
		sleep_until_something(l, min_u64(step_us, min_u64(lease_us, others_due(l))));
		check_life(l);
	}
	return LOOP_GONE;
}
