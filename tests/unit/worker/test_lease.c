/* test_lease - the worker's side of a lease, over a real channel; time is an argument */
#include "worker/lease.h"

#include <string.h>

#include "tests/support/runner.h"

#define NEVER UINT64_MAX
#define MS ((uint64_t)1000)
#define RATE ((uint64_t)1 << 20)

struct scene {
	const char *name;
	struct supervisor_link link;
	int sup; /* the supervisor's end */
	struct lease l;
	uint64_t now;
	uint32_t ask; /* last one that was heard */
};

static void setup(struct scene *s, const char *name)
{
	int pair[2];
	struct err err;

	ck_assert_int_eq(chan_pair(pair, &err), 0);
	*s = (struct scene){.name = name, .sup = pair[0], .now = 1000 * MS};
	supervisor_link_init(&s->link, pair[1]);
	lease_init(&s->l, &s->link);
}

static void teardown(struct scene *s)
{
	supervisor_link_fini(&s->link);
	close_fd(&s->sup);
}

/* "ASK", "BACK", or "nothing". */
static const char *hear(struct scene *s)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;
	struct err err;

	if (s->sup < 0 || chan_recv(s->sup, &msg, fds, &err) != CHAN_GOT)
		return "nothing";
	if (msg.type == CHAN_LEASE_ASK) {
		ck_assert_msg(msg.lease.ask != s->ask, "%s: a number again", s->name);
		s->ask = msg.lease.ask;
		return "ASK";
	}
	return msg.type == CHAN_LEASE_BACK ? "BACK" : "something else";
}

static void grant(struct scene *s, uint64_t rate, uint32_t ask)
{
	const struct chan_lease g = {.rate_bytes_per_s = rate, .ask = ask};

	lease_granted(&s->l, &g);
}

static void lose(struct scene *s)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;

	close_fd(&s->sup);
	supervisor_link_recv(&s->link, &msg, fds);
	ck_assert_int_eq(s->link.chan, -1);
}

static void find(struct scene *s)
{
	int pair[2];
	struct err err;

	ck_assert_int_eq(chan_pair(pair, &err), 0);
	s->sup = pair[0];
	s->link.chan = pair[1];
	s->ask = 0;
	lease_anew(&s->l);
}

static void check_wait(const struct scene *s, uint64_t want)
{
	uint64_t got = lease_wait_us(&s->l, s->now);

	ck_assert_msg(got == want, "%s: %ju us, not %ju", s->name, (uintmax_t)got, (uintmax_t)want);
}

static void check_alarm(const struct scene *s, uint64_t need, uint64_t want)
{
	uint64_t got = lease_alarm_us(&s->l, need, s->now);

	ck_assert_msg(got == want, "%s: the alarm is in %ju us, not %ju", s->name, (uintmax_t)got,
		      (uintmax_t)want);
}

/* now, later, none: a turn, with that need. */
static void turn(struct scene *s, uint64_t need_us)
{
	lease_turn(&s->l, need_us, s->now);
}

static void do_grant(struct scene *s, uint64_t rate)
{
	grant(s, rate, s->ask);
}

static void do_stale(struct scene *s, uint64_t rate)
{
	grant(s, rate, s->ask - 1);
}

static void do_revoke(struct scene *s, uint64_t ignored)
{
	(void)ignored;
	lease_revoked(&s->l);
}

static void do_spend(struct scene *s, uint64_t bytes)
{
	lease_spend(&s->l, bytes, s->now);
}

static void do_check(struct scene *s, uint64_t want)
{
	check_wait(s, want);
}

static void do_lose(struct scene *s, uint64_t ignored)
{
	(void)ignored;
	lose(s);
}

static void do_find(struct scene *s, uint64_t ignored)
{
	(void)ignored;
	find(s);
}

/* clang-format off */
static const struct {
	const char *word;
	void (*act)(struct scene *s, uint64_t arg);
	uint64_t arg;
} words[] = {
	{"now", turn, 0},           {"later", turn, 30 * MS},   {"none", turn, NEVER},
	{"grant", do_grant, 0},     {"slow", do_grant, RATE},   {"stale", do_stale, 0},
	{"revoke", do_revoke, 0},   {"spend", do_spend, RATE / 10},
	{"may", do_check, 0},       {"must-not", do_check, NEVER}, {"pays", do_check, 100 * MS},
	{"lose", do_lose, 0},       {"find", do_find, 0},
};
/* clang-format on */

/* A number: so many milliseconds pass. */
static void do_word(struct scene *s, const char *word)
{
	size_t i = 0;

	if (word[0] >= '0' && word[0] <= '9') {
		s->now += strtoull(word, NULL, 10) * MS;
		return;
	}
	while (i < ARRAY_LEN(words) && strcmp(words[i].word, word) != 0)
		i++;
	ck_assert_msg(i < ARRAY_LEN(words), "%s: \"%s\"?", s->name, word);
	words[i].act(s, words[i].arg);
}

/* ASK, BACK: what it has said then, and nothing else. */

