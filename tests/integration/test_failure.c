/*
 * Restores that do not go to their natural end: the snapshot changes while it is
 * served, or somebody stops them. A guest gets the right bytes, or it gets to
 * know: never other bytes, and never a wait that nobody sees.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/runner.h"
#include "tests/support/show.h"
#include "tests/fakes/vmm/touch.h"

#define KILLED (128 + SIGKILL)
#define HELD (-1) /* none: it hangs until somebody ends it */
#define POISONED 149

static struct scene scene;

/* --- the snapshot changes --- */

static void append(const struct show *show)
{
	cleanup_fd int fd = open(show->layer, O_WRONLY | O_APPEND | O_CLOEXEC);

	ck_assert_int_eq(write(fd, "x", 1), 1);
}

static void overwrite(const struct show *show)
{
	cleanup_fd int fd = open(show->layer, O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(write(fd, "x", 1), 1);
}

static void shorten(const struct show *show)
{
	ck_assert_int_eq(truncate(show->layer, PAGE_4K), 0);
}

static void empty(const struct show *show)
{
	ck_assert_int_eq(truncate(show->layer, 0), 0);
}

/* What was opened stays, whatever becomes of the names. */
static void unlink_layer(const struct show *show)
{
	ck_assert_int_eq(unlink(show->layer), 0);
}

static void replace(const struct show *show)
{
	cleanup_free char *other = scene_format("%s/new", show->dir);

	scene_write(other, "other", 5);
	ck_assert_int_eq(rename(other, show->layer), 0);
}

#define ON_DEMAND(policy) "\"prefetch\": {\"mode\": \"none\"}, \"on_failure\": \"" policy "\""
#define SLOWLY "\"prefetch\": {\"rate_bytes_per_s\": 65536}"
#define TOUCHES "--hold-before --threads 8 --order rand"
#define SIZE_CHANGED "changed (size was "
#define TIME_CHANGED "changed (modification time was "

static const struct change {
	const char *name, *members, *vmm;
	void (*make)(const struct show *show);
	const char *how; /* as the reason says it; NULL: the restore does not fail */
	int code;        /* of the VMM */
	bool first;      /* before the VMM connects */
} changes[] = {
	{"append-kill", ON_DEMAND("kill"), TOUCHES, append, SIZE_CHANGED, KILLED, false},
	{"write-kill", ON_DEMAND("kill"), TOUCHES, overwrite, TIME_CHANGED, KILLED, false},
	{"shorten-kill", ON_DEMAND("kill"), TOUCHES, shorten, SIZE_CHANGED, KILLED, false},
	{"empty-kill", ON_DEMAND("kill"), TOUCHES, empty, SIZE_CHANGED, KILLED, false},
	{"append-poison", ON_DEMAND("poison"), TOUCHES, append, SIZE_CHANGED, POISONED, false},
	{"write-poison", ON_DEMAND("poison"), TOUCHES, overwrite, TIME_CHANGED, POISONED, false},
	{"empty-poison", ON_DEMAND("poison"), TOUCHES, empty, SIZE_CHANGED, POISONED, false},
	{"write-hold", ON_DEMAND("hold"), TOUCHES, overwrite, TIME_CHANGED, HELD, false},
	{"write-early", ON_DEMAND("kill"), TOUCHES, overwrite, TIME_CHANGED, KILLED, true},
	{"write-prefetch", SLOWLY, "--no-touch --wait-resident 600", overwrite, TIME_CHANGED,
	 KILLED, false},
	{"empty-prefetch", SLOWLY, "--no-touch --wait-resident 600", empty, SIZE_CHANGED, KILLED,
	 false},
	{"unlink", ON_DEMAND("kill"), TOUCHES, unlink_layer, NULL, 0, false},
	{"unlink-early", ON_DEMAND("kill"), TOUCHES, unlink_layer, NULL, 0, true},
	{"unlink-prefetch", "", TOUCHES " --remove 20", unlink_layer, NULL, 0, true},
	{"replace", ON_DEMAND("kill"), TOUCHES, replace, NULL, 0, false},
};

static void check_failed(struct show *show, const char *how)
{
	struct json_object *o = stage_await(&show->s, "failed");
	const char *reason = scene_text(o, "reason");

	stage_check(&show->s, strstr(reason, show->layer) && strstr(reason, how),
		    "it failed, but not because %s %s: %s", show->layer, how, reason);
	json_object_put(o);
}

/* Neither killed nor served: whoever looks after it does the one. */
static void check_held(struct show *show, const char *how)
{
	scene_vmm_go(&show->s.vmm);
	check_failed(show, how);
	stage_check(&show->s, scene_vmm_lives(&show->s.vmm), "it was not held");
	ck_assert_int_eq(kill(show->s.vmm.pid, SIGKILL), 0);
	stage_check_end(&show->s, KILLED);
}

static bool needs_poison(const char *members)
{
	return strstr(members, "poison") && !touch_have_poison();
}

START_TEST(snapshot_changes)
{
	const struct change *c = &changes[_i];
	struct show show;

	if (needs_poison(c->members))
		return;
	show_create(&show, &scene, c->name, *c->members ? c->members : NULL);
	if (c->first)
		c->make(&show);
	stage_start(&show.s, show.image, c->vmm);
	json_object_put(stage_await(&show.s, "serving"));
	if (!c->first)
		c->make(&show);
	if (c->code == HELD)
		check_held(&show, c->how);
	else
		stage_check_end(&show.s, c->code);
	if (c->how) {
		check_failed(&show, c->how);
		stage_cleared(&show.s);
	} else {
		json_object_put(stage_ended(&show.s, "vmm-exited"));
	}
	show_fini(&show);
}
END_TEST

/* Nothing is needed from it any more. */
START_TEST(snapshot_changes_too_late)
{
	struct show show;

	show_create(&show, &scene, "late", NULL);
	stage_start(&show.s, show.image, "--hold-before --threads 8 --remove 30 --write 30");
	json_object_put(stage_await(&show.s, "complete"));
	empty(&show);
	stage_check_end(&show.s, 0);
	json_object_put(stage_ended(&show.s, "vmm-exited"));
	show_fini(&show);
}
END_TEST

/* Held for somebody to look at: worker and page map stay until the VMM is killed. */
START_TEST(held_guest_is_killed_on_request)
{
	struct show show;
	struct json_object *o;

	show_create(&show, &scene, "held", ON_DEMAND("hold"));
	stage_start(&show.s, show.image, TOUCHES);
	json_object_put(stage_await(&show.s, "serving"));
	overwrite(&show);
	scene_vmm_go(&show.s.vmm);
	check_failed(&show, TIME_CHANGED);
	stage_refused(&show.s, "DELETE", "", NULL, ERR_STATE);
	stage_refused(&show.s, "DELETE", "?grace=100ms", NULL, ERR_STATE);
	ck_assert(scene_vmm_lives(&show.s.vmm));
	ck_assert_int_eq(kill(show.s.worker, 0), 0);
	stage_tell(&show.s, "GET", "/pages", NULL);

	o = stage_ask(&show.s, "DELETE", "?kill=true", NULL);
	ck_assert_str_eq(scene_text(o, "state"), "failed");
	json_object_put(o);
	stage_check_end(&show.s, KILLED);
	check_failed(&show, TIME_CHANGED);
	stage_cleared(&show.s);
	stage_tell(&show.s, "DELETE", "", NULL);
	show_fini(&show);
}
END_TEST

/* --- somebody stops it --- */

#define ACCEPTED ERR_COUNT

/* clang-format off */
static const struct stop {
	const char *name, *members, *vmm, *query;
	enum err_code answer;
	const char *reason; /* in the end */
	int code;           /* of the VMM, which goes on after the stop */
	uint64_t least_ms;
	bool complete; /* is it, before the stop */
} stops[] = {
	{"kill", ON_DEMAND("kill"), TOUCHES, "", ACCEPTED, "stopped", KILLED, 0, false},
	{"poison", ON_DEMAND("poison"), TOUCHES, "", ACCEPTED, "stopped", POISONED, 0, false},
	{"poison-part", SLOWLY ", \"on_failure\": \"poison\"", TOUCHES, "", ACCEPTED, "stopped",
	 POISONED, 0, false},
	{"hold", ON_DEMAND("hold"), TOUCHES, "", ERR_STATE, "vmm-exited", 0, 0, false},
	{"hold-killed", ON_DEMAND("hold"), TOUCHES, "?kill=true", ACCEPTED, "killed", KILLED, 0,
	 false},
	{"complete", NULL, TOUCHES " --remove 30", "", ACCEPTED, "stopped", 0, 0, true},
	{"complete-poison", "\"on_failure\": \"poison\"", TOUCHES " --remove 30", "", ACCEPTED,
	 "stopped", 0, 0, true},
	{"complete-hold", "\"on_failure\": \"hold\"", TOUCHES " --remove 30", "", ACCEPTED,
	 "stopped", 0, 0, true},
	{"complete-killed", NULL, TOUCHES, "?kill=true", ACCEPTED, "killed", KILLED, 0, true},
	{"grace", ON_DEMAND("kill"), "--threads 4 --balloon 1", "?grace=300s", ACCEPTED, "stopped",
	 0, 0, false},
	{"grace-over", ON_DEMAND("kill"), TOUCHES, "?grace=300ms", ACCEPTED, "stopped", KILLED,
	 300, false},
	{"grace-over-hold", ON_DEMAND("hold"), TOUCHES, "?grace=300ms", ERR_STATE, "vmm-exited", 0,
	 300, false},
	{"grace-over-complete", NULL, TOUCHES " --remove 30", "?grace=300ms", ACCEPTED, "stopped",
	 0, 300, true},
};
/* clang-format on */

static void stop_it(struct show *show, const struct stop *stop)
{
	uint64_t start = now_us(), ms;

	if (stop->answer == ACCEPTED)
		stage_tell(&show->s, "DELETE", stop->query, NULL);
	else
		stage_refused(&show->s, "DELETE", stop->query, NULL, stop->answer);
	ms = (now_us() - start) / 1000;
	stage_check(&show->s, ms >= stop->least_ms, "stopped after %llu ms",
		    (unsigned long long)ms);
}

START_TEST(stopped)
{
	const struct stop *stop = &stops[_i];
	struct show show;

	if (stop->members && needs_poison(stop->members))
		return;
	show_create(&show, &scene, stop->name, stop->members);
	stage_start(&show.s, show.image, stop->vmm);
	json_object_put(stage_await(&show.s, stop->complete ? "complete" : "serving"));
	stop_it(&show, stop);
	if (stop->answer == ACCEPTED) {
		/* The answer came when all was gone. */
		ck_assert_int_lt(kill(show.s.worker, 0), 0);
		json_object_put(stage_ended(&show.s, stop->reason));
	}
	stage_check_end(&show.s, stop->code);
	json_object_put(stage_ended(&show.s, stop->reason));
	stage_tell(&show.s, "DELETE", "", NULL);
	show_fini(&show);
}
END_TEST

START_TEST(stopped_before_a_vmm_came)
{
	struct show show;

	show_create(&show, &scene, "waiting", NULL);
	stage_tell(&show.s, "DELETE", "?grace=300s", NULL);
	json_object_put(stage_ended(&show.s, "stopped"));
	stage_tell(&show.s, "DELETE", "", NULL);
	show_fini(&show);
}
END_TEST

/* Its threads wait for pages at that moment, or give some back. */
START_TEST(vmm_is_killed)
{
	struct show show;

	show_create(&show, &scene, "killed", NULL);
	stage_start(&show.s, show.image, "--threads 8 --balloon 3600 --events all");
	json_object_put(stage_await(&show.s, "serving"));
	scene_vmm_kill(&show.s.vmm);
	json_object_put(stage_ended(&show.s, "vmm-exited"));
	show_fini(&show);
}
END_TEST

START_TEST(leaves_nothing)
{
	stage_over(&scene);
}
END_TEST

static void start(void)
{
	scene_open(&scene);
}

static void stop(void)
{
	stage_close(&scene);
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("failure");
	TCase *tc = tcase_create("failure");

	tcase_add_unchecked_fixture(tc, start, stop);
	tcase_add_loop_test(tc, snapshot_changes, 0, ARRAY_LEN(changes));
	tcase_add_test(tc, snapshot_changes_too_late);
	tcase_add_test(tc, held_guest_is_killed_on_request);
	tcase_add_loop_test(tc, stopped, 0, ARRAY_LEN(stops));
	tcase_add_test(tc, stopped_before_a_vmm_came);
	tcase_add_test(tc, vmm_is_killed);
	tcase_add_test(tc, leaves_nothing);
	suite_add_tcase(suite, tc);
	return suite;
}
