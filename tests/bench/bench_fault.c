/*
 * bench_fault - rows about single faults: how long a thread of the guest waits
 */
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "tests/bench/bench_guest.h"
#include "tests/bench/bench_place.h"

#define NO_PREFETCH "\"prefetch\":{\"mode\":\"none\"}"
#define PREFETCH "\"prefetch\":{\"mode\":\"all\"}"
/* Or the next sample would find what this one touches installed first. */
#define NO_RECORD "\"working_set\":{\"record\":false}"
#define SEED 1

/* Shared with the guest's process. */
struct fault_set {
	struct bench_touches touches;
	size_t room;    /* of touches.ns */
	bool many;      /* bench_extents() */
	uint32_t begin; /* bench_busy(): the first page that may be touched, and is not */
	bool busy;
	size_t done; /* touches that count */
	double rate; /* of prefetch meanwhile, bytes per second */
};

static struct fault_set *faults_new(const struct bench_run *r, const uint32_t *pages)
{
	struct fault_set *f = bench_shared(sizeof(*f));

	f->touches = (struct bench_touches){.pages = pages,
					    .n = r->rounds,
					    .threads = 1,
					    .ns = bench_shared(r->rounds * sizeof(uint64_t))};
	f->room = r->rounds;
	return f;
}

static void faults_free(struct fault_set *f)
{
	bench_unshare(f->touches.ns, f->room * sizeof(uint64_t));
	bench_unshare(f, sizeof(*f));
}

static void take_percentiles(const struct bench_side *s, double ret[BENCH_FIGURES_MAX])
{
	const struct fault_set *f = s->plan.arg;

	ret[0] = bench_percentile(f->touches.ns, f->touches.n, 50);
	ret[1] = bench_percentile(f->touches.ns, f->touches.n, 99);
}

static void take_throughput(const struct bench_side *s, double ret[BENCH_FIGURES_MAX])
{
	const struct fault_set *f = s->plan.arg;

	ret[0] = (double)f->touches.n * 1e9 / (double)f->touches.wall_ns;
}

static int touch_and_verify(struct bench_guest *g, void *arg, struct err *err)
{
	struct fault_set *f = arg;

	return bench_guest_connect(g, err) || bench_guest_touch(g, &f->touches, err) ||
			       bench_guest_verify(g, err)
		       ? -1
		       : 0;
}

/* --- beside the floor --- */

int bench_fault(struct bench_run *r, struct err *err)
{
	uint64_t bytes = r->rounds * PAGE_4K;
	cleanup_free uint32_t *pages = bench_order(r->rounds, r->rounds, SEED);
	struct fault_set *f = faults_new(r, pages);
	char image[PATH_MAX];
	struct bench_plan plan = {.bytes = bytes,
				  .install_bytes = bytes,
				  .image = image,
				  .act = touch_and_verify,
				  .arg = f};
	/* clang-format off */
	struct bench_side side[2] = {
		{.server = {.run = r, .kind = BENCH_UFFDD, .image = image, .members = NO_PREFETCH},
		 .plan = plan, .take = take_percentiles},
		{.server = {.run = r, .kind = BENCH_FLOOR, .image = image},
		 .plan = plan, .take = take_percentiles},
	};
	/* clang-format on */
	int rc = -1;

	if (bench_place_data(r, bytes, image, err) == 0 && bench_place_warm(image, err) == 0)
		rc = bench_pairs(r, side, 0, 2, err);
	r->samples = r->pairs * r->rounds;
	faults_free(f);
	return rc;
}

/* --- many extents, and one --- */

static int touch_extents(struct bench_guest *g, void *arg, struct err *err)
{
	struct fault_set *f = arg;
	uint8_t want[PAGE_4K];

	if (bench_guest_connect(g, err) || bench_guest_touch(g, &f->touches, err))
		return -1;
	for (size_t i = 0; i < f->touches.n; i++) {
		uint32_t page = f->touches.pages[i];

		bench_place_extents_page(f->many, page, want);
		if (memcmp(g->memory + page * PAGE_4K, want, sizeof(want)) != 0)
			return err_set(err, ERR_SNAPSHOT, "guest page %u is wrong", page);
	}
	return 0;
}

