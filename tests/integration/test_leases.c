/* test_leases - who may prefetch now: turns, ends of holders, a dead supervisor */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "common/pagemap.h"
#include "tests/support/killing.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/fakes/vmm/walk.h"

#define MIB ((uint64_t)1 << 20)
#define SLICE_MS 60000 /* of NEVER_REVOKED */
/* Looks when it is told to that everything has come. */
#define RESIDENT "--hold-before --no-touch --wait-resident 600 --hold"
#define NEVER_REVOKED "\"prefetch_leases\":1,\"prefetch_slice\":\"60s\""
#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
/* Has a lease for as long as it is left alone, and does little with it. */
#define SLOWLY "\"prefetch\":{\"rate_bytes_per_s\":65536}"

static struct scene scene;
static char *snapshot, *image; /* owned, of the scene */
static uint64_t next_asked_us; /* begin_next() */

static void open_scene(const char *config, uint64_t size)
{
	scene = (struct scene){.config = config};
	scene_open(&scene);
	snapshot = scene_format("%s/snapshot", scene.d.dir);
	image = scene_format("%s/" SCENE_IMAGE, snapshot);
	scene_make_snapshot(snapshot, size, 9);
}

static void close_scene(void)
{
	scene_close(&scene);
	free(snapshot);
	free(image);
}

/* @dir: NULL: the scene's snapshot. */
static void begin(struct stage *s, const char *id, const char *dir, const char *members,
		  const char *vmm)
{
	cleanup_free char *from = scene_format("{\"dir\":\"%s\"}", dir ? dir : snapshot);

	*s = (struct stage){.scene = &scene};
	snprintf(s->id, sizeof(s->id), "%s", id);
	stage_create(s, from, members);
	stage_start(s, image, vmm);
	json_object_put(stage_await(s, "serving"));
}

static void check_right(struct stage *s)
{
	int code;

	scene_vmm_go(&s->vmm);
	code = stage_end(s);
	stage_check(s,
		    code == 0 && strstr(stage_printed(s), "verified ") &&
			    strstr(stage_printed(s), "\"wrong\":0,"),
		    "the VMM ended with %d", code);
	json_object_put(stage_await(s, "ended"));
	stage_fini(s);
}

static uint64_t done_bytes(const struct stage *s)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	return scene_number(o, "prefetch.done_bytes");
}

static bool is(const struct stage *s, const char *state)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	return strcmp(scene_text(o, "prefetch.state"), state) == 0;
}

static bool is_queued(void *arg)
{
	return is(arg, "queued");
}

static bool has_begun(void *arg)
{
	return done_bytes(arg) > 0;
}

static void await(struct stage *s, const char *what, bool (*cond)(void *))
{
	bool in_time = harness_wait(cond, s, SCENE_MS);
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	stage_check(s, in_time, "not %s: %s", what, json_object_to_json_string(o));
}

/* ---- turns ---- */

/* Five of one tenant, and of another "blue": with turns for restores alone, it would be last. */
#define REDS 5
#define ALL (REDS + 1)
#define SIZE (12 * MIB)
#define RATE_BYTES_PER_S ((uint64_t)32 << 20)
/* Of the whole time, the longest in which nobody looked: a turn is seen, and one after another. */
#define BLIND 40
#define ATTEMPTS_MAX 30

struct seen {
	bool queued;      /* at least once */
	bool interrupted; /* queued, after it had begun */
	bool complete;
	uint64_t done, data;
};

struct watch {
	struct stage stages[ALL]; /* the last is "blue" */
	struct seen seen[ALL];
	uint64_t reds_then;           /* what the others had done when it was complete */
	unsigned most_running;        /* at a time, once all had asked */
	uint64_t looked_us, blind_us; /* when last; the longest time between two looks */
};

static void look_at(struct seen *seen, struct json_object *o, unsigned *running)
{
	const char *state = scene_text(o, "prefetch.state");

	seen->done = scene_number(o, "prefetch.done_bytes");
	seen->data = scene_number(o, "installed.data_bytes");
	seen->complete = scene_flag(o, "complete");
	*running += strcmp(state, "running") == 0;
	if (strcmp(state, "queued") != 0)
		return;
	seen->queued = true;
	seen->interrupted = seen->interrupted || seen->done > 0;
}

