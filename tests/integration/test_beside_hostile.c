/*
 * test_beside_hostile - what an honest tenant notices of hostile ones and of outsiders
 *
 * Five guests of one tenant read their memory on demand, page by page, and compare every byte; and a
 * client of that tenant asks for what it has. They do the same work in quiet rounds and in hostile
 * ones, in turns: then a crowd does at once all that crowd_asks.c and crowd_doors.c know. What is
 * compared is the median of the faults, by pairs of rounds, and that of all answers.
 *
 * Processes of the crowd run only on a processor that has nothing else to do, else the host's
 * scheduler would be measured. In quiet rounds there are processes instead that only keep the
 * processors awake, at the same low priority. The daemon and all workers, also those of the crowd's
 * restores, run at the normal one.
 */
#include <config.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/fakes/snapshot/snapgen.h"
#include "tests/support/crowd.h"
#include "tests/support/runner.h"

#define HONEST 64101
#define TENANTS "{\"tenants\":{\"honest\":{\"uids\":[64101]}," CROWD_TENANTS "}}"
#define RESTORES "/v1/restores"
#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"

#define GUESTS 5
#ifndef BUILD_SANITIZED
#define ROUNDS 7 /* of each kind */
#define PAGES 900
#else
#define ROUNDS 1
#define PAGES 300
#endif
/* A round more: the first of all warms up. */
#define GUEST_BYTES ((uint64_t)(2 * ROUNDS + 1) * PAGES * PAGE_4K)
#define ANSWERS_MAX 65536

/* An orchestrator looks often, and does not live at the API. */
#define ASK_EACH_US 10000

#define FAULT_RATIO_MAX 2
#define ANSWER_RATIO_MAX 5

/* All rounds of a kind; microseconds. */
struct rounds {
	size_t n, answers;
	double faults[ROUNDS]; /* the median over the guests of each one's median */
	double shows[ANSWERS_MAX], lists[ANSWERS_MAX];
};

static struct rounds warm, quiet, hostile;

struct guests {
	struct scene scene;
	char *snapshot; /* owned */
	struct scene_vmm vmms[GUESTS];
	unsigned lines; /* that each was told so far */
};

/* The kernel notes the effective user when a socket is connected. */
static void act_as(uid_t uid)
{
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setegid(uid), 0);
	ck_assert_int_eq(seteuid(uid), 0);
}

