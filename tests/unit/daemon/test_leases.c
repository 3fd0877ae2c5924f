/* test_leases - whose turn it is to prefetch; time is an argument */
#include "daemon/leases.h"

#include <string.h>

#include "tests/support/runner.h"

#define MS ((uint64_t)1000)
#define SLICE_US (100 * MS)
#define ANSWER_US (1000 * MS)
#define NEVER UINT64_MAX

/* Splitmix64: the same sequence everywhere. */
static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (z ^ z >> 31) % below;
}

static void check_empty(const struct leases *ls, const char *name)
{
	ck_assert_msg(ls->waiting == 0 && ls->counted == 0 && ls->called == 0 && !ls->tenants &&
			      TAILQ_EMPTY(&ls->turns) && TAILQ_EMPTY(&ls->held) &&
			      TAILQ_EMPTY(&ls->revoked) && leases_wait_us(ls, 0) == NEVER,
		      "%s: something is left", name);
}

/* ---- scripts ---- */

/*
 * "A1?" restore 1 of tenant A asks, "A1-" gives back, "7ms" passes; "A1+" is
 * granted and "A1!" is revoked, as soon as that can be and at no other time. D has a share of 2.
 */
static const struct {
	const char *name;
	uint64_t max;
	const char *script;
} scripts[] = {
	{"nobody waits, nothing happens", 1, "A1? A1+ 3600000ms A1- 5ms A1? A1+ 9ms"},
	{"first come, first served", 1,
	 "A1? A1+ A2? A3? 100ms A1! A1? A2+ 100ms A2! A2- A3+ 100ms A3! A3? A1+"},
	{"a slice is over when somebody comes", 1, "A1? A1+ 5000ms B1? A1! A1? B1+ 100ms B1!"},
	{"a slice is not over when somebody comes", 1, "A1? A1+ 60ms B1? 39ms 1ms A1! A1- B1+"},
	{"tenants take turns", 1,
	 "A1? A1+ A2? A3? A4? B1? 100ms A1! A1? A2+ 100ms A2! A2? B1+ 100ms B1! B1? A3+ "
	 "100ms A3! A3? B1+ 100ms B1! B1- A4+"},
	{"a tenant that comes anew is the last", 1,
	 "A1? A1+ B1? C1? A2? 100ms A1! A1- B1+ 100ms B1! B1? C1+ 100ms C1! C1? A2+ 100ms A2! "
	 "A2- B1+"},
	{"to ask again keeps the place", 1, "A1? A1+ A2? B1? A3? A2? 100ms A1! A1- A2+"},
	{"to ask while holding is to give back", 1,
	 "A1? A1+ B1? A1? B1+ 100ms B1! B1- A1+ A1? A1+"},
	{"one that waits gives up", 1, "A1? A1+ A2? A3? A2- 100ms A1! A1- A3+"},
	{"the last that waits gives up", 1, "A1? A1+ B1? B1- 5000ms"},
	{"it gives up when another was called", 1, "A1? A1+ B1? 100ms A1! B1- 5000ms A1? A1+ 99ms"},
	{"a holder ends", 1, "A1? A1+ B1? 50ms A1- B1+ 5000ms"},
	{"one that was called ends", 1, "A1? A1+ B1? 100ms A1! 50ms A1- B1+"},
	{"no answer", 1, "A1? A1+ B1? C1? 100ms A1! 999ms 1ms B1+ 100ms B1! B1- C1+ 5000ms"},
	{"on time, whenever one looks", 1,
	 "A1? A1+ B1? C1? 150ms A1! 949ms 1ms B1+ 70ms 30ms B1! 1050ms C1+ 5000ms A1? C1! C1- A1+"},
	{"no answer, on time", 1, "A1? A1+ B1? C1? 100ms A1! 1050ms B1+ 49ms 1ms B1!"},
	{"an answer that comes late", 1,
	 "A1? A1+ B1? 100ms A1! 1000ms B1+ 70ms A1? 30ms B1! B1- A1+ 5000ms A1- A1-"},
	{"a late one ends", 1, "A1? A1+ B1? 100ms A1! 1000ms B1+ A1- 5000ms C1? B1! B1- C1+"},
	{"nobody waits for an answer any more", 1,
	 "A1? A1+ B1? 100ms A1! B1- 5000ms B1? B1+ 100ms A1? B1! B1- A1+"},
	{"what never asked gives back", 1, "A1- B1? B1+ A1-"},
	{"two at a time", 2,
	 "A1? A1+ A2? A2+ A3? 100ms A1! A1? A3+ A2! A2? A1+ 100ms A3! A3- A2+ 5000ms"},
	{"no more are called than wait", 3, "A1? A1+ A2? A2+ A3? A3+ 500ms B1? A1! 10ms B2? A2!"},
	{"a free one is given at once", 3, "A1? A1+ B1? B1+ C1? C1+ D1? 40ms B1- D1+ 5000ms"},
	{"twice the share is two turns for one", 1,
	 "D1? D1+ A1? 100ms D1! D1? D1+ 100ms D1! D1? A1+ 100ms A1! A1? D1+ 100ms D1! D1? D1+ "
	 "100ms D1! D1? A1+ 100ms A1! A1- D1+"},
	{"a share is of all restores together", 1,
	 "D1? D1+ D2? A1? A2? 100ms D1! D1? D2+ 100ms D2! D2? A1+ 100ms A1! A1? D1+ 100ms D1! "
	 "D1? D2+ 100ms D2! D2? A2+"},
	{"two answers are late", 2,
	 "A1? A1+ 10ms A2? A2+ B1? B2? 90ms A1! 10ms A2! 990ms B1+ 10ms B2+ 5000ms"},
};

