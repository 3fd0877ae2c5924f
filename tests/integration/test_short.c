/*
 * The pool of huge pages runs dry: a kernel then may say of a page that is missing that it
 * exists. Whatever is done meanwhile, the guest waits and gets its bytes, or its restore fails.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "common/pagemap.h"
#include "tests/support/hugepool.h"
#include "tests/support/runner.h"
#include "tests/fakes/snapshot/snapgen.h"
#include "tests/support/stage.h"

#define POOL_PAGES 12
#define PAGES 8 /* of the guest, all of them data */
#define LEFT 4  /* by the neighbour */
/* An endless loop of fault, EEXIST and wake makes more of them in the time that an event takes. */
#define FAULTS_MAX 500

static struct scene scene;
static struct hugepool pool;
static bool can;
static char *snapshot, *image;

/* --- what the guest does, and what happens to it while there is no memory --- */

enum meanwhile {
	GIVEN_BACK,   /* the neighbour ends */
	NEVER,        /* it does not */
	WORKER_DIES,  /* and then the neighbour ends */
	STOP_REFUSED, /* by hold, and then the neighbour ends */
	STOP_POISONS,
	STOP_KILLS,
};

static const struct row {
	const char *name, *members, *vmm;
	bool touches;
	enum meanwhile meanwhile;
} rows[] = {
#define DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define ALL "\"prefetch\":{\"mode\":\"all\"}"
#define HOLD ",\"on_failure\":\"hold\""
#define TOUCH "--threads 4 --order rand"
#define ALONE "--no-touch --wait-resident 60"
	{"demand", DEMAND HOLD, TOUCH, true, GIVEN_BACK},
	{"demand-one-thread", DEMAND HOLD, "--order seq", true, GIVEN_BACK},
	{"demand-removes", DEMAND HOLD, TOUCH " --remove 40", true, GIVEN_BACK},
	{"prefetch", ALL HOLD, ALONE, false, GIVEN_BACK},
	{"both", ALL HOLD, TOUCH, true, GIVEN_BACK},
	{"both-released", ALL HOLD ",\"when_complete\":\"release\"", TOUCH, true, GIVEN_BACK},
	{"demand-never", DEMAND, TOUCH, true, NEVER},
	{"both-never", ALL, TOUCH, true, NEVER},
	{"demand-worker", DEMAND HOLD, TOUCH, true, WORKER_DIES},
	{"prefetch-worker", ALL HOLD, ALONE, false, WORKER_DIES},
	{"both-worker", ALL HOLD, TOUCH, true, WORKER_DIES},
	{"demand-stop-hold", DEMAND HOLD, TOUCH, true, STOP_REFUSED},
	{"prefetch-stop-hold", ALL HOLD, ALONE, false, STOP_REFUSED},
	{"both-stop-poison", ALL ",\"on_failure\":\"poison\"", TOUCH, true, STOP_POISONS},
	{"both-stop-kill", ALL, TOUCH, true, STOP_KILLS},
};

static uint64_t number(const struct stage *s, const char *member)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	return scene_number(o, member);
}

/* It is visible that threads wait. */
static bool is_short(void *arg)
{
	cleanup_json struct json_object *o = stage_ask(arg, "GET", "", NULL);

	return strcmp(scene_text(o, "memory.short_of"), "huge-pages") == 0;
}

/* Prefetch has got all that there is for it. */
static bool is_limited(void *arg)
{
	cleanup_json struct json_object *o = stage_ask(arg, "GET", "", NULL);

	return strcmp(scene_text(o, "prefetch.state"), "limited") == 0;
}

static void check_dry(struct stage *s, const struct row *row)
{
	cleanup_free char *events = NULL;
	cleanup_json struct json_object *o = NULL;

	stage_check(s, harness_wait(row->touches ? is_short : is_limited, s, SCENE_MS),
		    "the pool does not run dry");
	events = scene_events(s->scene, s->id);
	o = stage_ask(s, "GET", "", NULL);
	stage_check(s, !row->touches || strstr(events, "memory-short "), "no event: %s", events);
	stage_check(s, !scene_flag(o, "complete"), "it claims to be complete");
	stage_check(s, strcmp(scene_text(o, "state"), "serving") == 0, "it is %s",
		    scene_text(o, "state"));
	stage_check(s, scene_number(o, "memory.resident_bytes") <= LEFT * PAGE_2M,
		    "it claims more memory than there is");
	stage_check(s, scene_number(o, "faults.count") < FAULTS_MAX, "it is busy faulting");
}

static bool has_recovered(void *arg)
{
	const struct stage *s = arg;
	cleanup_free char *events = scene_events(s->scene, s->id);

	return strstr(events, "recovered ") != NULL;
}

static void check_right(struct stage *s)
{
	stage_check(s, stage_end(s) == 0, "not all bytes were right");
}

/* It got everything, and nothing says otherwise. */
static void check_whole(struct stage *s, const struct row *row)
{
	cleanup_json struct json_object *o = NULL;

	stage_check(s, stage_hears(s, "verified"), "it did not get its memory");
	if (strstr(row->members, "release")) {
		json_object_put(stage_ended(s, "released"));
		check_right(s);
		return;
	}
	o = stage_await(s, "complete");
	stage_check(s, !scene_text(o, "memory.short_of")[0], "it still is short of memory");
	stage_check(s, scene_number(o, "memory.resident_bytes") == PAGES * PAGE_2M,
		    "not all of it is there");
	check_right(s);
	json_object_put(stage_ended(s, "vmm-exited"));
}

