/*
 * test_liar - workers that somebody has taken over say every message in every phase
 *
 * Each is ended at its first lie, what it served goes on with another worker, and a guest beside it
 * finds every byte right. The worker is tests/fakes/worker/liar.c.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "common/chan.h"
#include "daemon/store.h"
#include "tests/support/runner.h"
#include "tests/support/stage.h"

#define RESTORES "/v1/restores/"
#define FLOOD 5000
#define DEATHS 5 /* worker_restarts */
#define MEMBERS                                                     \
	"\"on_failure\":\"hold\",\"prefetch\":{\"mode\":\"none\"}," \
	"\"working_set\":{\"record\":false}"

/* ---- what is said when, and what becomes of it ---- */

enum { CREATING, SUCCEEDING, WAITING, SERVING, FAILED, OVER, PHASES };

/* What the liar does, up to its word. */
/* clang-format off */
static const struct {
	const char *name, *script;
} phases[PHASES] = {
	[CREATING]   = {"creating", "ASSIGN"},
	[SUCCEEDING] = {"succeeding", "ASSIGN"},
	[WAITING]    = {"waiting", "READY"},
	[SERVING]    = {"serving", "CONNECTED"},
	[FAILED]     = {"failed", "CONNECTED FAILED-why 1"},
	[OVER]       = {"over", "the-end"},
};
/* clang-format on */

/*
 * A letter for each phase: L a lie, since it is not for it to say; f a lie by what it says;
 * . nothing comes of it; E the end; F the restore fails; S a guest is served whose process is
 * not known: the liar's own.
 */
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

static bool is_lie(char outcome)
{
	return outcome == 'L' || outcome == 'f';
}

/* Does it say that this is not for it to say, or cannot even be understood? */
static bool is_out_of_place(const char *text)
{
	return strstr(text, "for it to say") || strstr(text, "channel message");
}

/* ---- the scene ---- */

static struct scene scene = {
	.config = "\"worker\":\"" TEST_BUILD "/tests/uffdd-worker-liar\"",
};
static char *scripts; /* directory */
static struct {
	char id[PROTO_ID_MAX + 1];
	struct scene_vmm vmm;
} beside;

/* Unchecked: they run in the runner, so that a failed test leaves nothing behind. */
static void open_scene(void)
{
	cleanup_free char *self = scene_format("%d", (int)getpid());

	scripts = harness_tmpdir();
	setenv("LIAR_DIR", scripts, 1);
	setenv("LIAR_VICTIM", self, 1);
	scene_open(&scene);
}

static void close_scene(void)
{
	stage_close(&scene);
	harness_rmtree(scripts);
	free(scripts);
}

/* A guest that has all of its pages still to come. */
static void start_beside(const char *what)
{
	snprintf(beside.id, sizeof(beside.id), "beside.%s", what);
	scene_create(&scene, beside.id, SCENE_SNAPSHOT, MEMBERS);
	scene_vmm_start(&beside.vmm, &scene, beside.id, "--hold-before");
	scene_reach(&scene, beside.id, "serving", "");
}

static void end_beside(void)
{
	cleanup_free char *events = NULL;

	scene_vmm_go(&beside.vmm);
	scene_vmm_right(&beside.vmm);
	scene_reach(&scene, beside.id, "ended", "vmm-exited");
	events = scene_events(&scene, beside.id);
	ck_assert_msg(!strstr(events, "worker-") && !strstr(events, "recovered"), "%s", events);
}

/* ---- one word in one phase ---- */

struct lie {
	int phase;
	const char *word;
	unsigned count;
	char outcome;
	char id[PROTO_ID_MAX + 1];
	pid_t worker;
	struct scene_vmm vmm; /* .pid 0: there is none */
};

static void write_script(const struct lie *l)
{
	cleanup_free char *path = scene_format("%s/%s", scripts, l->id);
	cleanup_free char *text = scene_format("%s %s %u\n", phases[l->phase].script, l->word,
					       l->count);

	scene_write(path, text, strlen(text));
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
		n++;
	return n;
}

/* All events, of restores and of none. */
static char *all_events(const char *query)
{
	cleanup_free char *target = scene_format("/v1/events%s", query);
	struct harness_reply r;
	char *text;

	harness_http(scene.d.socket, "GET", target, NULL, &r);
	ck_assert_int_eq(r.status, 200);
	text = strdup(r.body);
	harness_reply_fini(&r);
	return text;
}

static bool has_lied(void *arg)
{
	const struct lie *l = arg;
	cleanup_free char *events = scene_events(&scene, l->id);

	return strstr(events, "worker-lied ");
}

static bool is_gone(void *arg)
{
	const pid_t *pid = arg;

	return kill(*pid, 0) < 0 && errno == ESRCH;
}

/* The pid of its event: by now another one may serve. */
static pid_t liar_of(const struct lie *l)
{
	cleanup_free char *query = scene_format("?restore=%s", l->id);
	cleanup_free char *events = all_events(query);
	char *at = strstr(events, "\"worker-lied\"");

	ck_assert_ptr_nonnull(at);
	at = strstr(at, "\"pid\":");
	ck_assert_ptr_nonnull(at);
	return (pid_t)strtol(at + strlen("\"pid\":"), NULL, 10);
}