static const struct {
	const char *name, *script;
} scripts[] = {
	{"nothing to do", "must-not none later must-not"},
	{"asks once", "now ASK now later must-not now must-not"},
	{"is granted", "now ASK grant may now later may"},
	{"nothing to do any more", "now ASK grant none BACK must-not none"},
	{"nothing to do while it waits", "now ASK none BACK must-not none now ASK grant may"},
	{"waits for its own rate while it waits", "now ASK later later grant may"},
	{"is revoked, and wants more", "now ASK grant revoke must-not now ASK must-not grant may"},
	{"is revoked, and has to wait", "now ASK grant revoke later BACK later now ASK"},
	{"is revoked, and has nothing to do", "now ASK grant revoke none BACK must-not"},
	{"revoked twice", "now ASK grant revoke revoke now ASK revoke must-not grant may"},
	{"what it was revoked is back already",
	 "now ASK grant none BACK revoke now ASK revoke grant may"},
	{"granted without asking", "grant must-not now ASK must-not"},
	{"a grant for what was given up", "now ASK none BACK grant must-not none"},
	{"a grant of an earlier wish", "now ASK none BACK now ASK stale must-not grant may"},
	{"asks again",
	 "now ASK 4999 now 1 now ASK must-not 4999 now 1 now ASK grant may 9000 now may"},
	{"the first answer comes late",
	 "now ASK 5000 now ASK stale must-not revoke must-not now grant may"},
	{"pays", "now ASK slow may spend pays 99 now 1 may"},
	{"pays before it gives back", "now ASK slow spend none must-not 99 none 1 none BACK"},
	{"pays before it asks again",
	 "now ASK slow spend revoke must-not 99 now 1 now ASK slow may"},
	{"no rate, no price", "now ASK grant spend may revoke now ASK"},
	{"the supervisor is away", "lose may none may now may"},
	{"it goes away while one waits",
	 "now ASK must-not lose may now may find must-not now ASK grant may"},
	{"it goes away while one prefetches",
	 "now ASK grant lose may spend may find must-not now ASK must-not"},
	{"it goes away while one pays", "now ASK slow spend revoke lose may find must-not now ASK"},
	{"no price while it is away",
	 "now ASK slow may lose spend may spend may find now ASK slow may"},
	{"what the last one granted is void", "now ASK grant may lose find must-not none now ASK"},
};

static bool is_said(const char *word)
{
	return word && (strcmp(word, "ASK") == 0 || strcmp(word, "BACK") == 0);
}

START_TEST(test_script)
{
	cleanup_free char *script = strdup(scripts[_i].script);
	struct scene s;
	char *word, *rest = script;
	const char *said;

	setup(&s, scripts[_i].name);
	while ((word = strsep(&rest, " "))) {
		if (is_said(word)) {
			said = hear(&s);
			ck_assert_msg(strcmp(said, word) == 0, "%s: %s, not %s before \"%s\"",
				      s.name, said, word, rest ? rest : "the end");
			continue;
		}
		said = hear(&s);
		ck_assert_msg(strcmp(said, "nothing") == 0, "%s: %s before \"%s %s\"", s.name, said,
			      word, rest ? rest : "");
		do_word(&s, word);
	}
	ck_assert_str_eq(hear(&s), "nothing");
	teardown(&s);
}
END_TEST

/* The loop must not sleep through it, nor wake without need. */
START_TEST(test_alarm)
{
	struct scene s;

	setup(&s, "alarm");
	check_alarm(&s, NEVER, NEVER);
	check_alarm(&s, 7, 7);
	lease_turn(&s.l, 0, s.now);
	hear(&s);
	check_alarm(&s, NEVER, LEASE_AGAIN_US);
	s.now += MS;
	check_alarm(&s, 0, LEASE_AGAIN_US - MS);
	grant(&s, RATE, s.ask);
	check_alarm(&s, 0, NEVER);
	lease_spend(&s.l, RATE / 4, s.now);
	check_wait(&s, 250 * MS);
	s.now += 50 * MS;
	lease_revoked(&s.l);
	check_alarm(&s, 0, 200 * MS);
	check_alarm(&s, NEVER, 200 * MS);
	lose(&s);
	check_alarm(&s, 0, NEVER);
	teardown(&s);
}
END_TEST

/* As many bytes as the rate allows for the time that the lease was held; a pause earns nothing. */
START_TEST(test_rate_is_kept)
{
	static const uint64_t steps[] = {4096, 65536, 1 << 20, 2 << 20};
	uint64_t taken = 0, held = 0, begin;
	struct scene s;

	setup(&s, "rate");
	for (int turn = 0; turn < 50; turn++) {
		s.now += 700 * MS;
		lease_turn(&s.l, 0, s.now);
		ck_assert_str_eq(hear(&s), "ASK");
		begin = s.now;
		grant(&s, RATE, s.ask);
		for (; s.now < begin + 100 * MS; s.now += max_u64(lease_wait_us(&s.l, s.now), 1)) {
			uint64_t step = steps[(size_t)turn % ARRAY_LEN(steps)];

			lease_spend(&s.l, step, s.now);
			taken += step;
		}
		lease_revoked(&s.l);
		s.now += lease_alarm_us(&s.l, 0, s.now);
		lease_turn(&s.l, NEVER, s.now);
		ck_assert_str_eq(hear(&s), "BACK");
		held += s.now - begin;
	}
	ck_assert_msg(taken <= RATE * held / 1000000 && taken * 100 > RATE * held / 1000000 * 98,
		      "%ju bytes in %ju us", (uintmax_t)taken, (uintmax_t)held);
	teardown(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("lease");
	TCase *t = tcase_create("worker");

	tcase_add_loop_test(t, test_script, 0, ARRAY_LEN(scripts));
	tcase_add_test(t, test_alarm);
	tcase_add_test(t, test_rate_is_kept);
	suite_add_tcase(s, t);
	return s;
}
