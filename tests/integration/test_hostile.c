/*
 * test_hostile - VMMs that misbehave, and workers that die
 *
 * Whatever they do, it is their own restore that suffers: beside each of them
 * another one is served to the last byte, and nothing is left of either.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/runner.h"
#include "tests/support/scene.h"

#define RESTORES "/v1/restores"
#define NO_PREFETCH "\"prefetch\":{\"mode\":\"none\"}"

/* Somebody else, at the same time. */
static void serve_another(const struct scene *s, const char *beside)
{
	cleanup_free char *id = scene_format("beside-%s", beside);
	struct scene_vmm vmm;

	scene_create(s, id, TEST_DATA "/golden/single", NULL);
	scene_vmm_start(&vmm, s, id, "--order rand --threads 2");
	scene_vmm_right(&vmm);
	scene_reach(s, id, "ended", "vmm-exited");
}

static void start_hostile(struct scene_vmm *v, const struct scene *s, const char *id,
			  const char *way)
{
	cleanup_free char *args = scene_format("--hostile %s", way);

	scene_vmm_start(v, s, id, args);
}

static void check_code(struct scene_vmm *v, const char *id, int want)
{
	int code = scene_vmm_end(v);
	cleanup_free char *text = scene_vmm_text(v);

	ck_assert_msg(code == want, "%s: the VMM ended with %d, not %d; it wrote:\n%s", id, code,
		      want, text);
	close_fd(&v->out);
}

static void check_events(const struct scene *s, const char *id, const char *want)
{
	cleanup_free char *types = scene_events(s, id);

	ck_assert_msg(strcmp(types, want) == 0, "%s: %s, not %s", id, types, want);
}

/* --- those who hand something over, and say something wrong about it --- */

static const struct wrong {
	const char *way, *reason;
} wrongs[] = {
	{"garbage", "bad JSON at line 1, column 1"},
	{"huge", "longer than 65536 bytes"},
	{"not-uffd", "descriptor 0 of the handshake is not a userfaultfd"},
	{"zero-regions", "no regions"},
	{"overlap-addr", "regions 0 and 1 overlap in addresses"},
	{"overlap-off", "regions 0 and 1 overlap in offsets"},
	{"beyond", "lies beyond the snapshot of 0x100000 bytes"},
	{"wrap", "wraps around"},
	{"unaligned", "is not a multiple of the page size 4096"},
	{"bad-page-size", "page size 8192 of region 0"},
	{"mixed-page-size", "region 1 has page size 2097152"},
	{"many-fds", "at most 16 may be sent"},
	{"unregistered", "not registered with the userfaultfd"},
};

static void fail_one(struct scene *s, const struct wrong *w, const char *on_failure)
{
	cleanup_free char *id = scene_format("%s-%s", w->way, on_failure);
	cleanup_free char *target = scene_format(RESTORES "/%s", id);
	cleanup_free char *more = scene_format("\"on_failure\":\"%s\"", on_failure);
	bool kill = strcmp(on_failure, "kill") == 0;
	struct scene_vmm vmm;

	scene_create(s, id, SCENE_SNAPSHOT, more);
	start_hostile(&vmm, s, id, w->way);
	scene_reach(s, id, "failed", w->reason);
	if (!kill) {
		ck_assert_msg(scene_vmm_lives(&vmm), "%s: the VMM does not live", id);
		scene_refused(s, "DELETE", target, NULL, ERR_STATE, "or stop with kill");
		ck_assert_msg(scene_vmm_lives(&vmm), "%s: the VMM does not live", id);
	}
	serve_another(s, id);
	if (!kill)
		scene_delete(s, id, "?kill=true");
	check_code(&vmm, id, 128 + SIGKILL);
	scene_delete(s, id, "");
	scene_at_rest(s);
	check_events(s, id,
		     kill ? "created failed released " : "created failed stopping released ");
	scene_reach(s, id, "failed", w->reason);
}

START_TEST(test_wrong_messages)
{
	struct scene s = {0};

	scene_open(&s);
	for (size_t i = 0; i < ARRAY_LEN(wrongs); i++)
		fail_one(&s, &wrongs[i], "kill");
	fail_one(&s, &wrongs[0], "hold");
	fail_one(&s, &wrongs[5], "hold");
	fail_one(&s, &wrongs[0], "poison");
	fail_one(&s, &wrongs[5], "poison");
	scene_close(&s);
}
END_TEST

