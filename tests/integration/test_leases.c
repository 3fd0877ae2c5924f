/* test_leases - who may prefetch now: turns, a dead supervisor, and what it does for faults */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "common/pagemap.h"
#include "tests/support/leasing.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/fakes/vmm/walk.h"

static struct leasing leasing;

/* ---- turns ---- */

/* Five of one tenant, and of another "blue": with turns for restores alone, it would be last. */
#define REDS 5
#define ALL (REDS + 1)
#define SIZE (12 * LEASING_MIB)
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
	cleanup_json struct json_object *o = scene_ask(&leasing.scene, 200, "GET",
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

	leasing_open(&leasing, config, SIZE);
	for (int i = 0; i < ALL; i++) {
		cleanup_free char *id = i < REDS ? scene_format("red%d", i) : strdup("blue");
		cleanup_free char *members = scene_format("\"tenant\":\"%s\"," LEASING_ON_DEMAND,
							  i < REDS ? "red" : "blue");

		leasing_begin(&leasing, &w.stages[i], id, NULL, members, LEASING_RESIDENT);
	}
	start = w.looked_us = now_us();
	for (int i = 0; i < ALL; i++)
		stage_tell(&w.stages[i], "PUT", "/prefetch", "{\"mode\":\"all\"}");
	ck_assert(harness_wait(all_complete, &w, 3 * SCENE_MS));
	took_us = now_us() - start;
	if (w.blind_us * BLIND < took_us)
		check_turns(&w, rate, took_us);
	for (int i = 0; i < ALL; i++)
		leasing_right(&w.stages[i]);
	leasing_close(&leasing);
	return w.blind_us * BLIND < took_us;
}

START_TEST(test_turns)
{
	/* The slower, the more there is to see; the quicker, the less comes in between. */
	for (int n = 0; !take_turns(RATE_BYTES_PER_S >> n % 3); n++)
		ck_assert_int_lt(n, ATTEMPTS_MAX);
}
END_TEST

/* ---- the supervisor is away ---- */

static bool goes_on_alone(void *arg)
{
	const struct stage *s = arg;
	cleanup_free char *path = stage_path(s, "maps");
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

	p->waits = leasing_is(&p->s[0], "queued") ? 0 : 1;
	if (!leasing_is(&p->s[p->waits], "queued") || leasing_is(&p->s[1 - p->waits], "queued"))
		p->waits = -1;
	else if (p->waits != was)
		p->holds = leasing_done(&p->s[1 - p->waits]);
	else
		return leasing_done(&p->s[1 - p->waits]) > p->holds;
	return false;
}

START_TEST(test_supervisor_dies)
{
	struct pair p = {.waits = -1};
	struct stage *s = p.s;
	uint64_t before, waits, holds;

	leasing_open(&leasing, LEASING_NEVER_REVOKED, 16 * LEASING_MIB);
	leasing_begin(&leasing, &s[0], "first", NULL, LEASING_SLOWLY, LEASING_RESIDENT);
	leasing_await_begun(&s[0]);
	leasing_begin(&leasing, &s[1], "second", NULL, LEASING_SLOWLY, LEASING_RESIDENT);
	leasing_await_queued(&s[1]);
	ck_assert_uint_eq(leasing_done(&s[1]), 0);
	scene_kill(&leasing.scene);
	ck_assert_msg(harness_wait(goes_on_alone, &s[1], SCENE_MS), "it waits for a dead one");
	harness_daemon_start(&leasing.scene.d, NULL);
	for (int i = 0; i < 2; i++)
		respawn_await_event(&leasing.scene, s[i].id, "adopted", 1);
	ck_assert_msg(harness_wait(one_waits, &p, SCENE_MS), "they are not under leases again");
	waits = (uint64_t)p.waits;
	before = leasing_done(&s[waits]);
	holds = leasing_done(&s[1 - waits]);
	/* In the time in which the one gets on, the other does not. */
	while (leasing_done(&s[1 - waits]) < holds + ((uint64_t)128 << 10))
		ck_assert(leasing_is(&s[waits], "queued"));
	ck_assert_uint_eq(leasing_done(&s[waits]), before);
	leasing_hurry(&s[1 - waits]);
	leasing_hurry(&s[waits]);
	leasing_close(&leasing);
}
END_TEST

/* ---- what it does for a guest's faults; told, not asserted: machines are noisy ---- */

#define CROWD 8
#define CROWD_SIZE (64 * LEASING_MIB)
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
	const struct vmm_opts o = {.image = leasing.image,
				   .features = UF_FEATURE_REMOVE,
				   .seed = 1};
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
	cleanup_free char *from = scene_format("{\"dir\":\"%s\"}", leasing.snapshot);
	int go[2], told[2];

	*s = (struct stage){.scene = &leasing.scene, .id = "guest"};
	stage_create(s, from, LEASING_ON_DEMAND);
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

	leasing_open(&leasing, config, CROWD_SIZE);
	for (int i = 0; i < CROWD; i++) {
		cleanup_free char *id = scene_format("crowd%d", i);

		leasing_begin(&leasing, &crowd[i], id, NULL, LEASING_ON_DEMAND, LEASING_RESIDENT);
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
		leasing_right(&crowd[i]);
	close(go);
	close(told);
	leasing_close(&leasing);
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
	tcase_add_test(tc, test_supervisor_dies);
	tcase_add_test(tc, test_faults_beside_a_crowd);
	suite_add_tcase(suite, tc);
	return suite;
}