static void await_lie(struct lie *l)
{
	pid_t liar;

	ck_assert_msg(harness_wait(has_lied, l, SCENE_MS), "%s: it is no lie", l->id);
	liar = liar_of(l);
	ck_assert_msg(harness_wait(is_gone, &liar, SCENE_MS), "%s: the liar lives on", l->id);
}

/* The event tells whose word it was, and the create that there is no restore. */
static void check_creating(struct lie *l)
{
	cleanup_free char *target = scene_format(RESTORES "%s", l->id);
	cleanup_free char *body = scene_body(SCENE_SNAPSHOT, MEMBERS);
	cleanup_free char *lied = scene_format("restore %s: its worker lies", l->id);
	cleanup_free char *events = NULL;
	char *at;

	if (l->outcome == '.') {
		scene_tell(&scene, 201, "PUT", target, body);
		scene_delete(&scene, l->id, "");
		return;
	}
	if (l->outcome == 'F') {
		scene_refused(&scene, "PUT", target, body, ERR_INVALID, "so it says");
	} else {
		scene_refused(&scene, "PUT", target, body, ERR_SYSTEM, lied);
		events = all_events("");
		at = strstr(events, lied);
		ck_assert_msg(at, "%s: no event: %s", l->id, events);
		*strchr(at, '\n') = '\0';
		ck_assert_msg(is_out_of_place(at) == (l->outcome == 'L'), "%s", at);
	}
	scene_refused(&scene, "GET", target, NULL, ERR_NOTFOUND, l->id);
}

static void create(struct lie *l)
{
	cleanup_json struct json_object *o = NULL;

	scene_create(&scene, l->id, SCENE_SNAPSHOT, MEMBERS);
	o = scene_show(&scene, l->id);
	l->worker = (pid_t)scene_number(o, "worker.pid");
}

static void begin(struct lie *l)
{
	if (l->phase != SUCCEEDING)
		write_script(l);
	create(l);
	if (l->phase == SUCCEEDING) {
		write_script(l);
		ck_assert_int_eq(kill(l->worker, SIGKILL), 0);
	}
	if (l->phase >= SERVING)
		scene_vmm_start(&l->vmm, &scene, l->id, "--hold-before");
	if (l->phase == OVER)
		scene_vmm_go(&l->vmm);
}

/* The restore goes on, whoever has its pages now. */
static void go_on(struct lie *l)
{
	if (l->phase == FAILED) {
		scene_reach(&scene, l->id, "failed", "so it says");
		scene_vmm_kill(&l->vmm);
		return;
	}
	if (!l->vmm.pid)
		scene_vmm_start(&l->vmm, &scene, l->id, "--hold-before");
	if (l->phase != OVER)
		scene_vmm_go(&l->vmm);
	scene_vmm_right(&l->vmm);
	scene_reach(&scene, l->id, "ended", "vmm-exited");
}

static void check_loaded(struct lie *l)
{
	begin(l);
	switch (l->outcome) {
	case 'L':
	case 'f':
		await_lie(l);
		go_on(l);
		break;
	case 'E':
		scene_reach(&scene, l->id, l->phase == FAILED ? "failed" : "ended", "");
		break;
	case 'F':
		scene_reach(&scene, l->id, "failed", "so it says");
		break;
	case 'S':
		scene_reach(&scene, l->id, "serving", "");
		ck_assert_int_eq(kill(l->worker, SIGKILL), 0);
		scene_reach(&scene, l->id, "ended", "vmm-exited");
		break;
	default:
		go_on(l);
	}
	if (l->vmm.pid)
		scene_vmm_kill(&l->vmm);
}

static void check_events(const struct lie *l)
{
	cleanup_free char *query = scene_format("?restore=%s", l->id);
	cleanup_free char *said = scene_format("while %s", phases[l->phase].name);
	cleanup_free char *events = all_events(query);
	bool lied = is_lie(l->outcome) && l->phase != CREATING;

	ck_assert_msg(count(events, "\"worker-lied\"") == lied, "%s: %s", l->id, events);
	if (!lied)
		return;
	ck_assert_msg(strstr(events, said) || strstr(events, "channel message"), "%s: %s", l->id,
		      events);
	ck_assert_msg(is_out_of_place(events) == (l->outcome == 'L'), "%s: %s", l->id, events);
}

static void run(struct lie *l)
{
	if (l->phase == CREATING) {
		write_script(l);
		check_creating(l);
	} else {
		check_loaded(l);
	}
	/* Then all that it has said was heard. */
	if (l->phase == OVER)
		ck_assert(harness_wait(is_gone, &l->worker, SCENE_MS));
	check_events(l);
}

START_TEST(test_every_word)
{
	start_beside(phases[_i].name);
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		struct lie l = {_i, words[i].word, 1, words[i].outcome[_i], "", 0, {0}};

		snprintf(l.id, sizeof(l.id), "%s.%s", phases[_i].name, words[i].word);
		run(&l);
	}
	end_beside();
}
END_TEST

/* ---- who says too much ---- */

