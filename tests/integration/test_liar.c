/*
 * test_liar - workers that somebody has taken over say every message in every phase
 *
 * Each is ended at its first lie, what it served goes on with another worker, and a guest beside it
 * finds every byte right. The worker is tests/fakes/worker/liar.c.
 */
#include <signal.h>
#include <string.h>

#include "common/chan.h"
#include "daemon/store.h"
#include "tests/support/lying.h"
#include "tests/support/runner.h"

#define RESTORES "/v1/restores/"
#define FLOOD 5000
#define DEATHS 5 /* worker_restarts */

static struct lying lying;

static void open_scene(void)
{
	lying_open(&lying);
}

static void close_scene(void)
{
	lying_close(&lying);
}

/* ---- what is said when, and what becomes of it ---- */

/* A letter for each phase: see struct lie. */
/* clang-format off */
static const struct {
	const char *word, *outcome;
} words[] = {
	{"HELLO",          "LLLLLL"},
	{"ASSIGN",         "LLLLLL"},
	{"READY",          "ffLLL."},
	{"REFUSED",        "LL.LL."},
	{"CONNECTED",      "LLfff."},
	{"CONNECTED-dead", "LLSff."},
	{"PREFETCH",       "LLLLLL"},
	{"PAUSE",          "LLLLLL"},
	{"RESUME",         "LLLLLL"},
	{"PAUSED",         "LLL..."},
	{"COMPLETE",       "LLL..."},
	{"NOTE",           "LLfff."},
	{"NOTE-forked",    "LL...."},
	{"STOP",           "LLLLLL"},
	{"GONE",           "LLLff."},
	{"RELEASED",       "LLLEL."},
	{"FAILED",         "fffff."},
	{"FAILED-why",     "FFFF.."},
	{"FILES",          "LLfff."},
	{"REATTACH",           "LLLLLL"},
	{"LEASE_ASK",      "LLL..."},
	{"LEASE_BACK",     "LLL..."},
	{"LEASE_GRANT",    "LLLLLL"},
	{"LEASE_REVOKE",   "LLLLLL"},
	{"FORK",           "LLLLLL"},
	{"FORKED",         "LLLLLL"},
	{"WSET_GIVEN",     "LLLLLL"},
	{"WSET_MADE",      "LLL..."},
	{"PEER",           "LLfLL."},
	{"unknown-type",   "LLLLLL"},
	{"wrong-length",   "LLLLLL"},
	{"of-the-future",  "......"},
};
/* clang-format on */

START_TEST(test_every_word)
{
	lying_start_beside(&lying, lying_phases[_i].name);
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		struct lie l = {.in = &lying,
				.phase = _i,
				.word = words[i].word,
				.count = 1,
				.outcome = words[i].outcome[_i]};

		snprintf(l.id, sizeof(l.id), "%s.%s", lying_phases[_i].name, words[i].word);
		lie_run(&l);
	}
	lying_end_beside(&lying);
}
END_TEST

/* ---- who says too much ---- */

static const struct {
	int phase;
	const char *word, *event;
} floods[] = {
	{LYING_WAITING, "REFUSED", NULL},
	{LYING_WAITING, "NOTE-forked", "\"forked\""},
	{LYING_SERVING, "NOTE-forked", "\"forked\""},
	{LYING_SERVING, "COMPLETE", "\"complete\""},
	{LYING_SERVING, "PAUSED", "\"paused\""},
	{LYING_SERVING, "LEASE_ASK", NULL},
	{LYING_SERVING, "LEASE_BACK", NULL},
	{LYING_SERVING, "WSET_MADE", NULL},
	{LYING_SERVING, "of-the-future", NULL},
	{LYING_FAILED, "FAILED-why", NULL},
	{LYING_OVER, "WSET_MADE", NULL},
	{LYING_OVER, "COMPLETE", NULL},
};

START_TEST(test_floods)
{
	lying_start_beside(&lying, "floods");
	for (size_t i = 0; i < ARRAY_LEN(floods); i++) {
		struct lie l = {.in = &lying,
				.phase = floods[i].phase,
				.word = floods[i].word,
				.count = FLOOD,
				.outcome = 'f'};
		cleanup_free char *events = NULL, *query = NULL;

		snprintf(l.id, sizeof(l.id), "flood.%zu.%s", i, l.word);
		lie_run(&l);
		query = scene_format("?restore=%s", l.id);
		events = lying_events(&lying, query);
		ck_assert_msg(strstr(events, "far too much"), "%s: %s", l.id, events);
		if (floods[i].event)
			ck_assert_uint_le(lying_count(events, floods[i].event), CHAN_TOLD_MAX);
	}
	lying_end_beside(&lying);
}
END_TEST

