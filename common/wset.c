#include "common/wset.h"

#include <assert.h>
#include <string.h>

#define GROUP_0_US ((uint64_t)16 * 1000)

static_assert(sizeof(struct wset_key) == 32, "it is a part of messages");

void wset_key_text(const struct wset_key *key, char ret[static WSET_KEY_LEN + 1])
{
	char *at = ret;

	*at++ = key->kind == WSET_BUILD ? 'b' : 'f';
	for (size_t i = 0; key->kind != WSET_HASH && i < sizeof(key->id); i++)
		at += snprintf(at, 3, "%02x", key->id[i]);
	snprintf(at, 18, "-%016llx", (unsigned long long)key->number);
}

bool wset_key_equal(const struct wset_key *a, const struct wset_key *b)
{
	return a->kind == b->kind && a->number == b->number &&
	       memcmp(a->id, b->id, sizeof(a->id)) == 0;
}

void wset_fini(struct wset *s)
{
	free(s->v);
	*s = (struct wset){0};
}

uint64_t wset_span_pages(uint64_t span_bytes, uint64_t page_bytes)
{
	return align_up(span_bytes, page_bytes) / page_bytes;
}

static bool same_kind(const struct wset_run *a, const struct wset_run *b)
{
	return a->score == b->score && a->group == b->group;
}

int wset_add(struct wset *s, const struct wset_run *run, struct err *err)
{
	struct wset_run *last = s->n ? &s->v[s->n - 1] : NULL;

	s->pages += run->pages;
	/* A run counts its pages in 32 bits. */
	if (last && (uint64_t)last->page + last->pages == run->page && same_kind(last, run) &&
	    (uint64_t)last->pages + run->pages <= UINT32_MAX) {
		last->pages += run->pages;
		return 0;
	}
	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 64;
		struct wset_run *v = reallocarray(s->v, cap, sizeof(*v));

		if (!v)
			return err_sys(err, "cannot hold a working set of %zu runs", s->n);
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n++] = *run;
	return 0;
}

/* ---- groups ---- */

unsigned wset_group(uint64_t us)
{
	unsigned group = 0;

	while (us >= wset_group_end_us(group))
		group++;
	return group;
}

uint64_t wset_group_end_us(unsigned group)
{
	return group < WSET_GROUPS - 1 ? GROUP_0_US << 2 * group : UINT64_MAX;
}

bool wset_next(const struct wset *s, struct wset_cursor *c, struct wset_run *ret)
{
	for (; c->group < WSET_GROUPS; c->group++, c->i = 0)
		while (c->i < s->n) {
			const struct wset_run *r = &s->v[c->i++];

			if (r->group == c->group && r->score >= WSET_MEMBER) {
				*ret = *r;
				return true;
			}
		}
	return false;
}

bool wset_sampled(uint64_t page, uint64_t seed)
{
	/* The finalizer of splitmix64: every bit of page and seed matters. */
	uint64_t z = page * 0x9e3779b97f4a7c15ull ^ seed;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return seed && (z ^ z >> 31) % WSET_SAMPLE == 0;
}

/* ---- sets from sets ---- */

/* The same snapshot, no pages. */
static struct wset empty_like(const struct wset *s)
{
	return (struct wset){
		.key = s->key,
		.page_bytes = s->page_bytes,
		.span_bytes = s->span_bytes,
		.restores = s->restores,
	};
}

static int finish(struct wset *s, int rc, struct wset *ret)
{
	if (rc == 0)
		*ret = *s;
	else
		wset_fini(s);
	return rc;
}

static uint8_t better_score(unsigned a, unsigned b)
{
	return (uint8_t)(a > b ? a : b);
}

static uint8_t better_group(unsigned a, unsigned b)
{
	return (uint8_t)(a < b ? a : b);
}

/* Adds the large pages of a run; a page shared with the run before gets the better of both. */
static int add_larger(struct wset *to, const struct wset_run *r, uint32_t factor, struct err *err)
{
	uint32_t first = r->page / factor;
	uint32_t last = (uint32_t)((r->page + (uint64_t)r->pages - 1) / factor);
	struct wset_run *before = to->n ? &to->v[to->n - 1] : NULL;
	struct wset_run run = {first, last - first + 1, r->score, r->group};

	/* The run's first page is also the last page so far. */
	if (before && before->page + before->pages - 1 == first) {
		struct wset_run shared = {first, 1, better_score(before->score, r->score),
					  better_group(before->group, r->group)};

		to->pages--;
		if (--before->pages == 0)
			to->n--;
		if (wset_add(to, &shared, err))
			return -1;
		run.page++;
		run.pages--;
	}
	return run.pages ? wset_add(to, &run, err) : 0;
}

static int add_smaller(struct wset *to, const struct wset_run *r, uint32_t factor, struct err *err)
{
	uint64_t all = wset_span_pages(to->span_bytes, to->page_bytes);
	uint64_t first = (uint64_t)r->page * factor;
	uint64_t end = min_u64(first + (uint64_t)r->pages * factor, all);
	struct wset_run run = {(uint32_t)first, (uint32_t)(end - first), r->score, r->group};

	/* All of 16 TiB is one page more than a run counts. */
	if (end - first > UINT32_MAX)
		run.pages = UINT32_MAX;
	return wset_add(to, &run, err);
}