/* One list is one moment; its order is that of the ids, "blue" is the first. */
static bool all_complete(void *arg)
{
	struct watch *w = arg;
	cleanup_json struct json_object *o = scene_ask(&scene, 200, "GET",
						       "/v1/restores?state=serving", NULL);
	struct json_object *items = scene_member(o, "items");
	bool all = true, asked = true, was = w->seen[REDS].complete;
	unsigned running = 0;
	uint64_t reds = 0, now = now_us();

	w->blind_us = max_u64(w->blind_us, now - w->looked_us);
	w->looked_us = now;
	ck_assert_uint_eq(json_object_array_length(items), ALL);
	for (size_t i = 0; i < ALL; i++) {
		struct seen *seen = &w->seen[(i + REDS) % ALL];

		look_at(seen, json_object_array_get_idx(items, i), &running);
		asked = asked && (seen->queued || seen->complete);
		all = all && seen->complete;
		reds += i ? seen->done : 0;
	}
	if (asked)
		w->most_running = running > w->most_running ? running : w->most_running;
	if (w->seen[REDS].complete && !was)
		w->reds_then = reds;
	return all;
}

static void check_turns(struct watch *w, uint64_t rate, uint64_t took_us)
{
	uint64_t data = 0;

	for (size_t i = 0; i < ALL; i++) {
		stage_check(&w->stages[i], w->seen[i].interrupted, "had no turns");
		data += w->seen[i].data;
	}
	ck_assert_uint_eq(w->most_running, 1);
	/* As much as blue; with a turn for each restore it would be nearly all. */
	ck_assert_msg(w->reds_then < REDS * SIZE / 2, "%ju bytes of the other tenant's",
		      (uintmax_t)w->reds_then);
	ck_assert_msg(took_us > data * 1000000 / rate * 9 / 10, "%ju bytes in %ju us, at %ju/s",
		      (uintmax_t)data, (uintmax_t)took_us, (uintmax_t)rate);
}

/* False: this test was not there often enough to see what there is to see. */
static bool take_turns(uint64_t rate)
{
	cleanup_free char *config = scene_format(
		"\"prefetch_leases\":1,\"prefetch_slice\":\"20ms\",\"prefetch_bytes_per_s\":%ju",
		(uintmax_t)rate);
	struct watch w = {0};
	uint64_t start, took_us;

	open_scene(config, SIZE);
	for (int i = 0; i < ALL; i++) {
		cleanup_free char *id = i < REDS ? scene_format("red%d", i) : strdup("blue");
		cleanup_free char *members = scene_format("\"tenant\":\"%s\"," ON_DEMAND,
							  i < REDS ? "red" : "blue");

		begin(&w.stages[i], id, NULL, members, RESIDENT);
	}
	start = w.looked_us = now_us();
	for (int i = 0; i < ALL; i++)
		stage_tell(&w.stages[i], "PUT", "/prefetch", "{\"mode\":\"all\"}");
	ck_assert(harness_wait(all_complete, &w, 3 * SCENE_MS));
	took_us = now_us() - start;
	if (w.blind_us * BLIND < took_us)
		check_turns(&w, rate, took_us);
	for (int i = 0; i < ALL; i++)
		check_right(&w.stages[i]);
	close_scene();
	return w.blind_us * BLIND < took_us;
}

START_TEST(test_turns)
{
	/* The slower, the more there is to see; the quicker, the less comes in between. */
	for (int n = 0; !take_turns(RATE_BYTES_PER_S >> n % 3); n++)
		ck_assert_int_lt(n, ATTEMPTS_MAX);
}
END_TEST

/* ---- a holder leaves ---- */

static void leaves_vmm(struct stage *s)
{
	scene_vmm_kill(&s->vmm);
}

/* The worker cannot leave: the supervisor's patience with it is longer than ours. */
static void leaves_vmm_of_hung(struct stage *s)
{
	ck_assert_int_eq(kill(s->worker, SIGSTOP), 0);
	scene_vmm_kill(&s->vmm);
}

static void leaves_paused(struct stage *s)
{
	stage_tell(s, "POST", "/pause", NULL);
}

static void leaves_held(struct stage *s)
{
	stage_tell(s, "PUT", "/prefetch", "{\"paused\":true}");
}

static void leaves_off(struct stage *s)
{
	stage_tell(s, "PUT", "/prefetch", "{\"mode\":\"none\"}");
}

static void leaves_done(struct stage *s)
{
	stage_tell(s, "PUT", "/prefetch", "{\"rate_bytes_per_s\":0}");
}