/* --- those who hand nothing over --- */

/* Whether a guest misses a page before prefetch is there is chance. */
#define NO_RECORD "\"working_set\":{\"record\":false}"

/* Of a VMM with --hold: its end might be seen first. */
static void end_complete(struct scene_vmm *v, const struct scene *s, const char *id)
{
	cleanup_free char *target = scene_format(RESTORES "/%s?for=complete&wait=%dms", id,
						 scene_poll_ms());
	cleanup_json struct json_object *o = scene_ask(s, 200, "GET", target, NULL);

	ck_assert_msg(scene_flag(o, "complete"), "%s: %s", id, json_object_to_json_string(o));
	scene_vmm_right(v);
}

static void refuse_one(const struct scene *s, const char *way, const char *said)
{
	struct scene_vmm bad, good;

	scene_create(s, way, SCENE_SNAPSHOT, NO_RECORD);
	start_hostile(&bad, s, way, way);
	check_code(&bad, way, 0);
	scene_reach(s, way, "waiting", "");
	serve_another(s, way);
	scene_vmm_start(&good, s, way, "--hold");
	end_complete(&good, s, way);
	scene_reach(s, way, "ended", "vmm-exited");
	check_events(s, way, said);
}

/* The slow one may take its time (the listener's), so it goes beside the others. */
START_TEST(test_strangers)
{
	static const char said[] = "created refused connected complete ended ";
	struct scene s = {0};
	struct scene_vmm slow, good;
	char *text;

	scene_open(&s);
	scene_create(&s, "slow", SCENE_SNAPSHOT, NO_RECORD);
	start_hostile(&slow, &s, "slow", "slow");
	refuse_one(&s, "no-fd", said);
	refuse_one(&s, "die-before-send", said);
	check_code(&slow, "slow", 0);
	scene_reach(&s, "slow", "waiting", "");
	scene_vmm_start(&good, &s, "slow", "--hold");
	end_complete(&good, &s, "slow");
	scene_reach(&s, "slow", "ended", "vmm-exited");
	check_events(&s, "slow", said);
	text = scene_hear(scene_dial(&s, "/v1/events?restore=slow"), NULL);
	ck_assert_msg(strstr(text, "not complete after 30 s"), "%s", text);
	free(text);
	scene_close(&s);
}
END_TEST

/* --- those who come in pairs, and those who die --- */

START_TEST(test_two_connections)
{
	struct scene s = {0};
	struct scene_vmm vmm;
	char *text;

	scene_open(&s);
	for (int i = 0; i < 5; i++) {
		cleanup_free char *id = scene_format("twice-%d", i);

		scene_create(&s, id, SCENE_SNAPSHOT, NULL);
		start_hostile(&vmm, &s, id, "two-connections");
		serve_another(&s, id);
		ck_assert_int_eq(scene_vmm_end(&vmm), 0);
		text = scene_vmm_text(&vmm);
		ck_assert_msg((strstr(text, "refused") || strstr(text, "closed")) &&
				      strstr(text, "\"wrong\":0,"),
			      "%s", text);
		free(text);
		close_fd(&vmm.out);
		scene_reach(&s, id, "ended", "vmm-exited");
		scene_at_rest(&s);
	}
	scene_close(&s);
}
END_TEST

#define RIVALS 4
#define NOBODY_LISTENS 3 /* any more: exit code of a stand-in */