int bench_extents(struct bench_run *r, struct err *err)
{
	size_t n = min_u64(r->rounds, BENCH_EXTENTS / BENCH_STRIDE);
	cleanup_free uint32_t *pages = bench_order(n, BENCH_EXTENTS / BENCH_STRIDE, SEED);
	char snapshot[2][PATH_MAX];
	struct fault_set *f[2];
	struct bench_side side[2];
	int rc = 0;

	r->rounds = n;
	for (size_t i = 0; i < n; i++)
		pages[i] *= BENCH_STRIDE;
	for (size_t i = 0; i < 2; i++) {
		f[i] = faults_new(r, pages);
		f[i]->many = i == 0;
		side[i] = (struct bench_side){
			.server = {.run = r,
				   .kind = BENCH_UFFDD,
				   .snapshot = snapshot[i],
				   .members = NO_PREFETCH},
			.plan = {.bytes = BENCH_EXTENTS * PAGE_4K,
				 .install_bytes = n * PAGE_4K,
				 .act = touch_extents,
				 .arg = f[i]},
			.take = take_percentiles,
		};
		if (rc == 0)
			rc = bench_place_extents(r, f[i]->many, snapshot[i], err);
	}
	if (rc == 0)
		rc = bench_pairs(r, side, 0, 1, err);
	r->samples = r->pairs * n;
	faults_free(f[0]);
	faults_free(f[1]);
	return rc;
}

/* --- while prefetch is running --- */

#define BUSY_BYTES (256 * MIB)
/* Touched is what prefetch, which goes by address, comes to last. */
#define BUSY_ZONE_PAGES ((uint32_t)8192)
#define BUSY_WAIT_US 10000000
#define BUSY_CHUNK ((size_t)100)
#define BUSY_MIN ((size_t)100)
/*
 * A guest that does nothing but fault may be given way to for as long as it does: prefetch
 * hardly runs beside it. One that computes in between meets prefetch at its work.
 */
#define BUSY_PAUSE_US 400
#define BUSY_PAUSED_MAX ((size_t)1000)

static int await_page(struct bench_guest *g, uint64_t page, struct err *err)
{
	uint64_t deadline = now_us() + BUSY_WAIT_US;

	while (!bench_guest_has(g, page)) {
		if (now_us() >= deadline)
			return err_set(err, ERR_TIMEOUT, "prefetch does not begin");
		poll(NULL, 0, 1);
	}
	return 0;
}

/* As long as prefetch has not come to what is touched. More of the idle ones is no harm. */
static int touch_chunks(struct bench_guest *g, struct fault_set *f, struct err *err)
{
	size_t before = bench_guest_count(g, f->begin);
	struct bench_touches all = f->touches;
	uint64_t start = bench_now_ns();

	f->done = 0;
	while (f->done < all.n) {
		struct bench_touches t = all;

		t.pages += f->done;
		t.ns += f->done;
		t.n = min_u64(BUSY_CHUNK, all.n - f->done);
		for (size_t i = 0; i < t.n; i++)
			if (bench_guest_has(g, t.pages[i]))
				return err_set(err, ERR_SYSTEM,
					       "page %u is there before it is "
					       "touched, out of turn",
					       t.pages[i]);
		if (bench_guest_touch(g, &t, err))
			return -1;
		if (bench_guest_has(g, f->begin))
			break;
		f->done += t.n;
	}
	f->rate = (double)(bench_guest_count(g, f->begin) - before) * (double)PAGE_4K * 1e9 /
		  (double)(bench_now_ns() - start);
	if (f->done < min_u64(BUSY_MIN, all.n))
		return err_set(err, ERR_SYSTEM,
			       "prefetch was through after %zu touches: too few "
			       "to tell",
			       f->done);
	return 0;
}

static int touch_busy(struct bench_guest *g, void *arg, struct err *err)
{
	struct fault_set *f = arg;

	return bench_guest_connect(g, err) || (f->busy && await_page(g, 0, err)) ||
			       touch_chunks(g, f, err) || bench_guest_verify(g, err)
		       ? -1
		       : 0;
}