/* The guest has touched everything, long before prefetch got there. */
static void leaves_touched(struct stage *s)
{
	scene_vmm_go(&s->vmm);
}

static void leaves_stopped(struct stage *s)
{
	stage_tell(s, "DELETE", "?kill=true", NULL);
}

/* Another time of the same bytes is a change already. */
static void leaves_failed(struct stage *s)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);
	cleanup_free char *files = scene_format("touch %s/memfile.*",
						scene_text(o, "snapshot.dir"));
	const char *const argv[] = {"sh", "-c", files, NULL};
	struct harness_output out;

	harness_run(argv, &out);
	ck_assert_int_eq(out.code, 0);
	harness_output_fini(&out);
}

/* How one that holds the only lease loses it, without having been asked to. */
static const struct {
	const char *name;
	void (*leave)(struct stage *s);
	const char *then; /* told to go on with */
	const char *body;
	bool over; /* it is no more */
} ends[] = {
	{"vmm", leaves_vmm, NULL, NULL, true},
	{"vmm-of-hung", leaves_vmm_of_hung, NULL, NULL, true},
	{"paused", leaves_paused, "/resume", NULL, false},
	{"held", leaves_held, "/prefetch", "{\"paused\":false}", false},
	{"off", leaves_off, "/prefetch", "{\"mode\":\"all\"}", false},
	{"done", leaves_done, NULL, NULL, false},
	{"touched", leaves_touched, NULL, NULL, false},
	{"stopped", leaves_stopped, NULL, NULL, true},
	{"failed", leaves_failed, NULL, NULL, true},
};

static bool is_complete(void *arg)
{
	cleanup_json struct json_object *o = stage_ask(arg, "GET", "", NULL);

	return scene_flag(o, "complete");
}

/* It waits for the lease of another, and has it as soon as that one is gone. */
static void begin_next(struct stage *s)
{
	next_asked_us = now_us();
	begin(s, "next", NULL, NULL, RESIDENT);
	await(s, "queued", is_queued);
	stage_check(s, done_bytes(s) == 0, "it prefetches");
}

/* And not because the other one's time was over. */
static void check_next(struct stage *s)
{
	stage_check(s, harness_wait(is_complete, s, SCENE_MS), "it waits on");
	stage_check(s, now_us() - next_asked_us < SLICE_MS * 1000, "the slice was over");
	check_right(s);
}

START_TEST(test_holder_leaves)
{
	cleanup_free char *dir = NULL;
	struct stage holder, next;

	open_scene(NEVER_REVOKED, 4 * MIB);
	dir = scene_format("%s/another", scene.d.dir);
	scene_copy_dir(snapshot, dir);
	begin(&holder, ends[_i].name, dir, SLOWLY, "--hold-before --hold");
	await(&holder, "prefetching", has_begun);
	begin_next(&next);
	ends[_i].leave(&holder);
	check_next(&next);
	if (ends[_i].over) {
		kill(holder.worker, SIGCONT);
		if (holder.vmm.pid)
			stage_end(&holder);
		stage_fini(&holder);
	} else {
		if (ends[_i].then)
			stage_tell(&holder, ends[_i].body ? "PUT" : "POST", ends[_i].then,
				   ends[_i].body);
		check_right(&holder);
	}
	close_scene();
}
END_TEST

static void hurry(struct stage *s)
{
	stage_tell(s, "PUT", "/prefetch", "{\"rate_bytes_per_s\":0}");
	json_object_put(stage_await(s, "complete"));
	check_right(s);
}

/* With a successor that does not get on: it is the death that gives the lease back. */
START_TEST(test_holder_dies)
{
	cleanup_free char *faults = harness_tmpdir(), *arm = scene_format("%s/holder", faults);
	struct stage holder, next;
	struct killing k = {0};
	struct json_object *o;

	ck_assert_int_eq(setenv("UFFDD_FAULT", faults, 1), 0);
	/* A worker cannot be traced: the leak check at its end may spin. */
	ck_assert_int_eq(setenv("ASAN_OPTIONS", "detect_leaks=0", 0), 0);
	open_scene(NEVER_REVOKED ",\"worker\":\"" TEST_BUILD "/tests/uffdd-worker-faulty\"",
		   4 * MIB);
	begin(&holder, "holder", NULL, SLOWLY, RESIDENT);
	await(&holder, "prefetching", has_begun);
	begin_next(&next);
	scene_write(arm, "loading:1:stop", strlen("loading:1:stop"));
	respawn_end(holder.worker);
	check_next(&next);
	o = stage_ask(&holder, "GET", "", NULL);
	k.s = holder;
	killing_await_stop(&k, (pid_t)scene_number(o, "worker.pid"));
	ck_assert_int_eq(kill((pid_t)scene_number(o, "worker.pid"), SIGCONT), 0);
	json_object_put(o);
	json_object_put(stage_await(&holder, "serving"));
	hurry(&holder);
	close_scene();
	harness_rmtree(faults);
}
END_TEST