/* Of several honest VMMs at once exactly one is served, and the others are turned away. */
START_TEST(test_rivals)
{
	struct scene s = {0};
	cleanup_free char *socket = NULL;
	struct scene_vmm vmms[RIVALS];
	size_t right = 0;

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	socket = scene_path(&s, "a", "uffd");
	for (size_t i = 0; i < RIVALS; i++)
		scene_vmm_start_at(&vmms[i], socket, SCENE_SNAPSHOT "/" SCENE_IMAGE, "");
	serve_another(&s, "rivals");
	scene_reach(&s, "a", "ended", "vmm-exited");
	for (size_t i = 0; i < RIVALS; i++) {
		int code;

		/* Nobody answers it. */
		if (scene_vmm_lives(&vmms[i]))
			kill(vmms[i].pid, SIGKILL);
		code = scene_vmm_end(&vmms[i]);
		ck_assert_msg(code == 0 || code == NOBODY_LISTENS || code == 128 + SIGKILL,
			      "exit %d", code);
		right += code == 0;
		close_fd(&vmms[i].out);
	}
	ck_assert_uint_eq(right, 1);
	scene_close(&s);
}
END_TEST

/* Whether it is still there when its message is read is luck; that all of it goes is not. */
START_TEST(test_die_after_send)
{
	struct scene s = {0};
	struct scene_vmm vmm;

	scene_open(&s);
	for (int i = 0; i < 10; i++) {
		cleanup_free char *id = scene_format("die-%d", i);
		cleanup_free char *target = scene_format(RESTORES "/%s?for=failed&wait=60s", id);
		struct json_object *o;
		bool timeout;
		int code;

		scene_create(&s, id, SCENE_SNAPSHOT, "\"connect_timeout\":\"2s\"");
		start_hostile(&vmm, &s, id, "die-after-send");
		code = scene_vmm_end(&vmm);
		close_fd(&vmm.out);
		o = scene_ask(&s, 200, "GET", target, NULL);
		timeout = strstr(scene_text(o, "reason"), "connect_timeout");
		ck_assert_msg(timeout || strcmp(scene_text(o, "reason"), "vmm-exited") == 0, "%s",
			      json_object_to_json_string(o));
		ck_assert_msg(code == 0 || (timeout && code == NOBODY_LISTENS), "exit %d", code);
		json_object_put(o);
		scene_at_rest(&s);
	}
	serve_another(&s, "die");
	scene_close(&s);
}
END_TEST

static uint64_t removals(const struct scene *s, const char *id)
{
	cleanup_json struct json_object *o = scene_show(s, id);

	return scene_number(o, "events.remove");
}

/* A guest that does nothing but give memory back, beside one that must not notice. */
START_TEST(test_removal_flood)
{
	struct scene s = {0};
	cleanup_free char *large = NULL;
	struct scene_vmm flood, calm;
	uint64_t before;

	scene_open(&s);
	large = scene_format("%s/large", s.d.dir);
	scene_make_snapshot(large, (uint64_t)32 << 20, 7);
	scene_create(&s, "flood", SCENE_SNAPSHOT, NO_PREFETCH);
	scene_create(&s, "calm", large, NULL);
	start_hostile(&flood, &s, "flood", "flood-remove");
	scene_reach(&s, "flood", "serving", "");
	before = removals(&s, "flood");
	scene_vmm_start(&calm, &s, "calm", "--order rand --threads 2 --hold");
	scene_vmm_await(&calm, "holding");
	/* It was done while the flood was still on. */
	ck_assert(scene_vmm_lives(&flood));
	ck_assert_uint_gt(removals(&s, "flood"), before);
	scene_vmm_right(&calm);
	scene_vmm_right(&flood);
	scene_reach(&s, "flood", "ended", "vmm-exited");
	scene_close(&s);
}
END_TEST

START_TEST(test_nobody_comes)
{
	struct scene s = {0};
	struct json_object *o;
	struct stat st;

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, "\"connect_timeout\":\"100ms\"");
	o = scene_show(&s, "a");
	serve_another(&s, "a");
	scene_reach(&s, "a", "failed", "no VMM connected within 100 ms (connect_timeout)");
	ck_assert_int_lt(lstat(scene_text(o, "socket.path"), &st), 0);
	json_object_put(o);
	check_events(&s, "a", "created failed ");
	scene_close(&s);
}
END_TEST

/* --- workers that die --- */

static pid_t worker_of(const struct scene *s, const char *id)
{
	cleanup_json struct json_object *o = scene_show(s, id);

	return (pid_t)scene_number(o, "worker.pid");
}