int wset_convert(const struct wset *s, uint64_t page_bytes, struct wset *ret, struct err *err)
{
	bool larger = page_bytes > s->page_bytes;
	uint32_t factor = (uint32_t)(larger ? page_bytes / s->page_bytes
					    : s->page_bytes / page_bytes);
	struct wset to = empty_like(s);
	int rc = 0;

	to.page_bytes = page_bytes;
	for (size_t i = 0; rc == 0 && i < s->n; i++)
		rc = larger ? add_larger(&to, &s->v[i], factor, err)
			    : add_smaller(&to, &s->v[i], factor, err);
	return finish(&to, rc, ret);
}

/* Position of a walk over a set. */
struct walk {
	const struct wset *s;
	size_t i;
	uint64_t page; /* in run i */
};

#define NO_PAGE UINT64_MAX

/* The first page of the set at or behind @page; NO_PAGE: none. */
static uint64_t walk_to(struct walk *w, uint64_t page)
{
	for (; w->i < w->s->n; w->i++) {
		const struct wset_run *r = &w->s->v[w->i];

		if ((uint64_t)r->page + r->pages > page)
			return max_u64(r->page, page);
	}
	return NO_PAGE;
}

static uint64_t run_end(const struct walk *w)
{
	return (uint64_t)w->s->v[w->i].page + w->s->v[w->i].pages;
}

/* The longest run from @page on in which neither set changes. Returns its end, or NO_PAGE. */
static uint64_t union_run(struct walk *a, struct walk *b, uint64_t page, struct wset_run *ret)
{
	uint64_t in_a = walk_to(a, page), in_b = walk_to(b, page);
	uint64_t start = min_u64(in_a, in_b), end;
	const struct wset_run *ra = in_a == start ? &a->s->v[a->i] : NULL;
	const struct wset_run *rb = in_b == start ? &b->s->v[b->i] : NULL;

	if (start == NO_PAGE)
		return NO_PAGE;
	end = min_u64(ra ? run_end(a) : in_a, rb ? run_end(b) : in_b);
	*ret = (struct wset_run){(uint32_t)start, (uint32_t)(end - start),
				 better_score(ra ? ra->score : 0, rb ? rb->score : 0),
				 better_group(ra ? ra->group : WSET_GROUPS,
					      rb ? rb->group : WSET_GROUPS)};
	return end;
}

int wset_union(const struct wset *a, const struct wset *b, struct wset *ret, struct err *err)
{
	struct walk wa = {.s = a}, wb = {.s = b};
	struct wset to = empty_like(a);
	struct wset_run run;
	uint64_t page = 0;
	int rc = 0;

	to.restores = a->restores > b->restores ? a->restores : b->restores;
	while (rc == 0 && (page = union_run(&wa, &wb, page, &run)) != NO_PAGE)
		rc = wset_add(&to, &run, err);
	return finish(&to, rc, ret);
}

struct merging {
	const struct wset *old;
	const struct wset_recording *recording;
	size_t i; /* the first touch not yet merged */
	struct wset to;
};

/* The next touch, if it is of a page before @end; else NULL. */
static const struct wset_touch *touch_before(const struct merging *m, uint64_t end)
{
	const struct wset_recording *r = m->recording;

	return m->i < r->n && r->touched[m->i].page < end ? &r->touched[m->i] : NULL;
}

/* Adds the touches before @page: the old set does not have them. */
static int add_new(struct merging *m, uint64_t page, struct err *err)
{
	uint8_t score = m->old->restores ? WSET_CANDIDATE : WSET_MEMBER;
	const struct wset_touch *t;

	for (; (t = touch_before(m, page)); m->i++) {
		struct wset_run run = {t->page, 1, score, (uint8_t)t->group};

		if (wset_add(&m->to, &run, err))
			return -1;
	}
	return 0;
}

static int add_known(struct merging *m, uint64_t page, const struct wset_run *r, struct err *err)
{
	const struct wset_recording *recording = m->recording;
	const struct wset_touch *t = touch_before(m, page + 1);
	struct wset_run run = {(uint32_t)page, 1, r->score, r->group};

	if (t) {
		run.score = (uint8_t)(r->score < WSET_SCORE_MAX ? r->score + 1 : WSET_SCORE_MAX);
		run.group = better_group(r->group, t->group);
		m->i++;
	} else if (recording->unneeded(recording->arg, page, r->score, r->group)) {
		run.score--;
	}
	return run.score ? wset_add(&m->to, &run, err) : 0;
}

static int merge_run(struct merging *m, const struct wset_run *r, struct err *err)
{
	for (uint64_t i = 0; i < r->pages; i++)
		if (add_new(m, r->page + i, err) || add_known(m, r->page + i, r, err))
			return -1;
	return 0;
}

int wset_merge(const struct wset *old, const struct wset_recording *recording, struct wset *ret,
	       struct err *err)
{
	struct merging m = {.old = old, .recording = recording, .to = empty_like(old)};
	int rc = 0;

	if (m.to.restores < UINT32_MAX)
		m.to.restores++;
	for (size_t i = 0; rc == 0 && i < old->n; i++)
		rc = merge_run(&m, &old->v[i], err);
	if (rc == 0)
		rc = add_new(&m, UINT64_MAX, err);
	return finish(&m.to, rc, ret);
}

void wset_keep(struct wset *s, unsigned score, unsigned groups)
{
	size_t n = 0;

	s->pages = 0;
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].score >= score && s->v[i].group < groups) {
			s->pages += s->v[i].pages;
			s->v[n++] = s->v[i];
		}
	s->n = n;
}