/* Its worker does not answer: the others do not wait for it for long, and it comes back. */
START_TEST(test_holder_hangs)
{
	struct stage holder, next;

	open_scene("\"prefetch_leases\":1,\"prefetch_slice\":\"50ms\"", 4 * MIB);
	begin(&holder, "hangs", NULL, SLOWLY, RESIDENT);
	await(&holder, "prefetching", has_begun);
	ck_assert_int_eq(kill(holder.worker, SIGSTOP), 0);
	begin(&next, "next", NULL, NULL, RESIDENT);
	hurry(&next);
	ck_assert_int_eq(kill(holder.worker, SIGCONT), 0);
	hurry(&holder);
	close_scene();
}
END_TEST

/* ---- the supervisor is away ---- */

static bool goes_on_alone(void *arg)
{
	const struct stage *s = arg;
	cleanup_free char *path = scene_format("%s/maps/%s", scene.d.run, s->id);
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct pagemap_view v;
	struct err err;

	return fd >= 0 && pagemap_view(fd, &v, &err) == 0 && v.stats.prefetch_bytes > 0;
}

/*
 * Which of the two waits for the lease that the other one has. Whoever asks is "queued" for
 * a moment even when it is granted at once: the other must be seen to get on meanwhile.
 */
struct pair {
	struct stage s[2];
	int waits;      /* as it was looked at last; -1: neither, or both */
	uint64_t holds; /* done by the other one, then */
};

static bool one_waits(void *arg)
{
	struct pair *p = arg;
	int was = p->waits;

	p->waits = is(&p->s[0], "queued") ? 0 : 1;
	if (!is(&p->s[p->waits], "queued") || is(&p->s[1 - p->waits], "queued"))
		p->waits = -1;
	else if (p->waits != was)
		p->holds = done_bytes(&p->s[1 - p->waits]);
	else
		return done_bytes(&p->s[1 - p->waits]) > p->holds;
	return false;
}

START_TEST(test_supervisor_dies)
{
	struct pair p = {.waits = -1};
	struct stage *s = p.s;
	uint64_t before, waits, holds;

	open_scene(NEVER_REVOKED, 16 * MIB);
	begin(&s[0], "first", NULL, SLOWLY, RESIDENT);
	await(&s[0], "prefetching", has_begun);
	begin(&s[1], "second", NULL, SLOWLY, RESIDENT);
	await(&s[1], "queued", is_queued);
	ck_assert_uint_eq(done_bytes(&s[1]), 0);
	scene_kill(&scene);
	ck_assert_msg(harness_wait(goes_on_alone, &s[1], SCENE_MS), "it waits for a dead one");
	harness_daemon_start(&scene.d, NULL);
	for (int i = 0; i < 2; i++)
		respawn_await_event(&scene, s[i].id, "adopted", 1);
	ck_assert_msg(harness_wait(one_waits, &p, SCENE_MS), "they are not under leases again");
	waits = (uint64_t)p.waits;
	before = done_bytes(&s[waits]);
	holds = done_bytes(&s[1 - waits]);
	/* In the time in which the one gets on, the other does not. */
	while (done_bytes(&s[1 - waits]) < holds + ((uint64_t)128 << 10))
		ck_assert(is(&s[waits], "queued"));
	ck_assert_uint_eq(done_bytes(&s[waits]), before);
	hurry(&s[1 - waits]);
	hurry(&s[waits]);
	close_scene();
}
END_TEST

/* ---- what it does for a guest's faults; told, not asserted: machines are noisy ---- */

#define CROWD 8
#define CROWD_SIZE (64 * MIB)
#define FAULTS 4096

