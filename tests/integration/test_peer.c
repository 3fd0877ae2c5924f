/*
 * test_peer - who connects is not whose memory it is: a helper that ends, or outlives the
 * VMM. A guest gets the right bytes, or it gets to know.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "tests/support/killing.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/support/show.h"
#include "tests/fakes/vmm/touch.h"

#define KILLED (128 + SIGKILL)
#define HUNG 4
#define POISONED 149

#define NO_RECORD "\"working_set\":{\"record\":false}"
#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}," NO_RECORD
#define ON_DEMAND_AND(policy) ON_DEMAND ",\"on_failure\":\"" policy "\""
/* Prefetch finds out, while the guest waits for nothing. */
#define SLOWLY "\"prefetch\":{\"rate_bytes_per_s\":262144}," NO_RECORD
#define TOUCHES "--hold-before --threads 4 --order rand --write 20 --timeout 20"
#define HELPED TOUCHES " --helper ends"

static struct scene scene;

static void begin(struct show *show, const char *id, const char *members, const char *vmm)
{
	show_create(show, &scene, id, members);
	stage_start(&show->s, show->image, vmm);
}

/* Nothing at all is left, and nobody complained. */
static void over(struct show *show)
{
	show_fini(show);
	scene_check_log(&scene, show->s.id);
	scene_close(&scene);
}

static void check_done(struct show *show)
{
	stage_check_end(&show->s, 0);
	stage_check(&show->s, strstr(stage_printed(&show->s), "\"wrong\":0,"), "it is not done");
}

static void check_right(struct show *show)
{
	scene_vmm_go(&show->s.vmm);
	check_done(show);
}

static struct json_object *vmm_pid(struct json_object *o)
{
	return json_object_object_get(scene_member(o, "vmm"), "pid");
}

/* The process that is shown is the VMM where it can be found: by its own userfaultfd. */
static void await_elsewhere(struct show *show, bool found)
{
	struct json_object *o;

	respawn_await_event(&scene, show->s.id, "vmm-elsewhere", 1);
	o = stage_await(&show->s, "serving");
	if (found)
		ck_assert_int_eq(json_object_get_int(vmm_pid(o)), show->s.vmm.pid);
	else
		ck_assert_msg(!vmm_pid(o), "%s", json_object_to_json_string(o));
	json_object_put(o);
}

static void check_ended(struct show *show, const char *reason)
{
	stage_look_up_worker(&show->s);
	json_object_put(stage_ended(&show->s, reason));
}

static void check_events(const struct show *show, const char *types)
{
	cleanup_free char *events = scene_events(&scene, show->s.id);

	ck_assert_msg(strcmp(events, types) == 0, "%s: %s", show->s.id, events);
}

/* --- a helper connects, and ends --- */

static const struct {
	const char *name, *vmm;
	bool found;
} helped[] = {
	{"keeps", HELPED, true},
	{"keeps-nothing", HELPED " --no-keep", false},
};

/* The VMM stays until it is known that nothing is missing: else its end may be seen first. */
START_TEST(helper_ends)
{
	cleanup_free char *options = scene_format("%s --hold", helped[_i].vmm);
	struct show show;

	scene_open(&scene);
	begin(&show, helped[_i].name, ON_DEMAND, options);
	await_elsewhere(&show, helped[_i].found);
	scene_vmm_go(&show.s.vmm);
	json_object_put(stage_await(&show.s, "complete"));
	check_done(&show);
	check_ended(&show, "vmm-exited");
	check_events(&show, "created connected vmm-elsewhere complete ended ");
	over(&show);
}
END_TEST

/* The end of the VMM itself is noticed, too: nothing is installed any more that would tell. */
START_TEST(helped_vmm_is_killed)
{
	struct show show;

	scene_open(&scene);
	begin(&show, helped[_i].name, ON_DEMAND, helped[_i].vmm);
	await_elsewhere(&show, helped[_i].found);
	scene_vmm_kill(&show.s.vmm);
	check_ended(&show, "vmm-exited");
	check_events(&show, "created connected vmm-elsewhere ended ");
	over(&show);
}
END_TEST

/* One that connected by itself ends without further words. */
START_TEST(vmm_itself_is_killed)
{
	struct show show;

	scene_open(&scene);
	begin(&show, "itself", ON_DEMAND, TOUCHES);
	json_object_put(stage_await(&show.s, "serving"));
	scene_vmm_kill(&show.s.vmm);
	check_ended(&show, "vmm-exited");
	check_events(&show, "created connected ended ");
	over(&show);
}
END_TEST

/* --- and others die --- */

static const struct {
	const char *name, *vmm;
	bool found, supervisor, worker, early; /* who dies; and before it was noticed */
	const char *event;
} deaths[] = {
	{"worker", HELPED, true, false, true, false, "recovered"},
	{"worker-nothing", HELPED " --no-keep", false, false, true, false, "recovered"},
	{"worker-early", HELPED " --no-keep", false, false, true, true, "recovered"},
	{"supervisor", HELPED, true, true, false, false, "adopted"},
	{"supervisor-nothing", HELPED " --no-keep", false, true, false, false, "adopted"},
	{"supervisor-early", HELPED " --no-keep", false, true, false, true, "adopted"},
	{"both", HELPED, true, true, true, false, "recovered"},
};

