#include "tests/fakes/vmm/standin_change.h"

#include <inttypes.h>
#include <poll.h>
#include <unistd.h>

#define REMOVE_RUN_PAGES 32
#define CHANGE_TRIES 1000

/* The length, at most @max, of the run of unmarked pages from @page on; marks it. */
static uint64_t mark_run(bool *marks, uint64_t n, uint64_t page, uint64_t max)
{
	uint64_t len = 0;

	while (len < max && page + len < n && !marks[page + len])
		marks[page + len++] = true;
	return len;
}

static int remove_share(struct walker *seat, uint64_t percent, uint64_t seed, struct err *err)
{
	uint64_t n = seat->v->npages;
	uint64_t left = (n * percent + 99) / 100;
	cleanup_free bool *marks = xcalloc(n, sizeof(*marks));
	uint64_t got;

	for (uint64_t i = 0; i < n && left > 0; i++) {
		uint64_t page = walk_page(WALK_RAND, i, n, seed + 1);
		uint64_t max = 1 + walker_random(seat, REMOVE_RUN_PAGES);

		max = mark_run(marks, n, page, min_u64(max, left));
		for (uint64_t end = page + max; page < end; page += max_u64(got, 1)) {
			if (pages_remove(seat, page, end - page, &got, err))
				return -1;
			left -= got;
		}
	}
	printf("removed %" PRIu64 "\n", atomic_load(&seat->v->removed));
	return 0;
}

/* Some pages at a random place: at least one, unless all of them are always being written. */
static int change_some(struct walker *seat, const char *what,
		       int (*change)(struct walker *, uint64_t, uint64_t, uint64_t *, struct err *),
		       struct err *err)
{
	uint64_t n = seat->v->npages;
	uint64_t got = 0;

	for (int i = 0; i < CHANGE_TRIES && got == 0; i++)
		if (change(seat, walker_random(seat, n), 1 + n / 16, &got, err))
			return -1;
	printf("%s %" PRIu64 "\n", what, got);
	return 0;
}

int standin_change(struct walker *seat, const struct standin_change *c, uint64_t seed,
		   struct err *err)
{
	if (c->remap && change_some(seat, "remapped", pages_remap, err))
		return -1;
	if (c->fork && pages_fork(err))
		return -1;
	if (c->fork)
		puts("forked");
	if (c->remove_pct && remove_share(seat, c->remove_pct, seed, err))
		return -1;
	return c->unmap ? change_some(seat, "unmapped", pages_unmap, err) : 0;
}

/* Lines may wait in there. */
static bool stdin_has_ended(void)
{
	struct pollfd p = {.fd = STDIN_FILENO};

	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

/* One touch at least between two removals: touching is to go on. */
int standin_inflate(struct walker *seat, struct walk *walk, uint64_t until_us, struct err *err)
{
	uint64_t n;

	for (; now_us() < until_us && !stdin_has_ended(); walk_wait(walk, walk_touched(walk) + 1))
		if (pages_remove(seat, walker_random(seat, seat->v->npages),
				 1 + walker_random(seat, REMOVE_RUN_PAGES), &n, err))
			return -1;
	return 0;
}