#define TENANTS 4
#define RESTORES 9

struct play {
	const char *name;
	struct leases ls;
	struct claim claims[TENANTS][RESTORES + 1];
	uint64_t now;
	char due[512]; /* "A1+ B2! " */
};

static void note(struct play *p, const struct claim *c, char what)
{
	size_t n = (size_t)(c - &p->claims[0][0]), len = strlen(p->due);

	snprintf(p->due + len, sizeof(p->due) - len, "%c%zu%c ", 'A' + (int)(n / (RESTORES + 1)),
		 n % (RESTORES + 1), what);
}

static void collect(struct play *p)
{
	struct claim *c;

	while ((c = leases_grant(&p->ls, p->now)))
		note(p, c, '+');
	while ((c = leases_revoke(&p->ls, p->now)))
		note(p, c, '!');
	ck_assert_msg(p->ls.counted <= p->ls.max, "%s: too many", p->name);
}

/* In one leap to when something is due, and not a moment earlier. */
static void pass(struct play *p, uint64_t us)
{
	uint64_t end = p->now + us;

	while (p->now < end) {
		uint64_t wait = leases_wait_us(&p->ls, p->now);

		ck_assert_msg(wait > 0, "%s: something is due already", p->name);
		if (wait != NEVER && wait > 1) {
			struct leases before = p->ls;

			p->now += min_u64(wait, end - p->now) - 1;
			collect(p);
			ck_assert_msg(memcmp(&before, &p->ls, sizeof(before)) == 0,
				      "%s: too early: %s", p->name, p->due);
			p->now++;
		} else {
			p->now = wait == NEVER ? end : p->now + wait;
		}
		if (wait != NEVER && p->now < end)
			collect(p);
	}
	collect(p);
}

static void act(struct play *p, const char *word)
{
	char what = word[strlen(word) - 1], tenant[2] = {word[0], '\0'};

	if (what == 's') {
		pass(p, strtoull(word, NULL, 10) * MS);
	} else if (what == '?') {
		leases_ask(&p->ls, &p->claims[word[0] - 'A'][word[1] - '0'], tenant,
			   tenant[0] == 'D' ? 2 : 1, 7);
		collect(p);
	} else {
		leases_back(&p->ls, &p->claims[word[0] - 'A'][word[1] - '0']);
		collect(p);
	}
}

START_TEST(test_script)
{
	struct play p = {.name = scripts[_i].name, .now = 5};
	cleanup_free char *script = strdup(scripts[_i].script);

	leases_init(&p.ls, scripts[_i].max, SLICE_US, ANSWER_US);
	for (char *rest = script, *word; (word = strsep(&rest, " "));) {
		size_t len = strlen(word);

		if (!strchr("+!", word[len - 1])) {
			ck_assert_msg(!p.due[0], "%s: %sbefore %s", p.name, p.due, word);
			act(&p, word);
			continue;
		}
		ck_assert_msg(strncmp(p.due, word, len) == 0, "%s: \"%s\", not %s", p.name, p.due,
			      word);
		memmove(p.due, p.due + len + 1, strlen(p.due + len + 1) + 1);
	}
	ck_assert_msg(!p.due[0], "%s: %sin the end", p.name, p.due);
	for (int t = 0; t < TENANTS; t++)
		for (int r = 0; r <= RESTORES; r++)
			leases_back(&p.ls, &p.claims[t][r]);
	check_empty(&p.ls, p.name);
}
END_TEST