static int compare_numbers(const void *a, const void *b)
{
	const double *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static double median(double *numbers, size_t n)
{
	qsort(numbers, n, sizeof(*numbers), compare_numbers);
	return numbers[n / 2];
}

/* ---- the honest ---- */

static void make_snapshot(const char *dir)
{
	struct snapgen_opts o = snapgen_defaults;
	struct err err;

	o.size_bytes = GUEST_BYTES;
	o.zero_percent = 10;
	ck_assert_msg(snapgen_write(&o, dir, &err) == 0, "%s", err.msg);
}

static char *socket_of(const struct scene *s, const char *id)
{
	cleanup_json struct json_object *o = scene_show(s, id);

	return strdup(scene_text(o, "socket.path"));
}

static void start_vmm(struct guests *g, struct scene_vmm *vmm, const char *id, const char *args)
{
	cleanup_free char *path = socket_of(&g->scene, id);
	cleanup_free char *image = scene_format("%s/" SNAPGEN_IMAGE, g->snapshot);
	cleanup_free char *all = scene_format("--uid %d %s", HONEST, args);

	act_as(0);
	scene_vmm_start_at(vmm, path, image, all);
	act_as(HONEST);
}

/* As the honest user, who it stays. */
static void open_guests(struct guests *g)
{
	g->scene.config = "\"socket_mode\":\"0666\"";
	g->scene.d.tenants = TENANTS;
	scene_open(&g->scene);
	g->snapshot = scene_format("%s/honest", g->scene.d.dir);
	make_snapshot(g->snapshot);
	act_as(HONEST);
	for (int i = 0; i < GUESTS; i++) {
		cleanup_free char *id = scene_format("guest-%d", i);
		cleanup_free char *args = scene_format("--paced %d --seed %d", PAGES, i + 1);

		scene_create(&g->scene, id, g->snapshot, ON_DEMAND);
		start_vmm(g, &g->vmms[i], id, args);
		scene_reach(&g->scene, id, "serving", "");
	}
	scene_create(&g->scene, "shut", g->snapshot, NULL);
	scene_create(&g->scene, "open", g->snapshot, "\"socket\":{\"mode\":\"0666\"}");
}

/* Each page was missed, and each byte of it is right. */
static void check_guest(struct guests *g, int i)
{
	cleanup_free char *id = scene_format("guest-%d", i);
	cleanup_json struct json_object *o = scene_show(&g->scene, id);

	ck_assert_uint_ge(scene_number(o, "faults.count"), g->lines * PAGES);
	ck_assert_uint_eq(scene_number(o, "worker.restarts"), 0);
	scene_vmm_right(&g->vmms[i]);
	scene_reach(&g->scene, id, "ended", "vmm-exited");
}

/* And those who have waited all the time, with others at their sockets, get what is theirs. */
static void check_waiting(struct guests *g, const char *id)
{
	struct scene_vmm vmm;

	start_vmm(g, &vmm, id, "--threads 2 --order rand");
	scene_vmm_right(&vmm);
	scene_reach(&g->scene, id, "ended", "vmm-exited");
}

static void close_guests(struct guests *g)
{
	for (int i = 0; i < GUESTS; i++)
		check_guest(g, i);
	check_waiting(g, "shut");
	check_waiting(g, "open");
	act_as(0);
	scene_check_log(&g->scene, "beside the hostile");
	scene_close(&g->scene);
	free(g->snapshot);
}

/* ---- a round ---- */

struct asking {
	struct guests *g;
	struct rounds *r;
	uint64_t next_us; /* now_us() of the next requests */
};

/* How long one answer takes. */
static double ask(const struct scene *s, const char *target)
{
	uint64_t begin = now_us();
	int fd = scene_dial(s, target);
	cleanup_free char *text = scene_hear(fd, NULL);
	uint64_t end = now_us();

	close(fd);
	ck_assert_msg(strncmp(text, "HTTP/1.1 200 ", 13) == 0 && strstr(text, "guest-0"),
		      "GET %s: %s", target, text);
	return (double)(end - begin);
}

static bool median_of(const struct scene_vmm *vmm, unsigned line, double *ret_us)
{
	cleanup_free char *text = scene_vmm_text(vmm);
	cleanup_free char *words = scene_format("line %u median_ns ", line);
	const char *found = strstr(text, words);

	if (!found || !strchr(found, '\n'))
		return false;
	*ret_us = (double)strtoull(found + strlen(words), NULL, 10) / 1000;
	return true;
}

/* Asks once more, if it is time to, and looks whether the guests are through. */
static bool all_are_through(void *arg)
{
	struct asking *a = arg;
	double us;

	if (now_us() < a->next_us)
		return false;
	a->next_us = now_us() + ASK_EACH_US;
	ck_assert_uint_lt(a->r->answers, ANSWERS_MAX);
	a->r->shows[a->r->answers] = ask(&a->g->scene, RESTORES "/guest-0");
	a->r->lists[a->r->answers++] = ask(&a->g->scene, RESTORES);
	for (int i = 0; i < GUESTS; i++) {
		if (median_of(&a->g->vmms[i], a->g->lines, &us))
			continue;
		ck_assert_msg(scene_vmm_lives(&a->g->vmms[i]), "guest %d has ended", i);
		return false;
	}
	return true;
}

static void measure(struct guests *g, struct rounds *r)
{
	struct asking a = {g, r, 0};
	double faults[GUESTS];

	for (int i = 0; i < GUESTS; i++)
		scene_vmm_go(&g->vmms[i]);
	ck_assert_msg(harness_wait(all_are_through, &a, SCENE_MS), "the guests wait for pages");
	for (int i = 0; i < GUESTS; i++)
		ck_assert(median_of(&g->vmms[i], g->lines, &faults[i]));
	g->lines++;
	r->faults[r->n++] = median(faults, GUESTS);
}

/* ---- quiet rounds ---- */

#define CPUS_MAX 64

struct awake {
	pid_t pids[CPUS_MAX];
	int n;
};

static void keep_awake(void) __attribute__((noreturn));
static void keep_awake(void)
{
	const struct sched_param none = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(60);
	if (sched_setscheduler(0, SCHED_IDLE, &none))
		_exit(1);
	for (;;)
		;
}

static void begin_quiet(struct awake *a)
{
	a->n = (int)min_u64((uint64_t)sysconf(_SC_NPROCESSORS_ONLN), CPUS_MAX);
	for (int i = 0; i < a->n; i++) {
		a->pids[i] = fork();
		if (a->pids[i] == 0)
			keep_awake();
	}
}

static void end_quiet(struct awake *a)
{
	act_as(0);
	for (int i = 0; i < a->n; i++) {
		ck_assert_int_eq(kill(a->pids[i], SIGKILL), 0);
		ck_assert_int_eq(waitpid(a->pids[i], NULL, 0), a->pids[i]);
	}
	act_as(HONEST);
}

/* ---- what comes of it ---- */

/* The median over the pairs of rounds of how much longer a fault takes. */
static double compare_faults(void)
{
	double ratios[ROUNDS], ratio;

	for (int i = 0; i < ROUNDS; i++)
		ratios[i] = hostile.faults[i] / quiet.faults[i];
	ratio = median(ratios, ROUNDS);
	printf("# fault %.1f us quiet, %.1f us hostile, ratio %.2f (%.2f to %.2f)",
	       median(quiet.faults, ROUNDS), median(hostile.faults, ROUNDS), ratio, ratios[0],
	       ratios[ROUNDS - 1]);
	return ratio;
}

/* Of all answers: a client that waits asks less. */
static double compare_answers(const char *what, double *before, double *then)
{
	double ratio, usual = median(before, quiet.answers);

	ratio = median(then, hostile.answers) / usual;
	printf("; %s %.0f us quiet, %.0f us hostile, ratio %.2f (longest %.0f and %.0f us)", what,
	       usual, ratio * usual, ratio, before[quiet.answers - 1], then[hostile.answers - 1]);
	return ratio;
}

static void check_ratios(uint64_t deeds)
{
	double faults = compare_faults();
	double shows = compare_answers("GET of a restore", quiet.shows, hostile.shows);
	double lists = compare_answers("GET of the list", quiet.lists, hostile.lists);

	printf("; %zu and %zu of each, %llu deeds of the crowd\n", quiet.answers, hostile.answers,
	       (unsigned long long)deeds);
	fflush(stdout);
#ifndef BUILD_SANITIZED
	ck_assert_double_le(faults, FAULT_RATIO_MAX);
	ck_assert_double_le(shows, ANSWER_RATIO_MAX);
	ck_assert_double_le(lists, ANSWER_RATIO_MAX);
#else
	(void)faults;
	(void)shows;
	(void)lists;
#endif
}

START_TEST(served_beside_a_crowd)
{
	struct guests g = {.lines = 0};
	struct crowd_victim victim = {.served = "guest-0", .shut = "shut", .open = "open"};
	cleanup_free char *shut = NULL, *open = NULL;
	struct awake awake;
	struct crowd crowd;

	open_guests(&g);
	victim.shut_socket = shut = socket_of(&g.scene, "shut");
	victim.open_socket = open = socket_of(&g.scene, "open");
	act_as(0);
	crowd_open(&crowd, &g.scene, &victim);
	act_as(HONEST);
	measure(&g, &warm);
	for (int i = 0; i < ROUNDS; i++) {
		begin_quiet(&awake);
		measure(&g, &quiet);
		end_quiet(&awake);
		act_as(0);
		crowd_begin(&crowd);
		act_as(HONEST);
		measure(&g, &hostile);
		act_as(0);
		crowd_end(&crowd);
		act_as(HONEST);
	}
	check_ratios(crowd_deeds(&crowd));
	crowd_close(&crowd);
	close_guests(&g);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite;
	TCase *tc;

	if (geteuid() != 0) {
		puts("1..0 # SKIP only root can act as other users");
		return NULL;
	}
	suite = suite_create("beside_hostile");
	tc = tcase_create("crowd");
	tcase_add_test(tc, served_beside_a_crowd);
	suite_add_tcase(suite, tc);
	return suite;
}
