/*
 * bench_fault - rows about single faults: how long a thread of the guest waits
 */
#include "tests/bench_guest.h"
#include "tests/bench_place.h"

#define NO_PREFETCH "\"prefetch\":{\"mode\":\"none\"}"

/* What a sample of either side is made of, and what came of it. */
struct sample {
	struct bench_touches touches; /* ns: shared */
};

static int touch_all(struct bench_guest *g, void *arg, struct err *err)
{
	struct sample *s = arg;

	return bench_guest_connect(g, err) || bench_guest_touch(g, &s->touches, err) ||
	       bench_guest_verify(g, err) ? -1 : 0;
}

static int one_pair(struct bench_run *r, struct bench_server server[2], struct bench_plan *plan,
		    struct sample *s, size_t pair, struct err *err)
{
	double p50[2], p99[2];

	for (size_t i = 0; i < 2; i++) {
		size_t side = (i + pair) % 2;

		if (bench_guest_run(&server[side], plan, err))
			return -1;
		p50[side] = bench_percentile(s->touches.ns, s->touches.n, 50);
		p99[side] = bench_percentile(s->touches.ns, s->touches.n, 99);
	}
	bench_pair(r, 0, p50[0], p50[1]);
	bench_pair(r, 1, p99[0], p99[1]);
	r->samples += s->touches.n;
	return 0;
}

int bench_fault(struct bench_run *r, struct err *err)
{
	uint64_t bytes = r->rounds * PAGE_4K;
	char image[PATH_MAX];
	struct bench_server server[2] = {
		{.run = r, .kind = BENCH_UFFDD, .image = image, .members = NO_PREFETCH},
		{.run = r, .kind = BENCH_FLOOR, .image = image},
	};
	struct sample *s = bench_shared(sizeof(*s));
	struct bench_plan plan = {.bytes = bytes, .install_bytes = bytes, .image = image,
				  .act = touch_all, .arg = s};
	cleanup_free uint32_t *pages = bench_order(r->rounds, r->rounds, 1);
	int rc = 0;

	s->touches = (struct bench_touches){.pages = pages, .n = r->rounds, .threads = 1,
					    .ns = bench_shared(r->rounds * sizeof(uint64_t))};
	if (bench_place_data(r, bytes, image, err) || bench_place_warm(image, err))
		rc = -1;
	for (size_t i = 0; i < r->pairs && rc == 0; i++)
		rc = one_pair(r, server, &plan, s, i, err);
	bench_unshare(s->touches.ns, r->rounds * sizeof(uint64_t));
	bench_unshare(s, sizeof(*s));
	return rc;
}
