/* test_away - what happened while no supervisor was there is found out by the next one */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "common/pagemap.h"
#include "tests/support/leasing.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"

#define SIZE (8 * LEASING_MIB)
#define SLOW_BYTES_PER_S 65536 /* of LEASING_SLOWLY */
/*
 * Not done before the supervisor is killed, and done soon after: those that do next to nothing
 * have the only lease, each for a minute, and only a supervisor asks for one.
 */
#define HOLDERS 5
#define IN_TURN "\"prefetch\":{\"mode\":\"all\"}"
#define TOUCHES "--hold-before --threads 4 --order rand --write 20"

static struct leasing leasing;

/* ---- what may happen ---- */

static void nothing(struct stage *s)
{
	(void)s;
}

static void worker_dies(struct stage *s)
{
	respawn_end(s->worker);
}

/* Its worker sees it, and leaves. */
static void vmm_ends(struct stage *s)
{
	scene_vmm_kill(&s->vmm);
	respawn_await_end(s->worker);
}

static void worker_and_vmm_end(struct stage *s)
{
	respawn_end(s->worker);
	scene_vmm_kill(&s->vmm);
}

static void read_map(struct stage *s, struct pagemap_view *ret)
{
	cleanup_free char *path = stage_path(s, "maps");
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct err err;

	stage_check(s, fd >= 0 && pagemap_view(fd, ret, &err) == 0, "no page map");
}

static bool is_connected(void *arg)
{
	struct pagemap_view v;

	read_map(arg, &v);
	return v.head.connected;
}

static bool is_complete(void *arg)
{
	struct pagemap_view v;

	read_map(arg, &v);
	return v.stats.pages[PAGE_ABSENT] == 0;
}

static void vmm_comes(struct stage *s)
{
	stage_start(s, leasing.image, TOUCHES);
	stage_check(s, harness_wait(is_connected, s, SCENE_MS), "the worker takes no VMM");
}

static void vmm_comes_and_worker_dies(struct stage *s)
{
	vmm_comes(s);
	respawn_end(s->worker);
}

static void completes(struct stage *s)
{
	stage_check(s, harness_wait(is_complete, s, SCENE_MS), "prefetch does not go on");
}

static void completes_and_worker_dies(struct stage *s)
{
	completes(s);
	respawn_end(s->worker);
}

static void leaves_by_itself(struct stage *s)
{
	respawn_await_end(s->worker);
}

static void nobody_comes(struct stage *s)
{
	ck_assert_int_eq(kill(s->worker, SIGCONT), 0);
	respawn_await_end(s->worker);
}

/* clang-format off */
static const struct happening {
	const char *name, *members;
	bool connected; /* before the supervisor is killed */
	void (*make)(struct stage *s);
	/* Then: */
	const char *state, *reason, *event; /* reached, for this reason, with this event */
	bool complete;
	unsigned restarts;
	int code; /* of the VMM in the end; -1: there is none */
} happenings[] = {
	{"nothing", LEASING_ON_DEMAND, true, nothing, "serving", "", "adopted", false, 0, 0},
	{"still-waiting", LEASING_ON_DEMAND, false, nothing, "waiting", "", "adopted", false,
	 0, -1},
	{"vmm-ended", LEASING_ON_DEMAND, true, vmm_ends, "ended", "vmm-exited", "ended", false,
	 0, -1},
	{"worker-died", LEASING_ON_DEMAND, true, worker_dies, "serving", "", "recovered", false,
	 1, 0},
	{"waiting-worker-died", LEASING_ON_DEMAND, false, worker_dies, "waiting", "", "recovered",
	 false, 1, -1},
	{"both-ended", LEASING_ON_DEMAND, true, worker_and_vmm_end, "ended", "vmm-exited", "ended",
	 false, 0, -1},
	{"vmm-came", LEASING_ON_DEMAND, false, vmm_comes, "serving", "", "connected", false, 0, 0},
	{"vmm-came-worker-died", LEASING_ON_DEMAND, false, vmm_comes_and_worker_dies, "serving", "",
	 "recovered", false, 1, 0},
	{"nobody-came", NULL, false, nobody_comes, "failed", "connect_timeout", "failed", false, 1,
	 -1},
	{"completed", IN_TURN, true, completes, "serving", "", "complete", true, 0, 0},
	{"completed-worker-died", IN_TURN, true, completes_and_worker_dies, "serving", "",
	 "complete", true, 1, 0},
	{"released", IN_TURN ",\"when_complete\":\"release\"", true, leaves_by_itself, "ended",
	 "released", "ended", true, 0, 0},
};
/* clang-format on */

