/*
 * test_lost_store - the state directory is gone, and the guests are not: what the workers
 * bring back is enough to go on
 */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/support/stage.h"

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define TOUCHES "--hold --hold-before --threads 4 --order rand --write 20 --remove 20 --timeout 60"
#define NOBODY 65534

static struct scene scene;

static void worker_dies(struct stage *s, const char *state)
{
	unsigned before = respawn_count_events(&scene, s->id, "recovered");

	respawn_end(s->worker);
	respawn_await_event(&scene, s->id, "recovered", before + 1);
	json_object_put(stage_await(s, state));
	stage_look_up_worker(s);
}

/* Everything that was there before, and is known of it. */
static void check_same(struct stage *s, struct json_object *before, struct json_object *now)
{
	/* clang-format off */
	static const char *const members[] = {
		"id", "tenant", "complete", "paused", "snapshot", "socket", "peer", "vmm",
		"memory", "prefetch", "connect_timeout", "when_complete", "on_failure",
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		struct json_object *a = scene_member(before, members[i]);
		struct json_object *b = scene_member(now, members[i]);

		stage_check(s, json_object_equal(a, b), "%s was %s, is %s", members[i],
			    json_object_to_json_string(a), json_object_to_json_string(b));
	}
}

/* --- adopted --- */

static bool paused_or_complete(void *arg)
{
	struct stage *s = arg;
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	return scene_flag(o, "paused") || scene_flag(o, "complete");
}

/* Serving, waiting, paused, complete; each is shown as it was, can be steered, and recovers. */
START_TEST(all_of_them_come_back)
{
	struct stage serving, waiting, paused, complete;
	struct stage *all[] = {&serving, &waiting, &paused, &complete};
	struct json_object *before[ARRAY_LEN(all)];

	scene_open(&scene);
	stage_begin(&serving, &scene, "serving", ON_DEMAND ",\"on_failure\":\"hold\"", TOUCHES);
	stage_begin(&waiting, &scene, "waiting", ON_DEMAND ",\"connect_timeout\":\"5m\"", NULL);
	stage_begin(&paused, &scene, "paused", NULL, TOUCHES);
	stage_begin(&complete, &scene, "complete", "\"prefetch\":{\"rate_bytes_per_s\":1000000000}",
		    TOUCHES);
	json_object_put(stage_await(&complete, "complete"));
	stage_tell(&serving, "PUT", "/prefetch", "{\"rate_bytes_per_s\":77}");
	stage_tell(&paused, "POST", "/pause", NULL);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		before[i] = stage_ask(all[i], "GET", "", NULL);
	respawn_lose_store(&scene);
	harness_daemon_start(&scene.d, NULL);
	respawn_await_event(&scene, "paused", "adopted", 1);
	respawn_await_event(&scene, "complete", "adopted", 1);
	ck_assert(harness_wait(paused_or_complete, &paused, SCENE_MS));
	ck_assert(harness_wait(paused_or_complete, &complete, SCENE_MS));
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		cleanup_json struct json_object *now =
			respawn_adopted(all[i], all[i] == &waiting ? "waiting" : "serving");

		check_same(all[i], before[i], now);
		json_object_put(before[i]);
	}
	stage_tell(&paused, "POST", "/resume", NULL);
	stage_tell(&paused, "PUT", "/prefetch", "{\"mode\":\"none\"}");
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		worker_dies(all[i], all[i] == &waiting ? "waiting" : "serving");
	stage_start(&waiting, STAGE_IMAGE, TOUCHES);
	json_object_put(stage_await(&waiting, "serving"));
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		stage_to_the_end(all[i]);
	scene_close(&scene);
}
END_TEST

/* The event says what is not known. And the same request is the same. */
START_TEST(it_says_what_it_does_not_know)
{
	cleanup_free char *body = scene_format("{\"snapshot\":" STAGE_SNAPSHOT "," ON_DEMAND "%s}",
					       scene_patient(ON_DEMAND));
	struct harness_reply r;
	struct stage s;

	scene_open(&scene);
	stage_begin(&s, &scene, "known", ON_DEMAND, TOUCHES);
	respawn_lose_store(&scene);
	harness_daemon_start(&scene.d, NULL);
	json_object_put(respawn_adopted(&s, "serving"));
	harness_http(scene.d.socket, "GET", "/v1/events?restore=known", NULL, &r);
	ck_assert_msg(strstr(r.body, "\"type\":\"adopted\"") &&
			      strstr(r.body, "\"unknown\":[\"created_at\""),
		      "%s", r.body);
	harness_reply_fini(&r);
	scene_tell(&scene, 200, "PUT", "/v1/restores/known", body);
	scene_refused(&scene, "PUT", "/v1/restores/known", "{\"snapshot\":" STAGE_SNAPSHOT "}",
		      ERR_CONFLICT, "known");
	stage_to_the_end(&s);
	scene_close(&scene);
}
END_TEST