START_TEST(others_die)
{
	struct show show;

	scene_open(&scene);
	begin(&show, deaths[_i].name, ON_DEMAND, deaths[_i].vmm);
	json_object_put(stage_await(&show.s, "serving"));
	ck_assert(stage_hears(&show.s, "connected"));
	if (!deaths[_i].early)
		await_elsewhere(&show, deaths[_i].found);
	if (deaths[_i].supervisor)
		scene_kill(&scene);
	if (deaths[_i].worker)
		respawn_end(show.s.worker);
	if (deaths[_i].supervisor)
		harness_daemon_start(&scene.d, NULL);
	respawn_await_event(&scene, show.s.id, deaths[_i].event, 1);
	await_elsewhere(&show, deaths[_i].found);
	check_right(&show);
	check_ended(&show, "vmm-exited");
	ck_assert_uint_eq(respawn_count_events(&scene, show.s.id, "vmm-elsewhere"), 1);
	over(&show);
}
END_TEST

/* The worker meets who connected, and dies over it; the next one meets nobody any more. */
/* clang-format off */
static const char *const meetings[] = {
	"peer:1:kill", "before-connected:1:kill", "before-record:1:kill", "recorded:1:kill",
	"connected:1:kill",
};
/* clang-format on */

START_TEST(worker_dies_over_the_helper)
{
	cleanup_free char *name = scene_format("%.*s", (int)strcspn(meetings[_i], ":"),
					       meetings[_i]);
	struct killing k;

	killing_open(&k, name, NULL);
	killing_arm(&k, meetings[_i]);
	killing_create(&k, ON_DEMAND);
	killing_vmm(&k, HELPED " --no-keep");
	k.tally.died = k.tally.recovered = 1;
	ck_assert(stage_hears(&k.s, "connected"));
	killing_recovered(&k, "serving");
	scene_vmm_go(&k.s.vmm);
	killing_right(&k);
	killing_close(&k);
}
END_TEST

/* Then nobody has the userfaultfd, and it must not look otherwise. */
START_TEST(all_die_who_had_it)
{
	cleanup_json struct json_object *o = NULL;
	struct show show;

	scene_open(&scene);
	begin(&show, "nobodys", ON_DEMAND, HELPED " --no-keep");
	await_elsewhere(&show, false);
	scene_kill(&scene);
	respawn_end(show.s.worker);
	harness_daemon_start(&scene.d, NULL);
	o = stage_await(&show.s, "failed");
	stage_check(&show.s, strstr(scene_text(o, "reason"), "whose memory it is is not known"),
		    "%s", scene_text(o, "reason"));
	ck_assert_uint_eq(respawn_count_events(&scene, show.s.id, "recovered"), 0);
	scene_vmm_kill(&show.s.vmm);
	over(&show);
}
END_TEST

/* --- and the guest is to end --- */