static void begin(struct stage *s, const struct happening *h)
{
	cleanup_free char *dir = scene_format("{\"dir\":\"%s\"}", leasing.snapshot);

	*s = (struct stage){.scene = &leasing.scene};
	snprintf(s->id, sizeof(s->id), "%s", h->name);
	stage_create(s, dir, h->members);
	if (!h->connected)
		return;
	stage_start(s, leasing.image, TOUCHES);
	json_object_put(stage_await(s, "serving"));
	/* Alone it prefetches only if it was told before what its VMM may have. */
	if (h->complete)
		leasing_await_queued(s);
}

static bool is_waiting(const struct stage *s)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	return strcmp(scene_text(o, "state"), "waiting") == 0;
}

static bool is_stopped(void *arg)
{
	const struct stage *s = arg;
	cleanup_free char *path = scene_format("/proc/%d/stat", (int)s->worker);
	cleanup_file FILE *f = fopen(path, "re");
	char state = 0;

	return !f || (fscanf(f, "%*d (%*[^)]) %c", &state) == 1 && state == 'T');
}

/*
 * Its worker is stopped while its VMM may still come, so that it finds out later that none
 * did. Where it was too late for that, again, with more time.
 */
static void begin_in_vain(struct stage *s, const struct happening *h)
{
	for (uint64_t ms = 1000; ms < 4 * HARNESS_MS; ms *= 4) {
		cleanup_free char *members = scene_format(LEASING_ON_DEMAND
							  ",\"connect_timeout\":\"%jums\"",
							  (uintmax_t)ms);
		struct happening timed = *h;
		cleanup_free char *name = scene_format("%s-%ju", h->name, (uintmax_t)ms);

		timed.name = name;
		timed.members = members;
		begin(s, &timed);
		kill(s->worker, SIGSTOP);
		stage_check(s, harness_wait(is_stopped, s, SCENE_MS), "its worker does not stop");
		if (is_waiting(s))
			return;
	}
	stage_check(s, false, "its worker leaves too soon");
}

static void begin_holders(struct stage holders[HOLDERS])
{
	for (int i = 0; i < HOLDERS; i++) {
		cleanup_free char *name = scene_format("holder-%d", i);
		const struct happening slow = {.name = name,
					       .members = LEASING_SLOWLY,
					       .connected = true};

		begin(&holders[i], &slow);
		if (i)
			leasing_await_queued(&holders[i]);
		else
			leasing_await_begun(&holders[i]);
	}
}

static void begin_all(struct stage s[ARRAY_LEN(happenings)])
{
	for (size_t i = 0; i < ARRAY_LEN(happenings); i++)
		if (happenings[i].members)
			begin(&s[i], &happenings[i]);
		else
			begin_in_vain(&s[i], &happenings[i]);
}

static void check_found_out(struct stage *s, const struct happening *h)
{
	struct json_object *o;

	respawn_await_event(&leasing.scene, s->id, h->event, 1);
	o = stage_await(s, h->state);
	stage_check(s, strstr(scene_text(o, "reason"), h->reason), "%s",
		    json_object_to_json_string(o));
	stage_check(s, scene_flag(o, "complete") == h->complete, "%s",
		    json_object_to_json_string(o));
	stage_check(s, scene_number(o, "worker.restarts") == h->restarts, "%s",
		    json_object_to_json_string(o));
	s->worker = (pid_t)scene_number(o, "worker.pid");
	json_object_put(o);
}