START_TEST(test_the_last_ask_is_granted)
{
	struct claim c = {0};
	struct leases ls;

	leases_init(&ls, 1, SLICE_US, ANSWER_US);
	leases_ask(&ls, &c, "red", 1, 3);
	leases_ask(&ls, &c, "red", 1, 4);
	ck_assert_ptr_eq(leases_grant(&ls, 0), &c);
	ck_assert_uint_eq(c.ask, 4);
	leases_back(&ls, &c);
	check_empty(&ls, "asked twice");
}
END_TEST

/* ---- crowds ---- */

struct member {
	struct claim claim;
	char tenant[24];
	size_t nth;         /* tenant */
	uint64_t answer_at; /* revoked: when it will answer */
	uint64_t bound_us;  /* waiting: by then it must have been served */
	uint64_t asked_us, held_us;
};

struct crowd {
	struct leases ls;
	struct member *m;
	size_t n, tenants;
	uint64_t now, slow_us; /* how long an answer takes at most */
	size_t grants;
};

/*
 * So many turns are ahead of it at most: all tenants' for each of its own queue. Every
 * lease makes a turn in a slice and an answer, and the current ones come first.
 */
static uint64_t bound(const struct crowd *c, const struct member *m)
{
	uint64_t ahead = 0;

	for (size_t i = 0; i < c->n; i++)
		ahead += c->m[i].nth == m->nth && c->m[i].claim.state == CLAIM_WAITING;
	return c->now +
	       ((ahead * c->tenants + c->ls.max - 1) / c->ls.max + 1) * (SLICE_US + c->slow_us);
}

static void ask(struct crowd *c, struct member *m)
{
	bool waits = m->claim.state == CLAIM_WAITING;

	leases_ask(&c->ls, &m->claim, m->tenant, 1, 1);
	if (waits)
		return;
	m->asked_us = c->now;
	m->bound_us = bound(c, m);
}

static struct member *member_of(struct claim *claim)
{
	return (struct member *)((char *)claim - offsetof(struct member, claim));
}

/* One assertion: each costs a system call. */
static void check_bound(const struct crowd *c)
{
	const struct member *late = NULL;
	uint64_t counted = 0, waiting = 0;

	for (size_t i = 0; i < c->n; i++) {
		enum claim_state state = c->m[i].claim.state;

		counted += state == CLAIM_HELD || state == CLAIM_REVOKED;
		waiting += state == CLAIM_WAITING;
		if (state == CLAIM_WAITING && c->now > c->m[i].bound_us)
			late = &c->m[i];
	}
	/* None is kept from one that waits. */
	ck_assert_msg(!late && counted <= c->ls.max && (waiting == 0 || counted == c->ls.max) &&
			      counted == c->ls.counted && waiting == c->ls.waiting,
		      "%s %ju waiting (%ju), %ju counted (%ju) of %ju", late ? late->tenant : "-",
		      (uintmax_t)waiting, (uintmax_t)c->ls.waiting, (uintmax_t)counted,
		      (uintmax_t)c->ls.counted, (uintmax_t)c->ls.max);
}

static void settle(struct crowd *c)
{
	struct claim *claim;

	while ((claim = leases_grant(&c->ls, c->now)))
		c->grants++;
	while ((claim = leases_revoke(&c->ls, c->now)))
		member_of(claim)->answer_at = c->now + (c->slow_us ? rnd(c->slow_us + 1) : 0);
	check_bound(c);
}

/* Up to @us, by what is due next. */
static void advance(struct crowd *c, uint64_t us)
{
	uint64_t wait = min_u64(us, leases_wait_us(&c->ls, c->now));

	for (size_t i = 0; i < c->n; i++)
		if (c->m[i].claim.state == CLAIM_REVOKED)
			wait = min_u64(wait,
				       c->m[i].answer_at > c->now ? c->m[i].answer_at - c->now : 0);
	for (size_t i = 0; i < c->n; i++)
		if (c->m[i].claim.state == CLAIM_HELD || c->m[i].claim.state == CLAIM_REVOKED)
			c->m[i].held_us += wait;
	c->now += wait;
}

static void answer(struct crowd *c, bool again)
{
	for (size_t i = 0; i < c->n; i++) {
		struct member *m = &c->m[i];

		if (m->claim.state != CLAIM_REVOKED || m->answer_at > c->now)
			continue;
		if (again || rnd(2))
			ask(c, m);
		else
			leases_back(&c->ls, &m->claim);
		settle(c);
	}
}

