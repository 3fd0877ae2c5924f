#include "worker/guest.h"

#include <string.h>

#include "common/pagemap_scan.h"
#include "common/uffd_requests.h"
#include "worker/fault_injection.h"
#include "worker/install.h"

/* Runs of each region that are looked at to recognise the VMM's process by its pages. */
#define PROOF_RUNS 64
#define ZEROS_AT_ONCE 4096 /* pages */

int guest_init(struct guest *g, int uffd, struct pagemap *map, struct source *src, struct err *err)
{
	memset(g, 0, sizeof(*g));
	g->uffd = uffd;
	g->map = *map;
	memset(map, 0, sizeof(*map));
	g->src = src;
	g->presence.pagemap = -1;
	g->page_bytes = g->map.regions->page_bytes;
	if (install_init(g, err)) {
		guest_fini(g);
		return -1;
	}
	return 0;
}

void guest_fini(struct guest *g)
{
	install_fini(g);
	presence_fini(&g->presence);
	pagemap_close(&g->map);
	close_fd(&g->uffd);
}

/* An installed page, perhaps a predecessor's, that the pagemap shows proves the right process. */
static void verify_presence(struct guest *g, const struct region *r)
{
	struct presence_run runs[PROOF_RUNS];
	uint64_t next, page;
	int n = presence_runs(&g->presence, r->base, r->base + r->size, runs, PROOF_RUNS, &next);

	for (int i = 0; i < n; i++)
		if (guest_page(g, runs[i].start, &page) &&
		    (pagemap_get(&g->map, page) == PAGE_PRESENT ||
		     pagemap_get(&g->map, page) == PAGE_ZEROED))
			presence_verify(&g->presence, runs[i].start, g->page_bytes);
}

void guest_use_pagemap(struct guest *g, int pagemap)
{
	presence_use(&g->presence, pagemap);
	for (uint32_t i = 0; i < g->map.regions->n && !g->presence.verified; i++)
		verify_presence(g, &g->map.regions->v[i]);
}

bool guest_page(const struct guest *g, uint64_t addr, uint64_t *ret_page)
{
	const struct region *r = regions_at_addr(g->map.regions, addr);

	if (!r)
		return false;
	*ret_page = (addr - r->base + r->offset) / g->page_bytes;
	return true;
}

/* The address of a page, or 0 when its region is gone (REMAP). */
static uint64_t address(const struct guest *g, uint64_t page)
{
	uint64_t off = page * g->page_bytes;
	const struct region *r = regions_at_offset(g->map.regions, off);

	return r ? r->base + (off - r->offset) : 0;
}

/* ---- zero pages ---- */

/* Number of absent pages of [page, page + n) that need no snapshot data. */
static uint64_t count_zeros(struct guest *g, uint64_t page, uint64_t n)
{
	uint64_t end = page + n, zeros = 0, len;

	/* Bounded: otherwise each extent of a long run would search that run to its end. */
	while ((len = pagemap_absent_run(&g->map, page, end, ZEROS_AT_ONCE, &page))) {
		struct source_run run = source_at(g->src, page * g->page_bytes,
						  len * g->page_bytes);
		uint64_t whole = run.len / g->page_bytes;

		zeros += run.data ? 0 : whole;
		/* A page that begins with zeros and continues with data counts as data. */
		page += max_u64(whole, 1);
	}
	return zeros;
}

void guest_leave_zeros(struct guest *g)
{
	g->leaves_zeros = true;
	g->map.absent_zeros = 0;
	for (uint32_t i = 0; i < g->map.regions->n; i++) {
		const struct region *r = &g->map.regions->v[i];

		g->map.absent_zeros += count_zeros(g, r->offset / g->page_bytes,
						   r->size / g->page_bytes);
	}
}

bool guest_leaves(struct guest *g, uint64_t page)
{
	return g->leaves_zeros && count_zeros(g, page, 1);
}

void guest_mark(struct guest *g, uint64_t page, uint64_t n, enum page_state state)
{
	if (g->leaves_zeros)
		g->map.absent_zeros -= count_zeros(g, page, n);
	pagemap_set(&g->map, page, n, state);
}

uint64_t guest_paid_bytes(const struct guest *g)
{
	const struct pagemap_stats *stats = g->map.stats;

	bool paid = guest_is_huge(g) || g->tracks == UF_TRACKS;

	return stats->installed_bytes + (paid ? stats->zero_installed_bytes : 0);
}

/* ---- what the kernel answers ---- */

static void wake(struct guest *g, uint64_t addr)
{
	uffd_wake(g->uffd, addr, g->page_bytes);
}

