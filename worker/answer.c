#include "worker/answer.h"

#include "worker/failure.h"
#include "worker/fault_injection.h"
#include "worker/install.h"

#define BACKOFF_MIN_US 20
#define BACKOFF_MAX_US 2000
#define WARMED_MAX 64 /* taken at once */
/* A shortage of memory may come and go all the time: at most one event in this time. */
#define SHORT_TOLD_AGAIN_US ((uint64_t)10 * 1000 * 1000)

/* The page's bytes are on the disk: readahead threads wait for them. */
static void have_warmed(struct loop *l, struct fault *f)
{
	const uint64_t page_bytes = l->guest->page_bytes;
	bool asked = readahead_ask(l->readahead, f->page * page_bytes, page_bytes,
				   READAHEAD_DEMAND);

	/* No thread of readahead takes the page: the owner thread must read it. */
	f->stage = asked ? FAULT_WARMING : FAULT_WARMED;
}

static bool answer(void *arg, struct fault *f)
{
	struct loop *l = arg;
	struct touch_log *record = &l->job->working_set.touch_log;
	bool first = pagemap_get(&l->guest->map, f->page) == PAGE_ABSENT;
	struct err err;

	if (l->gone)
		return true;
	if (l->failure.on && first)
		return failure_answer(l, f->page);
	fault_point(FAULT_BEFORE_INSTALL);
	switch (guest_fault(l->guest, f->page, f->stage == FAULT_WARMED, &err)) {
	case GUEST_DONE:
		if (first && record->on && pagemap_get(&l->guest->map, f->page) == PAGE_PRESENT)
			touch_log_touch(record, f->page, now_us());
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
	failure_begin(l, &err);
	return failure_answer(l, f->page);
}

void answer_faults(struct loop *l)
{
	size_t answered;

	if (!fault_set_ready(&l->faults))
		return;
	answered = fault_set_each(&l->faults, answer, l);
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

bool answer_soon(const struct loop *l)
{
	return fault_set_ready(&l->faults) &&
	       !(l->failure.on && l->failure.policy != FAILURE_POISON);
}

uint64_t answer_soon_us(const struct loop *l)
{
	if (!l->guest->shortage.since_us)
		return l->backoff_us;
	return max_u64(l->backoff_us, shortage_wait_us(&l->guest->shortage, now_us()));
}

static void note_shortage(struct loop *l, uint64_t now)
{
	if (l->told.short_us && now - l->told.short_us < SHORT_TOLD_AGAIN_US)
		return;
	l->told.short_us = now;
	supervisor_link_note(&l->job->link, CHAN_NOTE_MEMORY_SHORT,
			     l->guest->page_bytes == PAGE_4K
				     ? "threads of the guest wait: the VMM gets no more memory "
				       "(its memory limit)"
				     : "threads of the guest wait: the pool of huge pages is empty "
				       "(vm.nr_hugepages), "
				       "or the VMM's limit of them is reached");
}

void answer_watch_shortage(struct loop *l)
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
		note_shortage(l, now);
	}
}

/* ---- from the disk ---- */

void answer_take_warmed(struct loop *l)
{
	const uint64_t page_bytes = l->guest->page_bytes;
	struct readahead_range done[WARMED_MAX];
	size_t n = readahead_take(l->readahead, done, WARMED_MAX);

	for (size_t i = 0; i < n; i++) {
		if (done[i].bytes)
			install_assembled(l->guest, done[i].off / page_bytes, done[i].bytes);
		if (done[i].why == READAHEAD_DEMAND)
			fault_set_warmed(&l->faults, done[i].off / page_bytes, 1);
		else
			prefetch_warmed(&l->prefetch, l->guest, done[i].off);
	}
}

void answer_give_back(struct loop *l)
{
	void *bytes;

	while (l->guest->nassembled && (bytes = install_take_back(l->guest)))
		readahead_give_back(l->readahead, bytes);
}