static void take_done(const struct bench_side *s, double ret[BENCH_FIGURES_MAX])
{
	const struct fault_set *f = s->plan.arg;

	ret[0] = bench_percentile(f->touches.ns, f->done, 50);
	ret[1] = f->rate;
}

static int run_busy(struct bench_run *r, struct bench_side side[2], struct fault_set *f[2],
		    struct err *err)
{
	size_t n = f[0]->touches.n;

	if (bench_pairs(r, side, 0, 2, err))
		return -1;
	for (size_t i = 0; i < 2; i++) {
		f[i]->touches.pause_us = BUSY_PAUSE_US;
		f[i]->touches.n = min_u64(n, BUSY_PAUSED_MAX);
	}
	return bench_pairs(r, side, 2, 2, err);
}

int bench_busy(struct bench_run *r, struct err *err)
{
	uint32_t begin = BUSY_BYTES / PAGE_4K - BUSY_ZONE_PAGES;
	size_t n = min_u64(r->rounds, BUSY_ZONE_PAGES - 1);
	cleanup_free uint32_t *pages = bench_order(n, BUSY_ZONE_PAGES - 1, SEED);
	char image[PATH_MAX];
	struct fault_set *f[2];
	struct bench_side side[2];
	int rc = -1;

	r->rounds = n;
	for (size_t i = 0; i < n; i++)
		pages[i] += begin + 1;
	for (size_t i = 0; i < 2; i++) {
		f[i] = faults_new(r, pages);
		f[i]->busy = i == 0;
		f[i]->begin = begin;
		side[i] = (struct bench_side){
			.server = {.run = r,
				   .kind = BENCH_UFFDD,
				   .image = image,
				   .members = f[i]->busy ? PREFETCH "," NO_RECORD
							 : NO_PREFETCH "," NO_RECORD},
			.plan = {.bytes = BUSY_BYTES,
				 .install_bytes = BUSY_BYTES,
				 .image = image,
				 .act = touch_busy,
				 .arg = f[i]},
			.take = take_done,
		};
	}
	if (bench_place_data(r, BUSY_BYTES, image, err) == 0 && bench_place_warm(image, err) == 0)
		rc = run_busy(r, side, f, err);
	/* What this release does not know it refuses. */
	if (rc && err->code == ERR_INVALID)
		bench_absent(r);
	r->samples = r->pairs * n;
	faults_free(f[0]);
	faults_free(f[1]);
	return rc;
}

/* --- several threads, cold --- */

#define THREADS 8
#define COLD_BYTES (512 * MIB)

int bench_threads(struct bench_run *r, struct err *err)
{
	cleanup_free uint32_t *pages = bench_order(r->rounds, COLD_BYTES / PAGE_4K, SEED);
	char image[PATH_MAX];
	struct fault_set *f[2];
	struct bench_side side[2];
	int rc = -1;

	for (size_t i = 0; i < 2; i++) {
		f[i] = faults_new(r, pages);
		f[i]->touches.threads = i == 0 ? THREADS : 1;
		side[i] = (struct bench_side){
			.server = {.run = r,
				   .kind = BENCH_UFFDD,
				   .image = image,
				   .members = NO_PREFETCH},
			/* The page cache may come to hold all of it. */
			.plan = {.bytes = COLD_BYTES,
				 .image = image,
				 .act = touch_and_verify,
				 .install_bytes = COLD_BYTES + r->rounds * PAGE_4K,
				 .arg = f[i]},
			.cold = image,
			.take = take_throughput,
		};
	}
	if (!bench_place_on_disk(r->dir)) {
		err_set(err, ERR_SYSTEM, BENCH_NO_DISK, r->dir);
		bench_absent(r);
	} else if (bench_place_data(r, COLD_BYTES, image, err) == 0) {
		rc = bench_pairs(r, side, 0, 1, err);
	}
	r->samples = r->pairs * r->rounds;
	faults_free(f[0]);
	faults_free(f[1]);
	return rc;
}
