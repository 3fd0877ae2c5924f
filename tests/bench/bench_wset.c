/*
 * bench_wset - a guest that touches what it touched the last time
 *
 * A first restore is recorded. Then each sample begins with a cold page cache: how
 * long until the guest has been through the same pages in the same order, with its
 * working set replayed, and on demand only?
 */
#include <poll.h>
#include <string.h>

#include "tests/bench/bench_guest.h"
#include "tests/bench/bench_place.h"
#include "tests/fakes/vmm/walk.h"

#define BYTES GIB
#define NPAGES (BYTES / PAGE_4K)
#define SHARE 5   /* a fifth of all pages */
#define RUN_MAX 4 /* runs of 1 to 4 pages: 2.5 on average */
#define RECORDED_MS 20000

/* Shared with the guest's process. */
struct walk_through {
	struct bench_touches touches;
	uint64_t ns;
};

/* Runs in random order, none beside another. Returns how many pages. */
static size_t make_path(uint32_t *pages)
{
	const size_t stride = SHARE * (RUN_MAX + 1) / 2; /* mean run × share */
	size_t slots = NPAGES / stride, n = 0;

	for (size_t i = 0; i < slots; i++) {
		uint64_t slot = walk_page(WALK_RAND, i, slots, 2);
		size_t run = 1 + vmm_mix(slot) % RUN_MAX;

		for (size_t k = 0; k < run; k++)
			pages[n++] = (uint32_t)(slot * stride + 1 + k);
	}
	return n;
}

static int walk_path(struct bench_guest *g, void *arg, struct err *err)
{
	struct walk_through *w = arg;
	uint64_t start = bench_now_ns();

	if (bench_guest_connect(g, err) || bench_guest_touch(g, &w->touches, err))
		return -1;
	w->ns = bench_now_ns() - start;
	return bench_guest_verify(g, err);
}

/* Its end ends the recording, before pages that nobody needs are looked at. */
static int walk_only(struct bench_guest *g, void *arg, struct err *err)
{
	struct walk_through *w = arg;

	return bench_guest_connect(g, err) || bench_guest_touch(g, &w->touches, err) ? -1 : 0;
}

static void take_time(const struct bench_side *s, double ret[BENCH_FIGURES_MAX])
{
	const struct walk_through *w = s->plan.arg;

	ret[0] = (double)w->ns / 1e9;
}

/* Until the set of what @s has served can be had. */
static int await_set(const struct bench_run *r, const char *id, struct err *err)
{
	uint64_t deadline = now_us() + (uint64_t)RECORDED_MS * 1000;
	char target[64];

	snprintf(target, sizeof(target), "/v1/restores/%s/working-set", id);
	while (rig_call(&r->rig, "GET", target, NULL, NULL, err)) {
		if (err->code != ERR_NOTFOUND || now_us() >= deadline)
			return -1;
		poll(NULL, 0, 10);
	}
	return 0;
}

static int record(struct bench_run *r, const char *image, struct walk_through *w, struct err *err)
{
	struct bench_server s = {.run = r,
				 .kind = BENCH_UFFDD,
				 .image = image,
				 .members = "\"prefetch\":{\"mode\":\"none\"},"
					    "\"working_set\":{\"record\":true}"};
	struct bench_plan plan = {.bytes = BYTES,
				  .install_bytes = BYTES / SHARE,
				  .image = image,
				  .act = walk_only,
				  .arg = w};
	char id[sizeof(s.id)];

	snprintf(id, sizeof(id), "r%u", r->restores);
	if (bench_guest_run(&s, &plan, err))
		/* What this release does not know it refuses. */
		return err->code == ERR_INVALID ? bench_absent(r) : -1;
	return await_set(r, id, err);
}

static int run_pairs(struct bench_run *r, const char *image, struct walk_through *w,
		     struct err *err)
{
	/* The page cache may come to hold all of it. */
	struct bench_plan plan = {.bytes = BYTES,
				  .install_bytes = BYTES / SHARE + BYTES,
				  .image = image,
				  .act = walk_path,
				  .arg = w};
	/* clang-format off */
	struct bench_side side[2] = {
		{.server = {.run = r, .kind = BENCH_UFFDD, .image = image,
			    .members = "\"prefetch\":{\"mode\":\"working-set\"},"
				       "\"working_set\":{\"record\":false}"},
		 .plan = plan, .cold = image, .take = take_time},
		{.server = {.run = r, .kind = BENCH_UFFDD, .image = image,
			    .members = "\"prefetch\":{\"mode\":\"none\"},"
				       "\"working_set\":{\"record\":false}"},
		 .plan = plan, .cold = image, .take = take_time},
	};
	/* clang-format on */

	return bench_pairs(r, side, 0, 1, err);
}

int bench_wset(struct bench_run *r, struct err *err)
{
	cleanup_free uint32_t *pages = xcalloc(NPAGES, sizeof(*pages));
	struct walk_through *w = bench_shared(sizeof(*w));
	size_t n = make_path(pages);
	char image[PATH_MAX];
	int rc = -1;

	w->touches = (struct bench_touches){.pages = pages,
					    .n = n,
					    .threads = 1,
					    .ns = bench_shared(n * sizeof(uint64_t))};
	if (!bench_place_on_disk(r->dir)) {
		err_set(err, ERR_SYSTEM, BENCH_NO_DISK, r->dir);
		bench_absent(r);
	} else if (bench_place_data(r, BYTES, image, err) == 0 &&
		   bench_place_warm(image, err) == 0 && record(r, image, w, err) == 0) {
		rc = run_pairs(r, image, w, err);
	}
	r->samples = r->pairs;
	bench_unshare(w->touches.ns, n * sizeof(uint64_t));
	bench_unshare(w, sizeof(*w));
	return rc;
}
