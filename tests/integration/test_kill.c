/*
 * The kill matrix: whatever a restore is doing, whoever dies of it, at once or
 * after having been stopped for a while. The guest must not notice; what can be
 * seen of it is what docs say; nothing is left in the end.
 */
#include <signal.h>
#include <string.h>

#include "tests/support/killing.h"
#include "tests/support/runner.h"

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define SLOWLY(rate) "\"prefetch\":{\"rate_bytes_per_s\":" rate "}"
#define TOUCHES " --threads 8 --order rand --write 20 --remove 10"

static bool has_faults(struct json_object *o, const void *arg)
{
	(void)arg;
	return scene_number(o, "faults.count") > 32;
}

static bool is_prefetching(struct json_object *o, const void *arg)
{
	(void)arg;
	return scene_number(o, "prefetch.done_bytes") > 0;
}

static bool is_recovering(struct json_object *o, const void *arg)
{
	(void)arg;
	return strcmp(scene_text(o, "state"), "recovering") == 0;
}

/* --- to get there --- */

static void nothing(struct killing *k)
{
	(void)k;
}

static void in_flight(struct killing *k)
{
	killing_await(k, "serving faults", has_faults, NULL);
}

static void prefetching(struct killing *k)
{
	killing_await(k, "prefetching", is_prefetching, NULL);
}

static void complete(struct killing *k)
{
	json_object_put(stage_await(&k->s, "complete"));
}

/* What prefetch had done by then. */
static uint64_t paused_at;

static void paused(struct killing *k)
{
	struct json_object *o;

	prefetching(k);
	o = stage_ask(&k->s, "POST", "/pause", NULL);
	paused_at = scene_number(o, "prefetch.done_bytes");
	json_object_put(o);
}

/* A successor that does not get on. */
static void recovering(struct killing *k)
{
	killing_arm(k, "loading:1:stop");
	killing_look(k);
	ck_assert_int_eq(kill(k->s.worker, SIGKILL), 0);
	killing_await(k, "recovering", is_recovering, NULL);
	killing_await_stop(k, killing_worker(k));
	k->tally.died++;
}

/* --- to go on --- */

static void go(struct killing *k)
{
	scene_vmm_go(&k->s.vmm);
}

static void hurry(struct killing *k)
{
	stage_tell(&k->s, "PUT", "/prefetch", "{\"rate_bytes_per_s\":0}");
	json_object_put(stage_await(&k->s, "complete"));
}

static void still_complete(struct killing *k)
{
	cleanup_json struct json_object *o = stage_ask(&k->s, "GET", "", NULL);

	stage_check(&k->s, scene_flag(o, "complete"), "no longer complete");
	go(k);
}

/* The guest is served on demand, and prefetch rests until the restore is resumed. */
static void still_paused(struct killing *k)
{
	cleanup_json struct json_object *before = stage_ask(&k->s, "GET", "", NULL);
	cleanup_json struct json_object *after = NULL, *pages = NULL;

	stage_check(&k->s, scene_flag(before, "paused"), "no longer paused");
	go(k);
	stage_check(&k->s, stage_hears(&k->s, "holding"), "the VMM does not get through");
	after = stage_ask(&k->s, "GET", "", NULL);
	stage_check(&k->s, scene_number(after, "prefetch.done_bytes") == paused_at,
		    "it prefetches: %s", json_object_to_json_string(after));
	pages = stage_ask(&k->s, "GET", "/pages", NULL);
	stage_check(&k->s, scene_flag(pages, "exact"), "page states are not exact");
	stage_tell(&k->s, "POST", "/resume", NULL);
}

/* --- the matrix --- */

/* clang-format off */
static const struct state {
	const char *name, *members, *vmm;
	void (*reach)(struct killing *k);
	void (*go_on)(struct killing *k);
	bool connected;
} states[] = {
	{"waiting", NULL, "--hold" TOUCHES, nothing, nothing, false},
	{"idle", ON_DEMAND, "--hold-before" TOUCHES, nothing, go, true},
	{"faults", ON_DEMAND, "--threads 8 --balloon 3600 --write 20", in_flight, nothing, true},
	{"prefetch", SLOWLY("32768"), "--no-touch --wait-resident 600", prefetching,
	 hurry, true},
	{"complete", NULL, "--hold-before" TOUCHES, complete, still_complete, true},
	{"paused", SLOWLY("32768"), "--hold --hold-before" TOUCHES, paused,
	 still_paused, true},
	{"recovering", ON_DEMAND, "--hold-before" TOUCHES, recovering, go, true},
};
/* clang-format on */

#define HOWS 2 /* SIGKILL; SIGSTOP and then SIGKILL */
#define CASES ((int)(ARRAY_LEN(states) * KILLING_WHO_COUNT * HOWS))

static void connect_vmm(struct killing *k, const struct state *state)
{
	killing_vmm(k, state->vmm);
	json_object_put(stage_await(&k->s, "serving"));
}

static void die(struct killing *k, const struct state *state, enum killing_who who, bool stopped)
{
	killing_look(k);
	if (stopped)
		killing_stop(k, who);
	/* A VMM that comes while nobody is there waits, as long as one of them lives. */
	if (stopped && !state->connected && who != DIES_BOTH)
		killing_vmm(k, state->vmm);
	killing_end(k, who);
	killing_revive(k, who);
}

static void survive(struct killing *k, const struct state *state, enum killing_who who,
		    bool stopped)
{
	bool came = state->connected || (stopped && who != DIES_BOTH);

	/* The successor that was stopped on its way is adopted like any other worker. */
	if (!killing_has_worker(who))
		ck_assert_int_eq(kill(k->s.worker, SIGCONT), 0);
	killing_recovered(k, came ? "serving" : "waiting");
	if (!came)
		connect_vmm(k, state);
	state->go_on(k);
	killing_right(k);
}

START_TEST(dies)
{
	const struct state *state = &states[_i / HOWS / KILLING_WHO_COUNT];
	enum killing_who who = (enum killing_who)(_i / HOWS % KILLING_WHO_COUNT);
	bool stopped = _i % HOWS;
	cleanup_free char *name = scene_format("%s-%s-%s", state->name, killing_who_names[who],
					       stopped ? "stop" : "kill");
	struct killing k;

	if ((!state->connected && killing_has_vmm(who)) || !killing_survivable(who))
		return;
	killing_open(&k, name, NULL);
	killing_create(&k, state->members);
	if (state->connected)
		connect_vmm(&k, state);
	state->reach(&k);
	die(&k, state, who, stopped);
	if (killing_has_vmm(who))
		killing_over(&k);
	else
		survive(&k, state, who, stopped);
	killing_close(&k);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("kill");
	TCase *tc = tcase_create("matrix");

	tcase_add_loop_test(tc, dies, 0, CASES);
	suite_add_tcase(suite, tc);
	return suite;
}