static void crowd_init(struct crowd *c, uint64_t max, const unsigned *sizes, size_t tenants)
{
	*c = (struct crowd){.tenants = tenants, .now = 1};
	leases_init(&c->ls, max, SLICE_US, ANSWER_US);
	for (size_t t = 0; t < tenants; t++)
		c->n += sizes[t];
	c->m = xcalloc(c->n, sizeof(*c->m));
	for (size_t t = 0, i = 0; t < tenants; t++)
		for (unsigned k = 0; k < sizes[t]; k++, i++) {
			c->m[i].nth = t;
			snprintf(c->m[i].tenant, sizeof(c->m[i].tenant), "t%zu", t);
		}
}

static void crowd_fini(struct crowd *c)
{
	for (size_t i = 0; i < c->n; i++)
		leases_back(&c->ls, &c->m[i].claim);
	check_empty(&c->ls, "a crowd");
	free(c->m);
}

static uint64_t held_us(const struct crowd *c, size_t nth)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < c->n; i++)
		sum += c->m[i].nth == nth ? c->m[i].held_us : 0;
	return sum;
}

/* All want to prefetch for ever: what share of the leases' time has each tenant? */
static const struct {
	uint64_t max;
	unsigned sizes[4]; /* restores of each tenant */
	unsigned least[4]; /* percent */
} shares[] = {
	{1, {1, 100}, {49, 49}},
	{1, {100, 1}, {49, 49}},
	{1, {1, 10, 100}, {33, 33, 33}},
	{1, {500, 500, 500, 1}, {24, 24, 24, 24}},
	{4, {100, 100}, {49, 49}},
	/* One restore cannot have more than one lease. */
	{4, {1, 100}, {20, 70}},
	{4, {2, 100, 3}, {28, 29, 29}},
	{64, {1, 1, 500}, {1, 1, 95}},
	{8, {3}, {100}},
};

START_TEST(test_shares)
{
	struct crowd c;
	size_t tenants = 0;
	uint64_t all = 0;

	while (tenants < 4 && shares[_i].sizes[tenants])
		tenants++;
	crowd_init(&c, shares[_i].max, shares[_i].sizes, tenants);
	for (size_t i = 0; i < c.n; i++)
		leases_ask(&c.ls, &c.m[i].claim, c.m[i].tenant, 1, 1);
	for (size_t i = 0; i < c.n; i++)
		c.m[i].bound_us = NEVER;
	settle(&c);
	while (c.now < 600 * SLICE_US) {
		advance(&c, SLICE_US);
		answer(&c, true);
		settle(&c);
	}
	for (size_t t = 0; t < tenants; t++)
		all += held_us(&c, t);
	for (size_t t = 0; t < tenants; t++)
		ck_assert_msg(held_us(&c, t) * 100 >= all * shares[_i].least[t],
			      "row %d: tenant %zu has %ju of %ju us", _i, t,
			      (uintmax_t)held_us(&c, t), (uintmax_t)all);
	/* With nobody waiting nobody was interrupted. */
	if (c.n <= c.ls.max)
		ck_assert_uint_eq(c.grants, c.n);
	crowd_fini(&c);
}
END_TEST

/* They come, wait, end and hang at random: never more than the bound, all served in time. */
START_TEST(test_anything_goes)
{
	static const unsigned sizes[] = {1, 2, 5, 12, 30};
	struct crowd c;

	seed = (uint64_t)_i;
	crowd_init(&c, 1 + rnd(8), sizes, ARRAY_LEN(sizes));
	/* Some do not answer in time. */
	c.slow_us = _i % 3 == 0 ? ANSWER_US * 2 : _i % 3 * 20 * MS;
	for (int round = 0; round < 5000; round++) {
		struct member *m = &c.m[rnd(c.n)];

		if (rnd(3))
			ask(&c, m);
		else
			leases_back(&c.ls, &m->claim);
		settle(&c);
		advance(&c, rnd(30 * MS));
		answer(&c, false);
		settle(&c);
	}
	ck_assert_uint_gt(c.grants, 100);
	crowd_fini(&c);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("leases");
	TCase *t = tcase_create("scheduler");

	tcase_add_loop_test(t, test_script, 0, ARRAY_LEN(scripts));
	tcase_add_test(t, test_the_last_ask_is_granted);
	tcase_add_loop_test(t, test_shares, 0, ARRAY_LEN(shares));
	tcase_add_loop_test(t, test_anything_goes, 0, 30);
	suite_add_tcase(s, t);
	return s;
}