static void spoil(const struct show *show)
{
	cleanup_fd int fd = open(show->layer, O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(write(fd, "x", 1), 1);
}

/* clang-format off */
static const struct {
	const char *name, *members, *vmm;
	bool found;
	int code;
	const char *events;
} failures[] = {
	{"kill", SLOWLY, HELPED, true, KILLED,
	 "created connected vmm-elsewhere failed released "},
	{"kill-unknown", SLOWLY, HELPED " --no-keep", false, POISONED,
	 "created connected vmm-elsewhere failed kill-failed released "},
	{"poison", ON_DEMAND_AND("poison"), HELPED " --no-keep", false, POISONED,
	 "created connected vmm-elsewhere failed released "},
	{"hold", ON_DEMAND_AND("hold"), "--hold-before --threads 4 --timeout 2 --helper ends", true,
	 HUNG, "created connected vmm-elsewhere failed released "},
};
/* clang-format on */

START_TEST(snapshot_changes)
{
	struct show show;

	if (!touch_have_poison())
		return;
	scene_open(&scene);
	begin(&show, failures[_i].name, failures[_i].members, failures[_i].vmm);
	await_elsewhere(&show, failures[_i].found);
	spoil(&show);
	if (strcmp(failures[_i].members, SLOWLY) == 0)
		json_object_put(stage_await(&show.s, "failed"));
	if (failures[_i].code != KILLED)
		scene_vmm_go(&show.s.vmm);
	stage_check_end(&show.s, failures[_i].code);
	json_object_put(stage_await(&show.s, "failed"));
	respawn_await_event(&scene, show.s.id, "released", 1);
	check_events(&show, failures[_i].events);
	over(&show);
}
END_TEST

static const struct {
	const char *name, *vmm;
	bool found;
	int code;
	const char *reason, *events;
} stops[] = {
	{"known", HELPED, true, KILLED, "killed",
	 "created connected vmm-elsewhere stopping ended "},
	{"unknown", HELPED " --no-keep", false, POISONED, "stopped",
	 "created connected vmm-elsewhere stopping kill-failed ended "},
};

START_TEST(stopped_with_kill)
{
	struct show show;

	if (!touch_have_poison())
		return;
	scene_open(&scene);
	begin(&show, stops[_i].name, ON_DEMAND, stops[_i].vmm);
	await_elsewhere(&show, stops[_i].found);
	stage_tell(&show.s, "DELETE", "?kill=true", NULL);
	check_ended(&show, stops[_i].reason);
	check_events(&show, stops[_i].events);
	if (stops[_i].code == POISONED)
		scene_vmm_go(&show.s.vmm);
	stage_check_end(&show.s, stops[_i].code);
	over(&show);
}
END_TEST

/* What is wrong is the message; whoever sent it, the guest never sees zeros. */
START_TEST(refused_message_of_a_helper)
{
	struct show show;

	scene_open(&scene);
	begin(&show, "refused", ON_DEMAND_AND("hold"),
	      "--hold-before --timeout 2 --helper ends --no-keep --size 8M");
	json_object_put(stage_await(&show.s, "failed"));
	/* The worker, which alone holds it, has seen the end of the helper. */
	ck_assert(stage_hears(&show.s, "connected"));
	scene_vmm_go(&show.s.vmm);
	stage_check_end(&show.s, HUNG);
	respawn_await_event(&scene, show.s.id, "released", 1);
	stage_cleared(&show.s);
	over(&show);
}
END_TEST

/* --- a helper that goes on --- */

static pid_t await_helper(struct show *show)
{
	cleanup_json struct json_object *o = stage_await(&show->s, "serving");
	pid_t helper = (pid_t)json_object_get_int(vmm_pid(o));

	ck_assert_int_gt(helper, 0);
	ck_assert_int_ne(helper, show->s.vmm.pid);
	return helper;
}

/* The VMM is killed, and nobody else. */
START_TEST(helper_is_not_killed)
{
	struct show show;
	pid_t helper;

	scene_open(&scene);
	begin(&show, "spared", ON_DEMAND_AND("kill"), TOUCHES " --helper stays");
	helper = await_helper(&show);
	spoil(&show);
	scene_vmm_go(&show.s.vmm);
	stage_check_end(&show.s, KILLED);
	respawn_await_event(&scene, show.s.id, "released", 1);
	check_events(&show, "created connected failed vmm-elsewhere released ");
	ck_assert_int_eq(kill(helper, 0), 0);
	respawn_end(helper);
	over(&show);
}
END_TEST

static bool has_ended(void *arg)
{
	struct show *show = arg;
	cleanup_json struct json_object *o = stage_ask(&show->s, "GET", "", NULL);

	return strcmp(scene_text(o, "state"), "ended") == 0;
}

/* Complete: no install finds out. */
START_TEST(helper_outlives_the_vmm)
{
	struct show show;
	pid_t helper;

	scene_open(&scene);
	begin(&show, "outlived", NULL, TOUCHES " --helper stays");
	helper = await_helper(&show);
	json_object_put(stage_await(&show.s, "complete"));
	check_right(&show);
	ck_assert(harness_wait(has_ended, &show, 4 * SCENE_MS));
	check_ended(&show, "vmm-exited");
	ck_assert_int_eq(kill(helper, 0), 0);
	respawn_end(helper);
	over(&show);
}
END_TEST

/* --- what forks say --- */

static const char *const styles[] = {"both", "kib", "size", "neither", "kib-zero", "in-kib"};

START_TEST(forms_of_the_message)
{
	cleanup_free char *options =
		scene_format(TOUCHES " --split 1M,rest --split-send --style %s", styles[_i]);
	struct show show;

	scene_open(&scene);
	begin(&show, styles[_i], NULL, options);
	json_object_put(stage_await(&show.s, "serving"));
	check_right(&show);
	check_ended(&show, "vmm-exited");
	over(&show);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("peer");
	TCase *tc = tcase_create("peer");

	tcase_add_loop_test(tc, helper_ends, 0, ARRAY_LEN(helped));
	tcase_add_loop_test(tc, helped_vmm_is_killed, 0, ARRAY_LEN(helped));
	tcase_add_test(tc, vmm_itself_is_killed);
	tcase_add_loop_test(tc, others_die, 0, ARRAY_LEN(deaths));
	tcase_add_loop_test(tc, worker_dies_over_the_helper, 0, ARRAY_LEN(meetings));
	tcase_add_test(tc, all_die_who_had_it);
	tcase_add_loop_test(tc, snapshot_changes, 0, ARRAY_LEN(failures));
	tcase_add_loop_test(tc, stopped_with_kill, 0, ARRAY_LEN(stops));
	tcase_add_test(tc, refused_message_of_a_helper);
	tcase_add_test(tc, helper_is_not_killed);
	tcase_add_test(tc, helper_outlives_the_vmm);
	tcase_add_loop_test(tc, forms_of_the_message, 0, ARRAY_LEN(styles));
	suite_add_tcase(suite, tc);
	return suite;
}
