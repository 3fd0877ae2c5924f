#include "worker/prefetch.h"

#define BACKOFF_MIN_US 50
#define BACKOFF_MAX_US 20000
/* A thread that was just answered is likely to fault again within this time, … */
#define LIKELY_US 50
/* … but constant faults must not keep prefetch from ever taking a step. */
#define STARVED_US 2000
/* A guest that computes between faults must not meet a long step: steps grow after this time. */
#define CALM_US 20000
/* Readahead tells when a run is read; a limit in case that is lost. */
#define COLD_US 1000000
/* Pause after a lack of memory. */
#define SHORT_MIN_US 20000
#define SHORT_MAX_US 1000000
/* Zero pages are installed so many times faster than data. */
#define ZERO_CHEAPER 8

void prefetch_init(struct prefetch *p, struct readahead *readahead, enum spec_prefetch mode,
		   uint64_t rate_bytes_per_s, uint64_t now)
{
	*p = (struct prefetch){
		.mode = mode,
		.readahead = readahead,
		.step_bytes = PREFETCH_STEP_MIN,
		.rate_bytes_per_s = rate_bytes_per_s,
		.credited_us = now,
	};
	prefetch_order_init(&p->order, mode == PREFETCH_ALL);
}

void prefetch_fini(struct prefetch *p)
{
	room_fini(&p->room);
}

void prefetch_set(struct prefetch *p, enum spec_prefetch mode, bool held, uint64_t rate_bytes_per_s,
		  uint64_t now)
{
	if (mode != p->mode || rate_bytes_per_s != p->rate_bytes_per_s) {
		struct prefetch_order order = p->order;
		struct room room = p->room;

		prefetch_init(p, p->readahead, mode, rate_bytes_per_s, now);
		p->order = order;
		p->room = room;
		prefetch_order_restart(&p->order, mode == PREFETCH_ALL);
	}
	p->held = held;
	p->stopped = false;
}

void prefetch_use(struct prefetch *p, const struct wset *set, uint64_t seed)
{
	prefetch_order_use(&p->order, set, seed);
	p->done = p->asked = false;
}

void prefetch_yield(struct prefetch *p, uint64_t now)
{
	p->step_bytes = PREFETCH_STEP_MIN;
	p->quiet_us = now + LIKELY_US;
	p->calm_us = now + CALM_US;
}

/* Credit grows with time and is capped at one large step, so a pause earns no burst. */
static void earn(struct prefetch *p, uint64_t now)
{
	uint64_t us = min_u64(now - p->credited_us, 1000000);
	uint64_t earned = (uint64_t)((__uint128_t)p->rate_bytes_per_s * us / 1000000);

	/* Do not advance the clock before a byte has been earned. */
	if (earned == 0)
		return;
	p->credited_us = now;
	p->credit_bytes += (int64_t)min_u64(earned, INT64_MAX / 2);
	if (p->credit_bytes > (int64_t)PREFETCH_STEP_MAX)
		p->credit_bytes = (int64_t)PREFETCH_STEP_MAX;
}

static uint64_t rate_wait_us(struct prefetch *p, uint64_t now)
{
	if (!p->rate_bytes_per_s)
		return 0;
	earn(p, now);
	if (p->credit_bytes > 0)
		return 0;
	return (uint64_t)((__uint128_t)(uint64_t)(1 - p->credit_bytes) * 1000000 /
			  p->rate_bytes_per_s) +
	       1;
}

/* ---- runs that are asked for ahead ---- */

static struct prefetch_run *run_at(struct prefetch *p, unsigned i)
{
	return &p->ahead[(p->first + i) % PREFETCH_AHEAD];
}

static bool begin_warming(struct prefetch *p, struct guest *g, const struct prefetch_run *r)
{
	uint64_t off = r->page * g->page_bytes, len = r->pages * g->page_bytes;

	return p->readahead && source_may_be_cold(g->src, off, len) &&
	       readahead_ask(p->readahead, off, len, READAHEAD_AHEAD);
}

/* False: not for now. */
static bool wants_more(const struct prefetch *p, const struct guest *g)
{
	return !p->asked && p->n < PREFETCH_AHEAD &&
	       p->ahead_pages * g->page_bytes < PREFETCH_AHEAD_BYTES;
}

static void ask_ahead(struct prefetch *p, struct guest *g)
{
	/* Page by page where zero pages are passed over. */
	uint64_t max = g->leaves_zeros ? 1 : max_u64(PREFETCH_STEP_MAX / g->page_bytes, 1);

	for (unsigned passed = 0; wants_more(p, g) && passed < PREFETCH_PASSED_MAX;) {
		struct prefetch_run *r = run_at(p, p->n);

		r->pages = prefetch_order_next(&p->order, &g->map, max, &r->page);
		p->asked = r->pages == 0;
		if (p->asked)
			return;
		if (guest_leaves(g, r->page)) {
			passed++;
			continue;
		}
		r->cold = begin_warming(p, g, r);
		p->ahead_pages += r->pages;
		p->n++;
	}
}

