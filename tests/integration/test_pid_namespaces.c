/*
 * test_pid_namespaces - a VMM in a PID namespace inside the daemon's is served; one outside it is
 * not, and gets to know
 */
#include <signal.h>
#include <string.h>

#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/support/show.h"

#define KILLED (128 + SIGKILL)
#define HUNG 4
#define SKIPPED 77

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"},\"working_set\":{\"record\":false}"
#define TOUCHES "--hold-before --threads 4 --order rand --write 20 --timeout 20"

static struct scene scene;

/* One inside ours can be seen, and killed. */
START_TEST(vmm_in_a_pid_namespace)
{
	struct show show;
	int code;

	scene_open(&scene);
	show_create(&show, &scene, "inside", ON_DEMAND);
	stage_start(&show.s, show.image, TOUCHES " --pid-ns");
	if (!stage_hears(&show.s, "connected")) {
		code = stage_end(&show.s);
		stage_check(&show.s, code == SKIPPED, "exit %d", code);
		return;
	}
	json_object_put(stage_await(&show.s, "serving"));
	respawn_end(show.s.worker);
	respawn_await_event(&scene, show.s.id, "recovered", 1);
	stage_tell(&show.s, "DELETE", "?kill=true", NULL);
	stage_check_end(&show.s, KILLED);
	stage_look_up_worker(&show.s);
	json_object_put(stage_ended(&show.s, "killed"));
	show_fini(&show);
	scene_check_log(&scene, show.s.id);
	scene_close(&scene);
}
END_TEST

/* One outside cannot: it is not served, and that says how to do better. */
START_TEST(vmm_out_of_sight)
{
	const struct respawn apart = {.apart = true};
	cleanup_free char *events = NULL;
	struct show show;
	struct json_object *o;

	scene_open(&scene);
	scene_kill(&scene);
	if (geteuid() != 0)
		return;
	respawn(&scene.d, &apart);
	show_create(&show, &scene, "outside", ON_DEMAND ",\"on_failure\":\"kill\"");
	stage_start(&show.s, show.image, "--hold-before --timeout 2 --no-keep");
	o = stage_await(&show.s, "failed");
	stage_check(&show.s, strstr(scene_text(o, "reason"), "in the host's PID namespace"), "%s",
		    scene_text(o, "reason"));
	json_object_put(o);
	respawn_await_event(&scene, show.s.id, "kill-failed", 1);
	scene_vmm_go(&show.s.vmm);
	stage_check_end(&show.s, HUNG);
	respawn_await_event(&scene, show.s.id, "released", 1);
	events = scene_events(&scene, show.s.id);
	ck_assert_str_eq(events, "created failed kill-failed released ");
	show_fini(&show);
	scene_kill(&scene);
	harness_rmtree(scene.d.dir);
	free(scene.config_text);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("pid-namespaces");
	TCase *tc = tcase_create("pid-namespaces");

	tcase_add_test(tc, vmm_in_a_pid_namespace);
	tcase_add_test(tc, vmm_out_of_sight);
	suite_add_tcase(suite, tc);
	return suite;
}