struct times {
	uint64_t p50_ns, p99_ns, sum_ns;
};

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static struct times touch_at_random(struct vmm *v)
{
	static uint64_t took[FAULTS];
	struct times t = {0};
	struct walker seat;

	walker_init(&seat, v, "times", 1);
	seat.quick = true;
	for (uint64_t i = 0; i < FAULTS; i++) {
		uint64_t page = walk_page(WALK_RAND, i, v->npages, 1), start = now_ns();

		pages_touch(&seat, page, false);
		took[i] = now_ns() - start;
		t.sum_ns += took[i];
	}
	qsort(took, FAULTS, sizeof(took[0]), by_value);
	t.p50_ns = took[FAULTS / 2];
	t.p99_ns = took[FAULTS * 99 / 100];
	return t;
}

/* A VMM in a process of its own, that touches when it is let. */
static void be_guest(const char *socket, int go, int out) __attribute__((noreturn));
static void be_guest(const char *socket, int go, int out)
{
	const struct vmm_opts o = {.image = image, .features = UF_FEATURE_REMOVE, .seed = 1};
	const struct vmm_link link = {0};
	struct times t;
	struct vmm *v;
	struct err err;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (vmm_create(&o, &v, &err) || vmm_connect(v, socket, &link, &err) ||
	    read(go, &byte, 1) != 1)
		_exit(1);
	t = touch_at_random(v);
	_exit(write(out, &t, sizeof(t)) == sizeof(t) ? 0 : 1);
}

static void start_guest(struct stage *s, int *ret_go, int *ret_told)
{
	cleanup_free char *from = scene_format("{\"dir\":\"%s\"}", snapshot);
	int go[2], told[2];

	*s = (struct stage){.scene = &scene, .id = "guest"};
	stage_create(s, from, ON_DEMAND);
	ck_assert(pipe2(go, O_CLOEXEC) == 0 && pipe2(told, O_CLOEXEC) == 0);
	s->vmm.pid = fork();
	ck_assert_int_ge(s->vmm.pid, 0);
	if (s->vmm.pid == 0)
		be_guest(s->socket, go[0], told[1]);
	close(go[0]);
	close(told[1]);
	*ret_go = go[1];
	*ret_told = told[0];
	json_object_put(stage_await(s, "serving"));
}

static struct times time_beside_crowd(const char *config)
{
	struct stage crowd[CROWD], guest;
	struct times t;
	int go, told;

	open_scene(config, CROWD_SIZE);
	for (int i = 0; i < CROWD; i++) {
		cleanup_free char *id = scene_format("crowd%d", i);

		begin(&crowd[i], id, NULL, ON_DEMAND, RESIDENT);
	}
	start_guest(&guest, &go, &told);
	for (int i = 0; i < CROWD; i++)
		stage_tell(&crowd[i], "PUT", "/prefetch", "{\"mode\":\"all\"}");
	ck_assert_int_eq(write(go, "x", 1), 1);
	ck_assert_int_eq(read(told, &t, sizeof(t)), sizeof(t));
	ck_assert_int_eq(stage_end(&guest), 0);
	json_object_put(stage_ended(&guest, "vmm-exited"));
	stage_fini(&guest);
	for (int i = 0; i < CROWD; i++)
		check_right(&crowd[i]);
	close(go);
	close(told);
	close_scene();
	return t;
}

static void tell(const char *what, const struct times *t)
{
	fprintf(stderr,
		"# faults beside %d that prefetch, %s: median %.1f us, p99 %.1f us, "
		"mean %.1f us\n",
		CROWD, what, (double)t->p50_ns / 1e3, (double)t->p99_ns / 1e3,
		(double)t->sum_ns / FAULTS / 1e3);
}

START_TEST(test_faults_beside_a_crowd)
{
	const struct times few = time_beside_crowd(NULL);
	const struct times many = time_beside_crowd("\"prefetch_leases\":64");

	tell("default leases", &few);
	tell("64 leases", &many);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("story_leases");
	TCase *tc = tcase_create("leases");

	tcase_add_test(tc, test_turns);
	tcase_add_loop_test(tc, test_holder_leaves, 0, ARRAY_LEN(ends));
	tcase_add_test(tc, test_holder_dies);
	tcase_add_test(tc, test_holder_hangs);
	tcase_add_test(tc, test_supervisor_dies);
	tcase_add_test(tc, test_faults_beside_a_crowd);
	suite_add_tcase(suite, tc);
	return suite;
}