/* The pages of the first run before @page are done. */
static void advance(struct prefetch *p, uint64_t page)
{
	struct prefetch_run *r = run_at(p, 0);
	uint64_t n = min_u64(page - r->page, r->pages);

	r->page += n;
	r->pages -= n;
	p->ahead_pages -= n;
	if (r->pages)
		return;
	p->first = (p->first + 1) % PREFETCH_AHEAD;
	p->n--;
}

void prefetch_warmed(struct prefetch *p, const struct guest *g, uint64_t off)
{
	for (unsigned i = 0; i < p->n; i++)
		if (run_at(p, i)->page * g->page_bytes == off)
			run_at(p, i)->cold = false;
}

/* ---- steps ---- */

bool prefetch_wants(const struct prefetch *p)
{
	return p->mode != PREFETCH_NONE && !p->held && !p->stopped && !p->done;
}

bool prefetch_limited(const struct prefetch *p)
{
	return prefetch_wants(p) && p->room.limit != LIMIT_NONE;
}

void prefetch_look(struct prefetch *p, const struct guest *g, uint64_t now)
{
	struct room_reading reading;

	if (!room_due(&p->room, g->page_bytes, now))
		return;
	reading = room_read(&p->room, g->page_bytes, pagemap_resident(&g->map) * g->page_bytes);
	room_look(&p->room, &reading, g->page_bytes, now);
}

uint64_t prefetch_wait_us(struct prefetch *p, uint64_t now)
{
	uint64_t wait;

	if (!prefetch_wants(p))
		return UINT64_MAX;
	wait = max_u64(rate_wait_us(p, now), room_wait_us(&p->room, now));
	if (p->n && run_at(p, 0)->cold)
		wait = max_u64(wait, COLD_US);
	if (p->not_before_us > now)
		wait = max_u64(wait, p->not_before_us - now);
	if (p->quiet_us > now && now - p->stepped_us < STARVED_US)
		wait = max_u64(wait, p->quiet_us - now);
	return wait;
}

static void back_off(struct prefetch *p, uint64_t now, uint64_t min, uint64_t max)
{
	p->backoff_us = max_u64(min_u64(p->backoff_us * 2, max), min);
	p->not_before_us = now + p->backoff_us;
}

/*
 * Installs as much of the first run as one call takes. *ret_cost: in bytes of data, for the length
 * of the step. Credit is charged only for bytes that cost memory.
 */
static enum guest_answer install_some(struct prefetch *p, struct guest *g, uint64_t now,
				      uint64_t *ret_cost, struct err *err)
{
	uint64_t max = max_u64(min_u64(p->step_bytes, p->room.left_bytes) / g->page_bytes, 1);
	uint64_t before = guest_paid_bytes(g), paid, page, n, done;
	const struct prefetch_run *r = run_at(p, 0);
	enum guest_answer a;

	*ret_cost = 0;
	n = prefetch_order_again(&g->map, r->page, r->pages, max, &page);
	if (!n) {
		advance(p, r->page + r->pages);
		return GUEST_DONE;
	}
	a = guest_prefetch(g, page, n, &done, err);
	if (a == GUEST_DEFER)
		back_off(p, now, BACKOFF_MIN_US, BACKOFF_MAX_US);
	if (a == GUEST_SHORT) {
		back_off(p, now, SHORT_MIN_US, SHORT_MAX_US);
		room_close(&p->room, g->page_bytes > PAGE_4K ? LIMIT_POOL : LIMIT_MEMORY,
			   p->not_before_us);
	}
	if (a != GUEST_DONE)
		return a;
	paid = guest_paid_bytes(g) - before;
	g->map.stats->prefetch_bytes += done * g->page_bytes;
	room_take(&p->room, done * g->page_bytes);
	if (p->rate_bytes_per_s)
		p->credit_bytes -= (int64_t)paid;
	p->backoff_us = p->not_before_us = 0;
	advance(p, page + done);
	*ret_cost = paid + (done * g->page_bytes - paid) / ZERO_CHEAPER;
	return GUEST_DONE;
}

/* May the next run be installed now? */
static bool may_install(struct prefetch *p, const struct guest *g)
{
	return p->n && !run_at(p, 0)->cold && room_allows(&p->room, g->page_bytes) &&
	       !(p->rate_bytes_per_s && p->credit_bytes <= 0);
}

enum guest_answer prefetch_step(struct prefetch *p, struct guest *g, uint64_t now, struct err *err)
{
	enum guest_answer a = GUEST_DONE;
	uint64_t cost;

	p->stepped_us = now;
	prefetch_look(p, g, now);
	/* A step is several short runs together, or one long run. */
	for (uint64_t spent = 0; a == GUEST_DONE && spent <= p->step_bytes / 2; spent += cost) {
		ask_ahead(p, g);
		p->done = p->asked && p->n == 0;
		if (!may_install(p, g))
			return GUEST_DONE;
		a = install_some(p, g, now, &cost, err);
	}
	if (a == GUEST_DONE && now >= p->calm_us)
		p->step_bytes = min_u64(p->step_bytes * 2, PREFETCH_STEP_MAX);
	if (a == GUEST_FAIL && !guest_source_changed(g, err)) {
		p->stopped = true;
		return GUEST_DONE;
	}
	return a;
}
