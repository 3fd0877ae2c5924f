/*
 * bench_huge - 2 MiB pages: page by page, all at once, and put together of many pieces
 *
 * The pool of huge pages is enlarged for it and gets its old size back.
 */
#include <inttypes.h>

#include "tests/bench/bench_guest.h"
#include "tests/bench/bench_place.h"

#define BYTES (512 * MIB)
#define PAGES (BYTES / PAGE_2M)
/*
 * UFFDIO_COPY takes a second page for a moment if the source is not mapped yet. And prefetch
 * leaves a sixteenth of the pool.
 */
#define POOL_BYTES (BYTES + 32 * PAGE_2M)

/* Shared with the guest's process. */
struct load {
	struct bench_touches touches;
	uint64_t ns;
};

static int enlarge_pool(uint64_t before, struct err *err)
{
	uint64_t have = vmm_huge_free();

	if (have < POOL_BYTES)
		bench_place_set_pool(before + (POOL_BYTES - have) / PAGE_2M);
	have = vmm_huge_free();
	if (have >= POOL_BYTES)
		return 0;
	return err_set(err, ERR_SYSTEM,
		       "only %" PRIu64 " MiB of huge pages of %" PRIu64
		       " MiB can be had: set vm.nr_hugepages, or run as root",
		       have / MIB, POOL_BYTES / MIB);
}

/* --- page by page --- */

static int touch_and_verify(struct bench_guest *g, void *arg, struct err *err)
{
	struct load *l = arg;

	if (bench_guest_connect(g, err) || bench_guest_touch(g, &l->touches, err))
		return -1;
	l->ns = l->touches.wall_ns;
	return bench_guest_verify(g, err);
}

/* --- all at once --- */

static int load_and_verify(struct bench_guest *g, void *arg, struct err *err)
{
	struct load *l = arg;

	return bench_guest_load(g, &l->ns, err) || bench_guest_verify(g, err) ? -1 : 0;
}

static void take_rate(const struct bench_side *s, double ret[BENCH_FIGURES_MAX])
{
	const struct load *l = s->plan.arg;

	ret[0] = (double)BYTES * 1e9 / (double)l->ns;
}

static int run_all(struct bench_run *r, const char *image, struct load *l, struct err *err)
{
	char layered[PATH_MAX], snapshot[PATH_MAX];

	struct bench_plan plan = {.bytes = BYTES,
				  .page_bytes = PAGE_2M,
				  .install_bytes = BYTES,
				  .image = image,
				  .act = touch_and_verify,
				  .arg = l};
	/* clang-format off */
	struct bench_side side[2] = {
		{.server = {.run = r, .kind = BENCH_UFFDD, .image = image,
			    .members = "\"prefetch\":{\"mode\":\"none\"}"},
		 .plan = plan, .take = take_rate},
		{.server = {.run = r, .kind = BENCH_FLOOR, .image = image},
		 .plan = plan, .take = take_rate},
	};
	/* clang-format on */

	if (bench_pairs(r, side, 0, 1, err))
		return -1;
	side[0].server.members = "\"prefetch\":{\"mode\":\"all\"}";
	side[1].server.kind = BENCH_FLOOR_BULK;
	side[0].plan.act = side[1].plan.act = load_and_verify;
	if (bench_pairs(r, side, 1, 1, err) ||
	    bench_place_layers(r, BYTES, layered, snapshot, err) || bench_place_warm(layered, err))
		return -1;
	side[0].server.snapshot = snapshot;
	side[1].server.image = side[0].plan.image = side[1].plan.image = layered;
	return bench_pairs(r, side, 2, 1, err);
}

int bench_huge(struct bench_run *r, struct err *err)
{
	cleanup_free uint32_t *pages = bench_order(PAGES, PAGES, 1);
	struct load *l = bench_shared(sizeof(*l));
	uint64_t before = bench_place_pool();
	char image[PATH_MAX];
	int rc = -1;

	l->touches = (struct bench_touches){.pages = pages,
					    .n = PAGES,
					    .threads = 1,
					    .ns = bench_shared(PAGES * sizeof(uint64_t))};
	if (enlarge_pool(before, err))
		bench_absent(r);
	else if (bench_place_data(r, BYTES, image, err) == 0 && bench_place_warm(image, err) == 0)
		rc = run_all(r, image, l, err);
	bench_place_set_pool(before);
	r->samples = r->pairs * PAGES;
	bench_unshare(l->touches.ns, PAGES * sizeof(uint64_t));
	bench_unshare(l, sizeof(*l));
	return rc;
}