static const struct {
	int phase;
	const char *word, *event;
} floods[] = {
	{WAITING, "REFUSED", NULL},
	{WAITING, "NOTE-forked", "\"forked\""},
	{SERVING, "NOTE-forked", "\"forked\""},
	{SERVING, "COMPLETE", "\"complete\""},
	{SERVING, "PAUSED", "\"paused\""},
	{SERVING, "LEASE_ASK", NULL},
	{SERVING, "LEASE_BACK", NULL},
	{SERVING, "WSET_MADE", NULL},
	{SERVING, "of-the-future", NULL},
	{FAILED, "FAILED-why", NULL},
	{OVER, "WSET_MADE", NULL},
	{OVER, "COMPLETE", NULL},
};

START_TEST(test_floods)
{
	start_beside("floods");
	for (size_t i = 0; i < ARRAY_LEN(floods); i++) {
		struct lie l = {.phase = floods[i].phase,
				.word = floods[i].word,
				.count = FLOOD,
				.outcome = 'f'};
		cleanup_free char *events = NULL, *query = NULL;

		snprintf(l.id, sizeof(l.id), "flood.%zu.%s", i, l.word);
		run(&l);
		query = scene_format("?restore=%s", l.id);
		events = all_events(query);
		ck_assert_msg(strstr(events, "far too much"), "%s: %s", l.id, events);
		if (floods[i].event)
			ck_assert_uint_le(count(events, floods[i].event), CHAN_TOLD_MAX);
	}
	end_beside();
}
END_TEST

/* So many are told, the others are dropped: a good worker is far from that. */
START_TEST(test_enough_is_told)
{
	struct lie l = {.phase = SERVING,
			.word = "NOTE-forked",
			.count = CHAN_TOLD_MAX + 1,
			.outcome = '.',
			.id = "enough"};
	cleanup_free char *events = NULL;

	run(&l);
	events = all_events("?restore=enough");
	ck_assert_uint_eq(count(events, "\"forked\""), CHAN_TOLD_MAX);
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
	struct lie l = {.phase = WAITING,
			.word = "CONNECTED-dead",
			.count = 1,
			.outcome = 'S',
			.id = "row"};
	struct found f = {.id = "row"};
	cleanup_free char *path = NULL;
	struct store *store;
	struct err err;

	open_scene();
	run(&l);
	scene_stop(&scene);
	path = scene_format("%s/uffdd.db", scene.d.state);
	ck_assert_msg(store_open(path, &store, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(store_restores(store, on_row, &f, &err), 0);
	store_close(store);
	/* 0: by now it was looked for. */
	ck_assert(f.pid == (uint32_t)atoi(getenv("LIAR_VICTIM")) || f.pid == 0);
	ck_assert_uint_eq(f.start, 0);
	harness_rmtree(scene.d.dir);
	harness_rmtree(scripts);
}
END_TEST

/* Each successor lies: the first death was asked for, the others count. */
START_TEST(test_liars_only)
{
	struct lie l = {.phase = SUCCEEDING, .word = "GONE", .count = 1, .id = "liars"};
	cleanup_free char *path = scene_format("%s/liars.always", scripts);
	cleanup_free char *events = NULL;
	struct scene_vmm vmm;

	create(&l);
	scene_vmm_start(&vmm, &scene, l.id, "--hold-before");
	scene_reach(&scene, l.id, "serving", "");
	scene_write(path, "ASSIGN GONE 1\n", 14);
	scene_tell(&scene, 200, "POST", RESTORES "liars/restart-worker", NULL);
	scene_reach(&scene, l.id, "failed", "die again and again");
	scene_vmm_kill(&vmm);
	events = all_events("?restore=liars");
	ck_assert_uint_eq(count(events, "\"worker-lied\""), DEATHS + 1);
	ck_assert_int_eq(unlink(path), 0);
}
END_TEST

/* Not every word that cannot be is a lie: a snapshot may have grown before its VMM came. */
START_TEST(test_other_size)
{
	cleanup_free char *path = scene_format("%s/memory", scripts);
	cleanup_free char *body = scene_format("{\"snapshot\":{\"memory\":[\"%s\"]}}", path);
	cleanup_free char *events = NULL;
	cleanup_json struct json_object *o = NULL;

	scene_write(path, "", 0);
	ck_assert_int_eq(truncate(path, PAGE_4K), 0);
	o = scene_ask(&scene, 201, "PUT", RESTORES "grown", body);
	ck_assert_int_eq(truncate(path, 2 * PAGE_4K), 0);
	ck_assert_int_eq(kill((pid_t)scene_number(o, "worker.pid"), SIGKILL), 0);
	scene_reach(&scene, "grown", "failed", "had 4096 bytes of memory and has 8192 now");
	events = scene_events(&scene, "grown");
	ck_assert_str_eq(events, "created worker-died failed ");
}
END_TEST

START_TEST(test_nothing_is_left)
{
	stage_over(&scene);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("story_liar");
	TCase *tc = tcase_create("words");

	tcase_add_unchecked_fixture(tc, open_scene, close_scene);
	tcase_add_loop_test(tc, test_every_word, 0, PHASES);
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
