#include "worker/touch_log.h"

#include <string.h>
#include <sys/mman.h>

#define BYTES (RECORD_PAGES_MAX * sizeof(struct wset_touch))
#define DIGIT_BITS 11
#define DIGITS ((size_t)1 << DIGIT_BITS)

/* Costs no memory before it is used. */
static struct wset_touch *reserve(struct err *err)
{
	void *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p != MAP_FAILED)
		return p;
	err_sys(err, "reserve %zu bytes for a recording", BYTES);
	return NULL;
}

int touch_log_begin(struct touch_log *r, uint64_t window_us, uint64_t seed, uint64_t now,
		    struct err *err)
{
	*r = (struct touch_log){.begin_us = now, .window_us = window_us, .seed = seed};
	r->v = reserve(err);
	r->on = r->v != NULL;
	return r->on ? 0 : -1;
}

void touch_log_fini(struct touch_log *r)
{
	if (r->v)
		munmap(r->v, BYTES);
	*r = (struct touch_log){0};
}

void touch_log_touch(struct touch_log *r, uint64_t page, uint64_t now)
{
	if (!r->on || r->n == RECORD_PAGES_MAX)
		return;
	r->v[r->n++] = (struct wset_touch){(uint32_t)page, wset_group(now - r->begin_us)};
}

void touch_log_sample_begins(struct touch_log *r, uint64_t now)
{
	if (r->on && !r->sample_us)
		r->sample_us = max_u64(now - r->begin_us, 1);
}

uint64_t touch_log_wait_us(const struct touch_log *r, uint64_t now)
{
	uint64_t gone = now - r->begin_us;

	if (!r->on)
		return UINT64_MAX;
	return r->n == RECORD_PAGES_MAX || gone >= r->window_us ? 0 : r->window_us - gone;
}

/* Stable radix sort, by one digit of the page number. */
static void sort_by(const struct wset_touch *from, size_t n, unsigned shift, struct wset_touch *to)
{
	size_t at[DIGITS] = {0}, sum = 0;

	for (size_t i = 0; i < n; i++)
		at[from[i].page >> shift & (DIGITS - 1)]++;
	for (size_t d = 0; d < DIGITS; d++) {
		size_t count = at[d];

		at[d] = sum;
		sum += count;
	}
	for (size_t i = 0; i < n; i++)
		to[at[from[i].page >> shift & (DIGITS - 1)]++] = from[i];
}

/* Sorts by page and keeps the earliest touch of each page. */
static int sort(struct touch_log *r, struct err *err)
{
	struct wset_touch *from = r->v, *to = reserve(err);
	size_t n = 0;

	if (!to)
		return -1;
	for (unsigned shift = 0; shift < 32; shift += DIGIT_BITS) {
		struct wset_touch *sorted = to;

		sort_by(from, r->n, shift, to);
		to = from;
		from = sorted;
	}
	for (size_t i = 0; i < r->n; i++)
		if (n == 0 || from[n - 1].page != from[i].page)
			from[n++] = from[i];
	munmap(to, BYTES);
	r->v = from;
	r->n = n;
	return 0;
}

struct judge {
	const struct touch_log *r;
	const struct pagemap *map;
	uint64_t gone; /* microseconds of recording */
};

/* Has enough time passed that a guest which needs the page would have touched it? */
static bool is_due(const struct judge *j, unsigned group, uint64_t after_us)
{
	uint64_t end = wset_group_end_us(group);

	return after_us >= j->r->window_us || (end < UINT64_MAX && after_us >= 2 * end);
}

static bool is_unneeded(void *arg, uint64_t page, unsigned score, unsigned group)
{
	const struct judge *j = arg;
	enum page_state state = page < j->map->npages ? pagemap_get(j->map, page) : PAGE_ABSENT;

	/*
	 * A candidate must be touched in the very next recording: otherwise candidates would pile
	 * up.
	 */
	if (score < WSET_MEMBER || state == PAGE_ABSENT)
		return is_due(j, group, j->gone);
	/* Before prefetch reached the sample, only the guest could cause such a page's install. */
	return state == PAGE_PRESENT && wset_sampled(page, j->r->seed) &&
	       is_due(j, group, j->r->sample_us);
}

int touch_log_merge(struct touch_log *r, const struct wset *old, const struct pagemap *map,
		    uint64_t now, struct wset *ret, struct err *err)
{
	struct judge j = {.r = r, .map = map, .gone = now - r->begin_us};
	struct wset_recording recording = {.unneeded = is_unneeded, .arg = &j};

	if (sort(r, err))
		return -1;
	recording.touched = r->v;
	recording.n = r->n;
	return wset_merge(old, &recording, ret, err);
}
