/* test_lease_holder - who has the only lease leaves, dies or hangs: the next one need not wait */
#include <signal.h>
#include <string.h>

#include "tests/support/killing.h"
#include "tests/support/leasing.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"

#define SLICE_MS 60000 /* of LEASING_NEVER_REVOKED */

static struct leasing leasing;
static uint64_t next_asked_us; /* begin_next() */

/* ---- how it leaves ---- */

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
	leasing_begin(&leasing, s, "next", NULL, NULL, LEASING_RESIDENT);
	leasing_await_queued(s);
	stage_check(s, leasing_done(s) == 0, "it prefetches");
}

/* And not because the other one's time was over. */
static void check_next(struct stage *s)
{
	stage_check(s, harness_wait(is_complete, s, SCENE_MS), "it waits on");
	stage_check(s, now_us() - next_asked_us < SLICE_MS * 1000, "the slice was over");
	leasing_right(s);
}

START_TEST(test_holder_leaves)
{
	cleanup_free char *dir = NULL;
	struct stage holder, next;

	leasing_open(&leasing, LEASING_NEVER_REVOKED, 4 * LEASING_MIB);
	dir = scene_format("%s/another", leasing.scene.d.dir);
	scene_copy_dir(leasing.snapshot, dir);
	leasing_begin(&leasing, &holder, ends[_i].name, dir, LEASING_SLOWLY,
		      "--hold-before --hold");
	leasing_await_begun(&holder);
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
		leasing_right(&holder);
	}
	leasing_close(&leasing);
}
END_TEST

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
	leasing_open(&leasing,
		     LEASING_NEVER_REVOKED ",\"worker\":\"" TEST_BUILD
					   "/tests/uffdd-worker-faulty\"",
		     4 * LEASING_MIB);
	leasing_begin(&leasing, &holder, "holder", NULL, LEASING_SLOWLY, LEASING_RESIDENT);
	leasing_await_begun(&holder);
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
	leasing_hurry(&holder);
	leasing_close(&leasing);
	harness_rmtree(faults);
}
END_TEST

/* Its worker does not answer: the others do not wait for it for long, and it comes back. */
START_TEST(test_holder_hangs)
{
	struct stage holder, next;

	leasing_open(&leasing, "\"prefetch_leases\":1,\"prefetch_slice\":\"50ms\"",
		     4 * LEASING_MIB);
	leasing_begin(&leasing, &holder, "hangs", NULL, LEASING_SLOWLY, LEASING_RESIDENT);
	leasing_await_begun(&holder);
	ck_assert_int_eq(kill(holder.worker, SIGSTOP), 0);
	leasing_begin(&leasing, &next, "next", NULL, NULL, LEASING_RESIDENT);
	leasing_hurry(&next);
	ck_assert_int_eq(kill(holder.worker, SIGCONT), 0);
	leasing_hurry(&holder);
	leasing_close(&leasing);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("story_lease_holder");
	TCase *tc = tcase_create("holder");

	tcase_add_loop_test(tc, test_holder_leaves, 0, ARRAY_LEN(ends));
	tcase_add_test(tc, test_holder_dies);
	tcase_add_test(tc, test_holder_hangs);
	suite_add_tcase(suite, tc);
	return suite;
}