static void stop(struct stage *s, enum meanwhile how)
{
	if (how == STOP_REFUSED) {
		stage_refused(s, "DELETE", "", NULL, ERR_STATE);
		return;
	}
	stage_tell(s, "DELETE", "", NULL);
	json_object_put(stage_ended(s, "stopped"));
	stage_check(s, stage_end(s) == (how == STOP_POISONS ? 149 : 128 + SIGKILL),
		    "it goes on without its memory");
}

static void await_failure(struct stage *s)
{
	cleanup_json struct json_object *o = stage_await(s, "failed");

	stage_check(s, strstr(scene_text(o, "reason"), "vm.nr_hugepages"), "it failed as \"%s\"",
		    scene_text(o, "reason"));
	stage_check(s, stage_end(s) == 128 + SIGKILL, "it goes on without its memory");
}

static void happen(struct stage *s, const struct row *row)
{
	switch (row->meanwhile) {
	case WORKER_DIES:
		kill((pid_t)number(s, "worker.pid"), SIGKILL);
		stage_check(s, harness_wait(has_recovered, s, SCENE_MS), "nobody takes over");
		check_dry(s, row);
		s->worker = (pid_t)number(s, "worker.pid");
		break;
	case STOP_REFUSED:
	case STOP_POISONS:
	case STOP_KILLS:
		stop(s, row->meanwhile);
		break;
	case NEVER:
		await_failure(s);
		break;
	case GIVEN_BACK:
		break;
	}
}

START_TEST(waits_for_memory)
{
	const struct row *row = &rows[_i];
	struct stage s = {.scene = &scene};
	cleanup_free char *vmm = scene_format("--page-size 2M --scarce --hold %s", row->vmm);
	size_t bytes;
	void *held;

	if (!can)
		return;
	snprintf(s.id, sizeof(s.id), "%s", row->name);
	stage_create(&s, snapshot, row->members);
	held = hugepool_take_but(LEFT, &bytes);
	ck_assert_ptr_nonnull(held);
	stage_start(&s, image, vmm);
	check_dry(&s, row);
	happen(&s, row);
	munmap(held, bytes);
	if (row->meanwhile <= STOP_REFUSED && row->meanwhile != NEVER)
		check_whole(&s, row);
	stage_fini(&s);
}
END_TEST

/* The page map of a worker whom nobody can be asked about. */
static bool says_short(void *arg)
{
	const struct stage *s = arg;
	cleanup_free char *path = stage_path(s, "maps");
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct pagemap_view view;
	struct err err;

	return pagemap_view(fd, &view, &err) == 0 && view.head.short_of == PAGEMAP_SHORT_OF_HUGE;
}

/* Without a supervisor its worker cannot ask which pages are there. */
START_TEST(waits_without_supervisor)
{
	static const struct row row = {"alone", ALL HOLD, TOUCH, true, GIVEN_BACK};
	struct scene own = {0};
	struct stage s = {.scene = &own, .id = "alone"};
	size_t bytes;
	void *held;

	if (!can)
		return;
	scene_open(&own);
	stage_create(&s, snapshot, row.members);
	scene_kill(&own);
	held = hugepool_take_but(LEFT, &bytes);
	ck_assert_ptr_nonnull(held);
	stage_start(&s, image, "--page-size 2M --scarce --hold " TOUCH);
	stage_check(&s, harness_wait(says_short, &s, SCENE_MS), "it does not run dry");
	munmap(held, bytes);
	stage_check(&s, stage_hears(&s, "verified"), "it did not get its memory");
	harness_daemon_start(&own.d, NULL);
	stage_check(&s, number(&s, "faults.count") < FAULTS_MAX, "it was busy faulting");
	check_whole(&s, &row);
	stage_fini(&s);
	scene_close(&own);
}
END_TEST

/* --- the scene --- */

static void start(void)
{
	struct snapgen_opts o = snapgen_defaults;
	cleanup_free char *dir = NULL;
	struct err err;

	scene_open(&scene);
	dir = scene_format("%s/data", scene.d.dir);
	o.size_bytes = PAGES * PAGE_2M;
	o.zero_percent = 0;
	ck_assert_msg(snapgen_write(&o, dir, &err) == 0, "%s", err.msg);
	snapshot = scene_format("{\"dir\":\"%s\"}", dir);
	image = scene_format("%s/" SNAPGEN_IMAGE, dir);
	can = hugepool_open(&pool, POOL_PAGES);
	if (!can)
		fputs("# there are no huge pages to be had: nothing is tested\n", stderr);
}

static void end(void)
{
	hugepool_close(&pool);
	free(snapshot);
	free(image);
	stage_close(&scene);
}

START_TEST(leaves_nothing)
{
	stage_over(&scene);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("short");
	TCase *tc = tcase_create("huge pages");

	tcase_add_unchecked_fixture(tc, start, end);
	tcase_add_loop_test(tc, waits_for_memory, 0, ARRAY_LEN(rows));
	tcase_add_test(tc, waits_without_supervisor);
	tcase_add_test(tc, leaves_nothing);
	suite_add_tcase(suite, tc);
	return suite;
}
