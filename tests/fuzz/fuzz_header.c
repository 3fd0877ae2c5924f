/* fuzz_header - the snapshot header: what is accepted tiles memory, and points into its builds */
#include "common/header.h"

#include "tests/fuzz/fuzz.h"

static void check_run(const struct header *h, struct extent_run run)
{
	FUZZ_CHECK(run.pages > 0);
	if (run.layer == EXTENT_ZERO)
		return;
	FUZZ_CHECK(run.layer < h->nbuilds);
	FUZZ_CHECK(((uint64_t)run.store + run.pages) * PAGE_4K <= h->builds[run.layer].end_bytes);
}

/* From run to run, and by look-ups that follow no order. */
static void check_extents(const struct header *h)
{
	const struct extents *e = &h->extents;
	size_t cursor = 0, jumping = 0;
	uint64_t page = 0;

	FUZZ_CHECK((uint64_t)e->npages * PAGE_4K == align_up(h->size_bytes, PAGE_4K));
	while (page < e->npages) {
		uint32_t left = (uint32_t)(e->npages - page);
		struct extent_run run = extents_find(e, (uint32_t)page, left, &cursor), one;
		uint32_t last = run.pages - 1;

		check_run(h, run);
		FUZZ_CHECK(run.pages <= left);
		one = extents_find(e, (uint32_t)page + last, 1, &jumping);
		FUZZ_CHECK(one.pages == 1 && one.layer == run.layer);
		FUZZ_CHECK(run.layer == EXTENT_ZERO || one.store == run.store + last);
		one = extents_find(e, (uint32_t)(page / 2), 1, &jumping);
		check_run(h, one);
		page += run.pages;
	}
}

/* As a newest diff over itself nothing changes. */
static void check_overlay(const struct header *h)
{
	struct extents both;
	struct err err;

	if (extents_overlay(&h->extents, &h->extents, &both, &err))
		return;
	FUZZ_CHECK(both.n == h->extents.n);
	FUZZ_CHECK(memcmp(both.v, h->extents.v, both.n * sizeof(*both.v)) == 0);
	extents_fini(&both);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct err err = {.msg = ""};
	struct header h;

	if (header_parse(data, len, &h, &err)) {
		FUZZ_CHECK_ERR(&err);
		return 0;
	}
	check_extents(&h);
	check_overlay(&h);
	header_fini(&h);
	return 0;
}