/* So many are told, the others are dropped: a good worker is far from that. */
START_TEST(test_enough_is_told)
{
	struct lie l = {.in = &lying,
			.phase = LYING_SERVING,
			.word = "NOTE-forked",
			.count = CHAN_TOLD_MAX + 1,
			.outcome = '.',
			.id = "enough"};
	cleanup_free char *events = NULL;

	lie_run(&l);
	events = lying_events(&lying, "?restore=enough");
	ck_assert_uint_eq(lying_count(events, "\"forked\""), CHAN_TOLD_MAX);
}
END_TEST

/* ---- whose process a row names ---- */

struct found {
	const char *id;
	uint32_t pid;
	uint64_t start;
};

static int on_row(void *arg, struct restore_record *rec, struct err *err)
{
	struct found *f = arg;

	(void)err;
	if (strcmp(rec->id, f->id) == 0) {
		f->pid = rec->vmm_pid;
		f->start = rec->vmm_start;
	}
	return 0;
}

/* A VMM that has ended: the next daemon must not take who has its number now for it. */
START_TEST(test_row_of_the_dead)
{
	struct lie l = {.in = &lying,
			.phase = LYING_WAITING,
			.word = "CONNECTED-dead",
			.count = 1,
			.outcome = 'S',
			.id = "row"};
	struct found f = {.id = "row"};
	cleanup_free char *path = NULL;
	struct store *store;
	struct err err;

	open_scene();
	lie_run(&l);
	scene_stop(&lying.scene);
	path = scene_format("%s/uffdd.db", lying.scene.d.state);
	ck_assert_msg(store_open(path, &store, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(store_restores(store, on_row, &f, &err), 0);
	store_close(store);
	/* 0: by now it was looked for. */
	ck_assert(f.pid == (uint32_t)atoi(getenv("LIAR_VICTIM")) || f.pid == 0);
	ck_assert_uint_eq(f.start, 0);
	harness_rmtree(lying.scene.d.dir);
	harness_rmtree(lying.scripts);
}
END_TEST

/* Each successor lies: the first death was asked for, the others count. */
START_TEST(test_liars_only)
{
	struct lie l = {
		.in = &lying, .phase = LYING_SUCCEEDING, .word = "GONE", .count = 1, .id = "liars"};
	cleanup_free char *path = scene_format("%s/liars.always", lying.scripts);
	cleanup_free char *events = NULL;
	struct scene_vmm vmm;

	lie_create(&l);
	scene_vmm_start(&vmm, &lying.scene, l.id, "--hold-before");
	scene_reach(&lying.scene, l.id, "serving", "");
	scene_write(path, "ASSIGN GONE 1\n", 14);
	scene_tell(&lying.scene, 200, "POST", RESTORES "liars/restart-worker", NULL);
	scene_reach(&lying.scene, l.id, "failed", "die again and again");
	scene_vmm_kill(&vmm);
	events = lying_events(&lying, "?restore=liars");
	ck_assert_uint_eq(lying_count(events, "\"worker-lied\""), DEATHS + 1);
	ck_assert_int_eq(unlink(path), 0);
}
END_TEST

/* Not every word that cannot be is a lie: a snapshot may have grown before its VMM came. */
START_TEST(test_other_size)
{
	cleanup_free char *path = scene_format("%s/memory", lying.scripts);
	cleanup_free char *body = scene_format("{\"snapshot\":{\"memory\":[\"%s\"]}}", path);
	cleanup_free char *events = NULL;
	cleanup_json struct json_object *o = NULL;

	scene_write(path, "", 0);
	ck_assert_int_eq(truncate(path, PAGE_4K), 0);
	o = scene_ask(&lying.scene, 201, "PUT", RESTORES "grown", body);
	ck_assert_int_eq(truncate(path, 2 * PAGE_4K), 0);
	ck_assert_int_eq(kill((pid_t)scene_number(o, "worker.pid"), SIGKILL), 0);
	scene_reach(&lying.scene, "grown", "failed", "had 4096 bytes of memory and has 8192 now");
	events = scene_events(&lying.scene, "grown");
	ck_assert_str_eq(events, "created worker-died failed ");
}
END_TEST

START_TEST(test_nothing_is_left)
{
	stage_over(&lying.scene);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("story_liar");
	TCase *tc = tcase_create("words");

	tcase_add_unchecked_fixture(tc, open_scene, close_scene);
	tcase_add_loop_test(tc, test_every_word, 0, LYING_PHASES);
	tcase_add_test(tc, test_floods);
	tcase_add_test(tc, test_enough_is_told);
	tcase_add_test(tc, test_liars_only);
	tcase_add_test(tc, test_other_size);
	tcase_add_test(tc, test_nothing_is_left);
	suite_add_tcase(suite, tc);
	tc = tcase_create("rows");
	tcase_add_test(tc, test_row_of_the_dead);
	suite_add_tcase(suite, tc);
	return suite;
}