/* The guest of one that lives finds all of its memory right, and is seen to end. */
static void check_end(struct stage *s, const struct happening *h)
{
	bool over = strcmp(h->state, "ended") == 0 || strcmp(h->state, "failed") == 0;

	if (h->code >= 0) {
		int code;

		scene_vmm_go(&s->vmm);
		code = stage_end(s);
		stage_check(s, code == h->code && strstr(stage_printed(s), "\"wrong\":0,"),
			    "exit %d", code);
	} else if (!over) {
		stage_tell(s, "DELETE", "", NULL);
	}
	if (!over)
		json_object_put(stage_ended(s, h->code < 0 ? "stopped" : "vmm-exited"));
	stage_cleared(s);
	/* Everything was recorded once. */
	ck_assert_uint_eq(respawn_count_events(&leasing.scene, s->id, "created"), 1);
	ck_assert_uint_le(respawn_count_events(&leasing.scene, s->id, "connected"), 1);
	ck_assert_uint_le(respawn_count_events(&leasing.scene, s->id, "complete"), 1);
	ck_assert_uint_eq(respawn_count_events(&leasing.scene, s->id, "ended") +
				  respawn_count_events(&leasing.scene, s->id, "failed"),
			  1);
	stage_fini(s);
}

START_TEST(found_out)
{
	static const struct happening as_before = {.code = 0, .state = "serving"};
	struct stage holders[HOLDERS], s[ARRAY_LEN(happenings)];

	leasing_open(&leasing, LEASING_NEVER_REVOKED, SIZE);
	begin_holders(holders);
	begin_all(s);
	/* Without a lease they wait, until they are alone. */
	for (size_t i = 0; i < ARRAY_LEN(happenings); i++)
		stage_check(&s[i], !happenings[i].complete || !is_complete(&s[i]),
			    "complete too early for this test");
	scene_kill(&leasing.scene);
	for (size_t i = 0; i < ARRAY_LEN(happenings); i++)
		happenings[i].make(&s[i]);
	harness_daemon_start(&leasing.scene.d, NULL);
	for (size_t i = 0; i < ARRAY_LEN(happenings); i++)
		check_found_out(&s[i], &happenings[i]);
	for (size_t i = 0; i < ARRAY_LEN(happenings); i++)
		check_end(&s[i], &happenings[i]);
	for (size_t i = 0; i < HOLDERS; i++)
		check_end(&holders[i], &as_before);
	leasing_close(&leasing);
}
END_TEST

/* ---- those who listen ---- */

/* Follows events from @after on: they come without a gap. Returns the last. */
static uint64_t check_sequence(uint64_t after)
{
	cleanup_free char *target = scene_format("/v1/events?after=%llu",
						 (unsigned long long)after);
	struct harness_reply r;

	ck_assert_int_eq(harness_http(leasing.scene.d.socket, "GET", target, NULL, &r), 200);
	for (char *rest = r.body, *line; (line = strsep(&rest, "\n")) && *line;) {
		struct err err;
		cleanup_json struct json_object *o = js_parse(line, strlen(line), false, &err);
		struct json_object *seq;

		ck_assert_msg(o != NULL, "%s: %s", err.msg, line);
		if (!json_object_object_get_ex(o, "seq", &seq))
			continue;
		ck_assert_msg(json_object_get_uint64(seq) == after + 1, "after %llu: %s",
			      (unsigned long long)after, line);
		after++;
	}
	harness_reply_fini(&r);
	return after;
}

/* An orderly stop and a kill alike; revision and sequence only ever grow. */
START_TEST(listeners_go_on)
{
	const struct happening h = {.name = "heard",
				    .members = LEASING_ON_DEMAND,
				    .connected = true,
				    .code = 0,
				    .state = "serving"};
	void (*const ends[])(struct scene * scene) = {scene_kill, scene_stop};
	uint64_t seq, revision = 0;
	struct stage s;
	char *heard;
	int poll_fd;

	leasing_open(&leasing, NULL, SIZE);
	begin(&s, &h);
	seq = check_sequence(0);
	for (unsigned round = 0; round < 4; round++) {
		cleanup_json struct json_object *o = NULL;
		int feed = scene_dial(&leasing.scene, "/v1/events?follow=1");

		free(scene_hear(feed, "\"connected\""));
		ends[round % 2](&leasing.scene);
		free(scene_hear(feed, NULL));
		close(feed);
		harness_daemon_start(&leasing.scene.d, NULL);
		respawn_await_event(&leasing.scene, s.id, "adopted", round + 1);
		ck_assert_uint_gt(check_sequence(seq), seq);
		seq = check_sequence(seq);
		o = stage_await(&s, "serving");
		ck_assert_uint_ge(scene_number(o, "revision"), revision);
		revision = scene_number(o, "revision");
	}
	poll_fd = scene_dial(&leasing.scene, "/v1/restores/heard?for=ended&wait=60s");
	check_end(&s, &h);
	heard = scene_hear(poll_fd, NULL);
	ck_assert_msg(strstr(heard, "\"state\":\"ended\""), "%s", heard);
	free(heard);
	close(poll_fd);
	ck_assert_uint_gt(check_sequence(seq), seq);
	leasing_close(&leasing);
}
END_TEST

