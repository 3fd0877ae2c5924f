#include "worker/messages.h"

#include <poll.h>

#include "worker/failure.h"
#include "worker/fault_injection.h"

static void on_fault(struct loop *l, const struct uf_msg *m)
{
	struct pagemap_stats *stats = l->guest->map.stats;
	struct err err;
	uint64_t page;

	stats->faults++;
	stats->faults_written += m->write;
	if (guest_page(l->guest, m->start, &page)) {
		fault_set_add(&l->faults, page);
		return;
	}
	err_set(&err, ERR_PEER, "a fault at %#llx, which is in no region of the handshake",
		(unsigned long long)m->start);
	failure_begin(l, &err);
}

/* Write protection is the VMM's affair, but a write must not hang because of this worker. */
static void on_fault_wp(struct loop *l, const struct uf_msg *m)
{
	uint64_t start = align_down(m->start, l->guest->page_bytes);

	uffd_unprotect(l->guest->uffd, start, l->guest->page_bytes);
}

static void on_fault_minor(struct loop *l, const struct uf_msg *m)
{
	struct err err;

	err_set(&err, ERR_PEER,
		"a minor fault at %#llx: guest memory must be private anonymous, "
		"registered for missing pages",
		(unsigned long long)m->start);
	failure_begin(l, &err);
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
		failure_begin(l, &err);
}

/* The child's memory is not served: only its descriptor has come. */
static void on_fork(struct loop *l, const struct uf_msg *m)
{
	if (m->fd >= 0)
		close(m->fd);
	if (l->guest->map.stats->events_fork++ == 0)
		supervisor_link_note(&l->job->link, CHAN_NOTE_FORKED,
				     "the VMM forked; its child's memory is not served");
}

static void on_unknown(struct loop *l, const struct uf_msg *m)
{
	struct err err;

	(void)m;
	err_set(&err, ERR_PEER, "the uffd delivered an event of an unknown kind");
	failure_begin(l, &err);
}

static void (*const on_event[])(struct loop *l, const struct uf_msg *m) = {
	[UF_FAULT] = on_fault,   [UF_FAULT_WP] = on_fault_wp, [UF_FAULT_MINOR] = on_fault_minor,
	[UF_REMOVE] = on_remove, [UF_UNMAP] = on_unmap,       [UF_REMAP] = on_remap,
	[UF_FORK] = on_fork,     [UF_UNKNOWN] = on_unknown,
};

/*
 * Faults only join the fault set. If the worker dies they are raised again, when the region is
 * woken. Removals are not: the inbox is cleared only once they are in the page map.
 */
static void take(struct loop *l, const struct uf_msg *msgs, int n)
{
	for (int i = 0; i < n; i++)
		on_event[msgs[i].event](l, &msgs[i]);
	uffd_clear(l->guest->map.inbox);
}

void messages_read(struct loop *l)
{
	struct uf_msg msgs[UF_READ_MAX];
	uint64_t faults = l->guest->map.stats->faults;
	struct err err;
	int n;

	do {
		n = uffd_read(l->guest->uffd, l->guest->map.inbox, msgs, UF_READ_MAX, &err);
		if (n < 0) {
			wait_set(&l->wakes.wait, WAKES_UFFD, -1, &err);
			failure_begin(l, &err);
			return;
		}
		if (n > 0)
			fault_point(FAULT_AFTER_READ);
		take(l, msgs, n);
	} while (n == UF_READ_MAX);
	if (l->guest->map.stats->faults != faults && prefetch_wants(&l->prefetch))
		prefetch_yield(&l->prefetch, now_us());
}

/*
 * The page that the predecessor was installing when it died may be there, but not in the page map.
 * No thread faults on that page any more, and without prefetch the page map would never be
 * corrected.
 */
static void ask_again(struct loop *l)
{
	const struct pagemap *map = &l->guest->map;
	uint64_t page = map->head->answered - 1;

	if (map->head->answered && page < map->npages && pagemap_get(map, page) == PAGE_ABSENT)
		fault_set_add(&l->faults, page);
}

void messages_take_over(struct loop *l)
{
	struct uf_msg msgs[UF_READ_MAX];

	/* The release of this guest had begun: only finish it. */
	if (l->guest->map.head->releasing)
		l->stopping = l->completed = true;
	take(l, msgs, uffd_left(l->guest->map.inbox, msgs));
	ask_again(l);
	guest_wake_all(l->guest);
}

/* Sleeps 1 ms at most, so that the thread of a removal gets to run. */
void messages_drain(void *arg)
{
	struct loop *l = arg;
	struct pollfd p = {.fd = l->guest->uffd, .events = POLLIN};

	poll(&p, 1, 1);
	messages_read(l);
}