/* The same socket, another worker behind it. */
START_TEST(test_worker_dies_waiting)
{
	struct scene s = {0};
	struct scene_vmm vmm;

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	ck_assert_int_eq(kill(worker_of(&s, "a"), SIGKILL), 0);
	scene_vmm_start(&vmm, &s, "a", "--threads 4");
	scene_vmm_right(&vmm);
	scene_reach(&s, "a", "ended", "vmm-exited");
	scene_close(&s);
}
END_TEST

/* Ours is the last descriptor of it, and still no thread sees a zero page. */
START_TEST(test_worker_dies_serving)
{
	struct scene s = {0};
	struct scene_vmm vmm;

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, NO_PREFETCH);
	scene_vmm_start(&vmm, &s, "a", "--hold-before --hold --no-keep --threads 4");
	scene_reach(&s, "a", "serving", "");
	ck_assert_int_eq(kill(worker_of(&s, "a"), SIGKILL), 0);
	scene_vmm_go(&vmm);
	end_complete(&vmm, &s, "a");
	scene_reach(&s, "a", "ended", "vmm-exited");
	check_events(&s, "a", "created connected worker-died recovered complete ended ");
	scene_close(&s);
}
END_TEST

/* The kernel lets nobody but the tracer reap it; its guest must not wait for that. */
START_TEST(test_traced_worker_dies)
{
	struct scene s = {0};
	struct scene_vmm vmm;
	siginfo_t ended;
	pid_t worker;
	int status;

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	worker = worker_of(&s, "a");
	ck_assert_msg(ptrace(PTRACE_SEIZE, worker, NULL, NULL) == 0, "%s", strerror(errno));
	ck_assert_int_eq(kill(worker, SIGKILL), 0);
	ck_assert_int_eq(waitid(P_PID, (id_t)worker, &ended, WEXITED | WNOWAIT), 0);
	scene_vmm_start(&vmm, &s, "a", "");
	scene_vmm_right(&vmm);
	ck_assert_int_eq(waitpid(worker, &status, __WALL), worker);
	scene_reach(&s, "a", "ended", "vmm-exited");
	scene_close(&s);
}
END_TEST

#define IDLE_MAX 16

struct idle {
	const struct scene *s;
	pid_t pids[IDLE_MAX];
	int n;
};

static void find_idle(struct idle *idle)
{
	pid_t pid = idle->s->d.pid;
	cleanup_free char *path = scene_format("/proc/%d/task/%d/children", (int)pid, (int)pid);
	cleanup_file FILE *f = fopen(path, "re");

	ck_assert_ptr_nonnull(f);
	for (int child; idle->n < IDLE_MAX && fscanf(f, "%d", &child) == 1; idle->n++)
		idle->pids[idle->n] = child;
}

static bool are_replaced(void *arg)
{
	const struct idle *idle = arg;

	for (int i = 0; i < idle->n; i++)
		if (kill(idle->pids[i], 0) == 0)
			return false;
	return harness_count_workers(idle->s->d.pid) == SCENE_POOL;
}

/* And the zygote with them. */
START_TEST(test_idle_workers_die)
{
	struct scene s = {0};
	struct idle idle = {.s = &s};

	scene_open(&s);
	find_idle(&idle);
	ck_assert_int_ge(idle.n, SCENE_POOL);
	for (int i = 0; i < idle.n; i++)
		ck_assert_int_eq(kill(idle.pids[i], SIGKILL), 0);
	ck_assert(harness_wait(are_replaced, &idle, SCENE_MS));
	serve_another(&s, "idle");
	scene_close(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("story_hostile");
	TCase *tc = tcase_create("hostile");

	tcase_add_test(tc, test_wrong_messages);
	tcase_add_test(tc, test_strangers);
	tcase_add_test(tc, test_two_connections);
	tcase_add_test(tc, test_rivals);
	tcase_add_test(tc, test_die_after_send);
	tcase_add_test(tc, test_removal_flood);
	tcase_add_test(tc, test_nobody_comes);
	tcase_add_test(tc, test_worker_dies_waiting);
	tcase_add_test(tc, test_worker_dies_serving);
	tcase_add_test(tc, test_traced_worker_dies);
	tcase_add_test(tc, test_idle_workers_die);
	suite_add_tcase(suite, tc);
	return suite;
}