/* What was asked for before holds afterwards, for old workers and for new ones. */
static void check_wish(struct stage *s, bool paused, uint64_t done)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);
	const uint64_t rate = paused ? SLOW_BYTES_PER_S : 123456789;

	stage_check(s,
		    scene_flag(o, "paused") == paused && !scene_flag(o, "complete") &&
			    scene_number(o, "prefetch.rate_bytes_per_s") == rate &&
			    scene_number(o, "prefetch.done_bytes") == done &&
			    (paused || strcmp(scene_text(o, "prefetch.state"), "paused") == 0),
		    "%s", json_object_to_json_string(o));
	s->worker = (pid_t)scene_number(o, "worker.pid");
}

/* Either would be seen to go on. */
static void pass_time(void)
{
	poll(NULL, 0, 300);
}

START_TEST(wishes_are_kept)
{
	static const struct happening h[] = {
		{.name = "paused",
		 .members = LEASING_SLOWLY,
		 .connected = true,
		 .state = "serving"},
		{.name = "held", .members = LEASING_SLOWLY, .connected = true, .state = "serving"},
	};
	uint64_t done[ARRAY_LEN(h)];
	struct stage s[ARRAY_LEN(h)];

	leasing_open(&leasing, NULL, SIZE);
	for (size_t i = 0; i < ARRAY_LEN(h); i++)
		begin(&s[i], &h[i]);
	stage_tell(&s[1], "PUT", "/prefetch", "{\"rate_bytes_per_s\":123456789,\"paused\":true}");
	stage_settle(&s[1]);
	stage_tell(&s[0], "POST", "/pause", NULL);
	for (size_t i = 0; i < ARRAY_LEN(h); i++)
		done[i] = leasing_done(&s[i]);
	for (int round = 0; round < 2; round++) {
		scene_kill(&leasing.scene);
		for (size_t i = 0; round && i < ARRAY_LEN(h); i++)
			respawn_end(s[i].worker);
		harness_daemon_start(&leasing.scene.d, NULL);
		for (size_t i = 0; i < ARRAY_LEN(h); i++)
			respawn_await_event(&leasing.scene, s[i].id,
					    round ? "recovered" : "adopted", 1);
		pass_time();
		check_wish(&s[0], true, done[0]);
		check_wish(&s[1], false, done[1]);
		stage_refused(&s[0], "PUT", "/prefetch", "{\"mode\":\"none\"}", ERR_PAUSED);
	}
	stage_tell(&s[0], "POST", "/resume", NULL);
	stage_tell(&s[0], "PUT", "/prefetch", "{\"rate_bytes_per_s\":0}");
	stage_tell(&s[1], "PUT", "/prefetch", "{\"paused\":false}");
	for (size_t i = 0; i < ARRAY_LEN(h); i++)
		json_object_put(stage_await(&s[i], "complete"));
	for (size_t i = 0; i < ARRAY_LEN(h); i++)
		check_end(&s[i], &h[i]);
	leasing_close(&leasing);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("away");
	TCase *tc = tcase_create("away");

	tcase_add_test(tc, found_out);
	tcase_add_test(tc, listeners_go_on);
	tcase_add_test(tc, wishes_are_kept);
	suite_add_tcase(suite, tc);
	return suite;
}
