#include "worker/prefetch.h"

#define BACKOFF_MIN_US 50
#define BACKOFF_MAX_US 20000

void prefetch_init(struct prefetch *p, enum spec_prefetch mode, uint64_t rate_bytes_per_s,
		   uint64_t now)
{
	*p = (struct prefetch){
		.mode = mode,
		.step_bytes = PREFETCH_STEP_MIN,
		.rate_bytes_per_s = rate_bytes_per_s,
		.credited_us = now,
	};
}

void prefetch_set(struct prefetch *p, enum spec_prefetch mode, bool held,
		  uint64_t rate_bytes_per_s, uint64_t now)
{
	if (mode != p->mode || rate_bytes_per_s != p->rate_bytes_per_s)
		prefetch_init(p, mode, rate_bytes_per_s, now);
	p->held = held;
	p->stopped = false;
}

void prefetch_yield(struct prefetch *p)
{
	p->step_bytes = PREFETCH_STEP_MIN;
}

/* Credit grows with time and is capped at one large step, so a pause earns no burst. */
static void earn(struct prefetch *p, uint64_t now)
{
	uint64_t us = min_u64(now - p->credited_us, 1000000);
	uint64_t earned = (uint64_t)((__uint128_t)p->rate_bytes_per_s * us / 1000000);

	/* Leave the clock alone until at least a byte has been earned. */
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
			  p->rate_bytes_per_s) + 1;
}

uint64_t prefetch_wait_us(struct prefetch *p, uint64_t now)
{
	uint64_t wait;

	if (p->mode == PREFETCH_NONE || p->held || p->stopped || p->done)
		return UINT64_MAX;
	wait = rate_wait_us(p, now);
	if (p->not_before_us > now)
		wait = max_u64(wait, p->not_before_us - now);
	return wait;
}

/* What is left of the run that was begun, or else another one. */
static uint64_t next_run(struct prefetch *p, const struct guest *g, uint64_t max,
			 uint64_t *ret_page)
{
	uint64_t n = order_again(&g->map, p->page, p->pages, max, ret_page);

	if (n)
		return n;
	p->pages = order_next(&p->order, &g->map, max, &p->page);
	*ret_page = p->page;
	return p->pages;
}

static void back_off(struct prefetch *p, uint64_t now)
{
	p->backoff_us = p->backoff_us ? min_u64(p->backoff_us * 2, BACKOFF_MAX_US) : BACKOFF_MIN_US;
	p->not_before_us = now + p->backoff_us;
}

/* Zero pages cost neither the disk nor memory: only data is paid for. */
static void advance(struct prefetch *p, uint64_t end_page, uint64_t data_bytes)
{
	p->pages -= end_page - p->page;
	p->page = end_page;
	p->backoff_us = p->not_before_us = 0;
	p->step_bytes = min_u64(p->step_bytes * 2, PREFETCH_STEP_MAX);
	if (p->rate_bytes_per_s)
		p->credit_bytes -= (int64_t)data_bytes;
}

enum guest_answer prefetch_step(struct prefetch *p, struct guest *g, uint64_t now,
				struct err *err)
{
	uint64_t bytes = max_u64(p->step_bytes, g->page_bytes);
	uint64_t before = g->map.stats->installed_bytes;
	uint64_t page, n, done;
	enum guest_answer a;

	n = next_run(p, g, bytes / g->page_bytes, &page);
	if (!n) {
		p->done = true;
		return GUEST_DONE;
	}
	a = guest_prefetch(g, page, n, &done, err);
	if (a == GUEST_DONE) {
		g->map.stats->prefetch_bytes += done * g->page_bytes;
		advance(p, page + done, g->map.stats->installed_bytes - before);
	} else if (a == GUEST_DEFER) {
		back_off(p, now);
	} else if (a == GUEST_FAIL && !guest_source_changed(g, err)) {
		p->stopped = true;
		return GUEST_DONE;
	}
	return a;
}