/* The VMM's memory limit, or an empty huge page pool: wait for a while, not for ever. */
static enum guest_answer short_of_memory(struct guest *g, uint64_t addr, struct err *err)
{
	if (!shortage_meet(&g->shortage, now_us())) {
		err_set(err, ERR_SYSTEM,
			"no memory for the VMM's pages for %llu s: raise its "
			"memory limit%s",
			(unsigned long long)(SHORTAGE_MAX_US / 1000000),
			guest_is_huge(g) ? " or the huge page pool (vm.nr_hugepages)" : "");
		return GUEST_FAIL;
	}
	if (!guest_is_huge(g) || g->presence.verified)
		return GUEST_DEFER;
	/* The page may be there unseen: wake its threads. If it is not there, they fault again. */
	wake(g, addr);
	return GUEST_DONE;
}

/* What a thread that waits for a page gets when the install did not succeed. */
static enum guest_answer unserved(struct guest *g, uint64_t page, uint64_t addr, enum uf_outcome o,
				  struct err *err)
{
	switch (o) {
	case UF_AGAIN:
		g->map.stats->faults_deferred++;
		return GUEST_DEFER;
	case UF_NOMEM:
		return short_of_memory(g, addr, err);
	case UF_EXISTS:
		g->map.stats->faults_present++;
		wake(g, addr);
		return GUEST_DONE;
	case UF_LEFT:
		/* The VMM replaced the mapping: the kernel fills it with zeros itself. */
		g->map.stats->faults_left++;
		guest_mark(g, page, 1, PAGE_REMOVED);
		wake(g, addr);
		return GUEST_DONE;
	case UF_GONE:
		return GUEST_GONE;
	case UF_SOURCE:
		g->map.stats->source_errors++;
		return GUEST_FAIL;
	default:
		err_set(err, ERR_SYSTEM, "the kernel refuses to install page %llu (%s)",
			(unsigned long long)page, uf_outcome_name(o));
		return GUEST_FAIL;
	}
}

/* Pages were installed: a shortage is over, and a page can prove the right process. */
static void installed(struct guest *g, uint64_t page, uint64_t n, enum page_state state)
{
	guest_mark(g, page, n, state);
	shortage_end(&g->shortage);
	if (g->presence.pagemap >= 0 && !g->presence.verified)
		presence_verify(&g->presence, address(g, page), g->page_bytes);
}

static enum guest_answer faulted(struct guest *g, const struct install *in, enum uf_outcome o,
				 struct err *err)
{
	fault_point(FAULT_AFTER_INSTALL);
	if (in->done) {
		installed(g, in->page, 1, PAGE_PRESENT);
		g->map.stats->faults_served++;
		return o == UF_SOURCE ? unserved(g, in->page, in->addr, o, err) : GUEST_DONE;
	}
	if (o == UF_EXISTS)
		guest_mark(g, in->page, 1, PAGE_PRESENT);
	return unserved(g, in->page, in->addr, o, err);
}

static enum guest_answer fault_absent(struct guest *g, struct install *in, bool warmed,
				      struct err *err)
{
	uint64_t off = in->page * g->page_bytes;
	struct source_run run = source_at(g->src, off, g->page_bytes);
	enum residency_answer where = RESIDENCY_COLD;
	enum uf_outcome o;

	if (run.data && run.len == g->page_bytes)
		where = source_look(g->src, &run, g->bounce);
	if (where != RESIDENCY_COLD)
		o = install_faulted(g, in, &run, where == RESIDENCY_READ, err);
	else if (warmed || !source_may_be_cold(g->src, off, g->page_bytes))
		o = install_snapshot(g, in, err);
	else
		return GUEST_COLD;
	return faulted(g, in, o, err);
}

/* The page was installed or given back before. If it is missing, it was removed, so it is zero. */
static enum guest_answer fault_known(struct guest *g, struct install *in, struct err *err)
{
	enum uf_outcome o = install_zeros(g, in);

	if (in->done) {
		installed(g, in->page, 1, PAGE_ZEROED);
		g->map.stats->faults_served++;
		g->map.stats->faults_zero++;
		return GUEST_DONE;
	}
	return unserved(g, in->page, in->addr, o, err);
}

enum guest_answer guest_fault(struct guest *g, uint64_t page, bool warmed, struct err *err)
{
	struct install in = {page, address(g, page), 1, 0};

	if (!in.addr)
		return GUEST_DONE;
	if (g->shortage.since_us && shortage_wait_us(&g->shortage, now_us()))
		return GUEST_DEFER;
	g->map.head->answered = page + 1;
	if (pagemap_get(&g->map, page) == PAGE_ABSENT)
		return fault_absent(g, &in, warmed, err);
	return fault_known(g, &in, err);
}

enum guest_answer guest_prefetch(struct guest *g, uint64_t page, uint64_t n, uint64_t *ret_done,
				 struct err *err)
{
	struct install in = {page, address(g, page), n, 0};
	enum uf_outcome o;

	fault_point(FAULT_BEFORE_STEP);
	do {
		o = install_snapshot(g, &in, err);
		/* The run may cross a mapping's border: try half of it. */
		in.n = (in.n + 1) / 2;
	} while (o == UF_LEFT && in.n > 1);
	if (o == UF_LEFT)
		o = install_snapshot(g, &in, err);
	*ret_done = in.done;