/* A stop is carried out, and the VMM's end seen, by a daemon that had not heard of them. */
START_TEST(it_can_be_stopped)
{
	struct stage killed, waiting;
	int code;

	scene_open(&scene);
	stage_begin(&killed, &scene, "killed", ON_DEMAND, TOUCHES);
	stage_begin(&waiting, &scene, "waiting", ON_DEMAND ",\"connect_timeout\":\"5m\"", NULL);
	respawn_lose_store(&scene);
	harness_daemon_start(&scene.d, NULL);
	json_object_put(respawn_adopted(&killed, "serving"));
	json_object_put(respawn_adopted(&waiting, "waiting"));
	stage_tell(&killed, "DELETE", "?kill=true", NULL);
	code = stage_end(&killed);
	stage_check(&killed, code == 128 + SIGKILL, "exit %d", code);
	json_object_put(stage_ended(&killed, "killed"));
	stage_tell(&waiting, "DELETE", "", NULL);
	json_object_put(stage_ended(&waiting, "stopped"));
	stage_fini(&killed);
	scene_close(&scene);
}
END_TEST

/* Lost again and again, and once more together with the worker. */
START_TEST(lost_again)
{
	struct stage s;

	scene_open(&scene);
	stage_begin(&s, &scene, "again", ON_DEMAND, TOUCHES);
	for (int i = 0; i < 3; i++) {
		respawn_lose_store(&scene);
		harness_daemon_start(&scene.d, NULL);
		json_object_put(respawn_adopted(&s, "serving"));
		worker_dies(&s, "serving");
	}
	/* Now the row is there. */
	scene_kill(&scene);
	respawn_end(s.worker);
	harness_daemon_start(&scene.d, NULL);
	respawn_await_event(&scene, s.id, "recovered", 2);
	stage_to_the_end(&s);
	scene_close(&scene);
}
END_TEST

/* Its VMM has come while no daemon was there: nobody but the worker has ever heard of it. */
START_TEST(vmm_that_nobody_saw)
{
	cleanup_free char *socket = NULL;
	struct stage s;

	scene_open(&scene);
	stage_begin(&s, &scene, "unseen", ON_DEMAND ",\"connect_timeout\":\"5m\"", NULL);
	respawn_lose_store(&scene);
	stage_start(&s, STAGE_IMAGE, TOUCHES);
	stage_check(&s, stage_hears(&s, "connected"), "it is not served");
	socket = stage_path(&s, "uffd");
	ck_assert_int_eq(access(socket, F_OK), 0);
	harness_daemon_start(&scene.d, NULL);
	json_object_put(respawn_adopted(&s, "serving"));
	ck_assert_int_lt(access(socket, F_OK), 0);
	worker_dies(&s, "serving");
	stage_to_the_end(&s);
	scene_close(&scene);
}
END_TEST

/* --- tenants --- */

/* PUT as another user, who is a tenant: its own text of a request, over the socket. */
static void create_as(uid_t uid, const char *id, const char *body)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		cleanup_free char *target = scene_format("/v1/restores/%s", id);
		struct harness_reply r;

		if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
			_exit(2);
		_exit(harness_http(scene.d.socket, "PUT", target, body, &r) == 201 ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

/* It is the user of the worker who has it, as before. */
START_TEST(tenant_is_whose_worker_it_is)
{
	cleanup_json struct json_object *o = NULL;
	cleanup_free char *dir = NULL, *body = NULL;
	struct stage s = {.scene = &scene, .id = "tenants", .vmm = {.in = -1, .out = -1}};

	if (geteuid() != 0)
		return;
	scene = (struct scene){.config = "\"socket_mode\":\"0666\""};
	scene_open(&scene);
	dir = scene_format("%s/snapshot", scene.d.dir);
	scene_copy_dir(SCENE_SNAPSHOT, dir);
	body = scene_format("{\"snapshot\":{\"dir\":\"%s\"},\"connect_timeout\":\"5m\"}", dir);
	create_as(NOBODY, s.id, body);
	o = stage_ask(&s, "GET", "", NULL);
	s.worker = (pid_t)scene_number(o, "worker.pid");
	snprintf(s.key, sizeof(s.key), "%s", scene_text(o, "key"));
	ck_assert_str_eq(scene_text(o, "tenant"), "uid-65534");
	respawn_lose_store(&scene);
	harness_daemon_start(&scene.d, NULL);
	json_object_put(o);
	o = respawn_adopted(&s, "waiting");
	ck_assert_str_eq(scene_text(o, "tenant"), "uid-65534");
	ck_assert_uint_eq(scene_number(o, "socket.uid"), NOBODY);
	worker_dies(&s, "waiting");
	stage_tell(&s, "DELETE", "", NULL);
	json_object_put(stage_ended(&s, "stopped"));
	scene_close(&scene);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("lost-store");
	TCase *tc = tcase_create("lost-store");

	tcase_add_test(tc, all_of_them_come_back);
	tcase_add_test(tc, it_says_what_it_does_not_know);
	tcase_add_test(tc, it_can_be_stopped);
	tcase_add_test(tc, lost_again);
	tcase_add_test(tc, vmm_that_nobody_saw);
	tcase_add_test(tc, tenant_is_whose_worker_it_is);
	suite_add_tcase(suite, tc);
	return suite;
}