	fault_point(FAULT_IN_STEP);
	if (in.done) {
		installed(g, page, in.done, PAGE_PRESENT);
		return o == UF_SOURCE ? GUEST_FAIL : GUEST_DONE;
	}
	if (o == UF_EXISTS || o == UF_LEFT) {
		guest_mark(g, page, 1, o == UF_EXISTS ? PAGE_PRESENT : PAGE_REMOVED);
		*ret_done = 1;
		return GUEST_DONE;
	}
	if (o == UF_AGAIN)
		return GUEST_DEFER;
	if (o == UF_NOMEM)
		return GUEST_SHORT;
	return unserved(g, page, in.addr, o, err);
}

void guest_removed(struct guest *g, uint64_t start, uint64_t end)
{
	uint64_t part, len, off;

	while (regions_clip(g->map.regions, start, end, &part, &len, &off)) {
		/* A huge page is removed whole or not at all. */
		uint64_t first = align_up(off, g->page_bytes) / g->page_bytes;
		uint64_t last = (off + len) / g->page_bytes;

		if (last > first)
			guest_mark(g, first, last - first, PAGE_REMOVED);
		start = part + len;
	}
}

bool guest_source_changed(struct guest *g, struct err *err)
{
	for (uint32_t i = 0; i < source_layers(g->src); i++)
		if (source_check(g->src, i, err))
			return true;
	return false;
}

enum guest_answer guest_poison(struct guest *g, uint64_t page, struct err *err)
{
	uint64_t addr = address(g, page), done;
	enum uf_outcome o;

	if (!addr)
		return GUEST_DONE;
	o = uffd_poison(g->uffd, addr, g->page_bytes, &done);
	if (o == UF_DONE)
		return GUEST_DONE;
	return unserved(g, page, addr, o, err);
}

static enum guest_answer poison_region(struct guest *g, const struct region *r,
				       void (*drain)(void *arg), void *arg, struct err *err)
{
	uint64_t end = (r->offset + r->size) / g->page_bytes;
	uint64_t page = r->offset / g->page_bytes;

	while (pagemap_absent_run(&g->map, page, end, 1, &page)) {
		enum guest_answer a = guest_poison(g, page, err);

		if (a == GUEST_DEFER)
			drain(arg);
		else if (a != GUEST_DONE)
			return a;
		else
			page++;
		fault_point(FAULT_POISONING);
	}
	return GUEST_DONE;
}

enum guest_answer guest_poison_absent(struct guest *g, void (*drain)(void *arg), void *arg,
				      struct err *err)
{
	for (uint32_t i = 0; i < g->map.regions->n; i++) {
		enum guest_answer a = poison_region(g, &g->map.regions->v[i], drain, arg, err);

		if (a != GUEST_DONE)
			return a;
	}
	return GUEST_DONE;
}

void guest_wake_all(struct guest *g)
{
	for (uint32_t i = 0; i < g->map.regions->n; i++)
		uffd_wake(g->uffd, g->map.regions->v[i].base, g->map.regions->v[i].size);
}

enum guest_answer guest_release(struct guest *g, void (*drain)(void *arg), void *arg)
{
	enum uf_outcome o;
	uint64_t done;

	for (uint32_t i = 0; i < g->map.regions->n; i++) {
		const struct region *r = &g->map.regions->v[i];

		if (uffd_unregister(g->uffd, r->base, r->size) == UF_GONE)
			return GUEST_GONE;
	}
	/*
	 * The kernel wakes a mapping's waiting threads first and locks the mapping afterwards: a
	 * fault in between may have queued itself unanswered. From now on no fault can.
	 */
	guest_wake_all(g);
	/*
	 * A removal that began earlier may still have to queue its event, and its thread sleeps
	 * until the event is read. While a removal is under way every install is UF_AGAIN, whatever
	 * its address.
	 */
	do {
		drain(arg);
		o = uffd_zero(g->uffd, g->map.regions->v[0].base, PAGE_4K, &done);
	} while (o == UF_AGAIN);
	drain(arg);
	return o == UF_GONE ? GUEST_GONE : GUEST_DONE;
}

/* clang-format off */
static const struct call needs[] = {
	CALL_IF(ioctl, 1, CALL_INT, UFFDIO_COPY), CALL_IF(ioctl, 1, CALL_INT, UFFDIO_ZEROPAGE),
	CALL_IF(ioctl, 1, CALL_INT, UFFDIO_WAKE), CALL_IF(ioctl, 1, CALL_INT, UFFDIO_CONTINUE),
	CALL_IF(ioctl, 1, CALL_INT, UFFDIO_WRITEPROTECT),
	CALL_IF(ioctl, 1, CALL_INT, UFFDIO_UNREGISTER),
	CALL_IF(ioctl, 1, CALL_INT, UFFDIO_POISON), CALL_IF(ioctl, 1, CALL_INT, PAGEMAP_SCAN),
	CALL(pread64), CALL(read),
};
/* clang-format on */
const struct calls guest_calls = CALLS(needs);
