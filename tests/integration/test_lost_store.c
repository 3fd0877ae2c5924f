/*
 * test_lost_store - the state directory is gone, and the guests are not: what the workers
 * bring back is enough to go on, and nobody gets what is not his
 */
#include <config.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/chan.h"
#include "common/pagemap.h"
#include "common/sock.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/support/stage.h"

#define SNAPSHOT "{\"dir\":\"" SCENE_SNAPSHOT "\"}"
#define IMAGE SCENE_SNAPSHOT "/" SCENE_IMAGE
#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define TOUCHES "--hold --hold-before --threads 4 --order rand --write 20 --remove 20 --timeout 60"
#define OLD_WORKER TEST_BUILD "/tests/uffdd-worker-old"
#define NOBODY 65534

static struct scene scene;

static void begin(struct stage *s, const char *id, const char *members, const char *vmm)
{
	*s = (struct stage){.scene = &scene, .vmm = {.in = -1, .out = -1}};
	snprintf(s->id, sizeof(s->id), "%s", id);
	stage_create(s, SNAPSHOT, members);
	if (!vmm)
		return;
	stage_start(s, IMAGE, vmm);
	json_object_put(stage_await(s, "serving"));
}

/* Killed; its state is moved away, under a number. */
static void lose_the_store(void)
{
	static int n;
	cleanup_free char *away = scene_format("%s/lost-%d", scene.d.dir, n++);

	scene_kill(&scene);
	ck_assert_int_eq(rename(scene.d.state, away), 0);
	ck_assert_int_eq(mkdir(scene.d.state, 0700), 0);
}

static struct json_object *adopted(struct stage *s, const char *state)
{
	struct json_object *o;

	respawn_await_event(&scene, s->id, "adopted", 1);
	o = stage_ask(s, "GET", "", NULL);
	stage_check(s, strcmp(scene_text(o, "state"), state) == 0, "it is %s",
		    json_object_to_json_string(o));
	stage_check(s, (pid_t)scene_number(o, "worker.pid") == s->worker, "another worker");
	return o;
}

static void to_the_end(struct stage *s)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);
	int code;

	s->worker = (pid_t)scene_number(o, "worker.pid");
	scene_vmm_go(&s->vmm);
	code = stage_end(s);
	stage_check(s, code == 0 && strstr(stage_printed(s), "\"wrong\":0,"), "exit %d", code);
	json_object_put(stage_ended(s, "vmm-exited"));
	stage_fini(s);
}

static void worker_dies(struct stage *s, const char *state)
{
	unsigned before = respawn_count_events(&scene, s->id, "recovered");

	respawn_end(s->worker);
	respawn_await_event(&scene, s->id, "recovered", before + 1);
	{
		cleanup_json struct json_object *o = stage_await(s, state);

		s->worker = (pid_t)scene_number(o, "worker.pid");
	}
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
	begin(&serving, "serving", ON_DEMAND ",\"on_failure\":\"hold\"", TOUCHES);
	begin(&waiting, "waiting", ON_DEMAND ",\"connect_timeout\":\"5m\"", NULL);
	begin(&paused, "paused", NULL, TOUCHES);
	begin(&complete, "complete", "\"prefetch\":{\"rate_bytes_per_s\":1000000000}", TOUCHES);
	json_object_put(stage_await(&complete, "complete"));
	stage_tell(&serving, "PUT", "/prefetch", "{\"rate_bytes_per_s\":77}");
	stage_tell(&paused, "POST", "/pause", NULL);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		before[i] = stage_ask(all[i], "GET", "", NULL);
	lose_the_store();
	harness_daemon_start(&scene.d, NULL);
	respawn_await_event(&scene, "paused", "adopted", 1);
	respawn_await_event(&scene, "complete", "adopted", 1);
	ck_assert(harness_wait(paused_or_complete, &paused, SCENE_MS));
	ck_assert(harness_wait(paused_or_complete, &complete, SCENE_MS));
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		cleanup_json struct json_object *now =
			adopted(all[i], all[i] == &waiting ? "waiting" : "serving");

		check_same(all[i], before[i], now);
		json_object_put(before[i]);
	}
	stage_tell(&paused, "POST", "/resume", NULL);
	stage_tell(&paused, "PUT", "/prefetch", "{\"mode\":\"none\"}");
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		worker_dies(all[i], all[i] == &waiting ? "waiting" : "serving");
	stage_start(&waiting, IMAGE, TOUCHES);
	json_object_put(stage_await(&waiting, "serving"));
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		to_the_end(all[i]);
	scene_close(&scene);
}
END_TEST

/* The event says what is not known. And the same request is the same. */
START_TEST(it_says_what_it_does_not_know)
{
	cleanup_free char *body = scene_format("{\"snapshot\":" SNAPSHOT "," ON_DEMAND "%s}",
					       scene_patient(ON_DEMAND));
	struct harness_reply r;
	struct stage s;

	scene_open(&scene);
	begin(&s, "known", ON_DEMAND, TOUCHES);
	lose_the_store();
	harness_daemon_start(&scene.d, NULL);
	json_object_put(adopted(&s, "serving"));
	harness_http(scene.d.socket, "GET", "/v1/events?restore=known", NULL, &r);
	ck_assert_msg(strstr(r.body, "\"type\":\"adopted\"") &&
			      strstr(r.body, "\"unknown\":[\"created_at\""),
		      "%s", r.body);
	harness_reply_fini(&r);
	scene_tell(&scene, 200, "PUT", "/v1/restores/known", body);
	scene_refused(&scene, "PUT", "/v1/restores/known", "{\"snapshot\":" SNAPSHOT "}",
		      ERR_CONFLICT, "known");
	to_the_end(&s);
	scene_close(&scene);
}
END_TEST

/* A stop is carried out, and the VMM's end seen, by a daemon that had not heard of them. */
START_TEST(it_can_be_stopped)
{
	struct stage killed, waiting;
	int code;

	scene_open(&scene);
	begin(&killed, "killed", ON_DEMAND, TOUCHES);
	begin(&waiting, "waiting", ON_DEMAND ",\"connect_timeout\":\"5m\"", NULL);
	lose_the_store();
	harness_daemon_start(&scene.d, NULL);
	json_object_put(adopted(&killed, "serving"));
	json_object_put(adopted(&waiting, "waiting"));
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
	begin(&s, "again", ON_DEMAND, TOUCHES);
	for (int i = 0; i < 3; i++) {
		lose_the_store();
		harness_daemon_start(&scene.d, NULL);
		json_object_put(adopted(&s, "serving"));
		worker_dies(&s, "serving");
	}
	/* Now the row is there. */
	scene_kill(&scene);
	respawn_end(s.worker);
	harness_daemon_start(&scene.d, NULL);
	respawn_await_event(&scene, s.id, "recovered", 2);
	to_the_end(&s);
	scene_close(&scene);
}
END_TEST

/* Its VMM has come while no daemon was there: nobody but the worker has ever heard of it. */
START_TEST(vmm_that_nobody_saw)
{
	cleanup_free char *socket = NULL;
	struct stage s;

	scene_open(&scene);
	begin(&s, "unseen", ON_DEMAND ",\"connect_timeout\":\"5m\"", NULL);
	lose_the_store();
	stage_start(&s, IMAGE, TOUCHES);
	stage_check(&s, stage_hears(&s, "connected"), "it is not served");
	socket = scene_format("%s/uffd/unseen", scene.d.run);
	ck_assert_int_eq(access(socket, F_OK), 0);
	harness_daemon_start(&scene.d, NULL);
	json_object_put(adopted(&s, "serving"));
	ck_assert_int_lt(access(socket, F_OK), 0);
	worker_dies(&s, "serving");
	to_the_end(&s);
	scene_close(&scene);
}
END_TEST

/* --- not adopted --- */

struct stray {
	const char *restore, *why;
	pid_t pid;
};

static bool is_named(void *arg)
{
	const struct stray *want = arg;
	cleanup_json struct json_object *o = scene_ask(&scene, 200, "GET", "/v1/status", NULL);
	struct json_object *list = scene_member(o, "strays");

	ck_assert_uint_eq(scene_number(o, "strays_count"), json_object_array_length(list));
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *s = json_object_array_get_idx(list, i);

		if ((pid_t)scene_number(s, "pid") == want->pid)
			return strcmp(scene_text(s, "restore"), want->restore) == 0 &&
			       strstr(scene_text(s, "why"), want->why);
	}
	return false;
}

static bool is_not_named(void *arg)
{
	return !is_named(arg);
}

static void await_stray(const char *restore, pid_t pid, const char *why)
{
	struct stray want = {restore, why, pid};
	bool named = harness_wait(is_named, &want, SCENE_MS);
	cleanup_json struct json_object *o = scene_ask(&scene, 200, "GET", "/v1/status", NULL);

	ck_assert_msg(named, "%s, %d, \"%s\": %s", restore, (int)pid, why,
		      json_object_to_json_string(o));
}

static void await_no_stray(const char *restore, pid_t pid, const char *why)
{
	struct stray want = {restore, why, pid};

	ck_assert_msg(harness_wait(is_not_named, &want, SCENE_MS), "%s is still named", restore);
}

/* One of another release: its files are not kept, and it cannot be adopted; it is left alone. */
START_TEST(worker_of_version_1)
{
	cleanup_free char *log = NULL;
	/* Its own, its socket's, and what two starts may differ by. */
	enum { MORE = 6 };
	struct stage s;
	int rest;

	ck_assert_int_eq(setenv("OLD_FILES", IMAGE, 1), 0);
	scene = (struct scene){.config = "\"worker\":\"" OLD_WORKER "\""};
	scene.config_text = scene_format("{\"pool_workers\":0,%s}", scene.config);
	scene.d.config = scene.config_text;
	harness_daemon_start(&scene.d, NULL);
	rest = scene_count_fds(&scene);
	begin(&s, "old", ON_DEMAND, NULL);
	respawn_await_event(&scene, s.id, "forked", 1);
	ck_assert_int_le(scene_count_fds(&scene), rest + MORE);
	/* With a row it is adopted as ever; what it hands over comes to nothing. */
	scene_kill(&scene);
	harness_daemon_start(&scene.d, NULL);
	json_object_put(adopted(&s, "waiting"));
	respawn_await_event(&scene, s.id, "forked", 2);
	ck_assert_int_le(scene_count_fds(&scene), rest + MORE);
	lose_the_store();
	harness_daemon_start(&scene.d, NULL);
	await_stray("old", s.worker, "channel version 1");
	ck_assert_int_eq(kill(s.worker, 0), 0);
	scene_refused(&scene, "GET", "/v1/restores/old", NULL, ERR_NOTFOUND, "old");
	respawn_end(s.worker);
	await_no_stray("old", s.worker, "");
	log = harness_daemon_log(&scene.d);
	ck_assert_msg(!strstr(log, "does not keep to the protocol"), "%s", log);
	stage_close(&scene);
}
END_TEST

/* Its id was given to somebody else: the guest is served on, and never mixed up. */
START_TEST(id_is_taken)
{
	cleanup_free char *map = NULL;
	struct stage old, new;
	int code;

	scene_open(&scene);
	begin(&old, "mine", ON_DEMAND, TOUCHES);
	ck_assert_int_eq(kill(old.worker, SIGSTOP), 0);
	lose_the_store();
	harness_daemon_start(&scene.d, NULL);
	/* Its worker may still come; the id is kept for it. */
	scene_refused(&scene, "PUT", "/v1/restores/mine", "{\"snapshot\":" SNAPSHOT "}",
		      ERR_UNREADY, "may still come back");
	/* As it is when it did not come for long. */
	map = scene_format("%s/maps/mine", scene.d.run);
	ck_assert_int_eq(unlink(map), 0);
	begin(&new, "mine", ON_DEMAND, TOUCHES);
	ck_assert_int_eq(kill(old.worker, SIGCONT), 0);
	await_stray("mine", old.worker, "it is not the worker of restore mine");
	scene_vmm_go(&old.vmm);
	code = stage_end(&old);
	stage_check(&old, code == 0 && strstr(stage_printed(&old), "\"wrong\":0,"), "exit %d",
		    code);
	await_no_stray("mine", old.worker, "");
	to_the_end(&new);
	stage_fini(&old);
	scene_close(&scene);
}
END_TEST

/* --- hostile --- */

struct claim {
	const char *what, *why;
	/* The descriptors of PROOF. */
	int (*map)(const struct stage *s);
	int (*request)(void);
};

static int no_map(const struct stage *s)
{
	(void)s;
	return memfd_create("map", MFD_CLOEXEC);
}

static int open_map(const struct stage *s, int how)
{
	cleanup_free char *path = scene_format("%s/maps/%s", scene.d.run, s->id);
	int fd = open(path, how | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static int read_only_map(const struct stage *s)
{
	return open_map(s, O_RDONLY);
}

static int true_map(const struct stage *s)
{
	return open_map(s, O_RDWR);
}

/* Of a neighbour: it was ours, but not of that id. */
static int other_map(const struct stage *s)
{
	struct stage other = *s;

	snprintf(other.id, sizeof(other.id), "other");
	return open_map(&other, O_RDWR);
}

static int request_of(const char *text, int seals)
{
	int fd = memfd_create("request", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define REQUEST "{\"snapshot\":" SNAPSHOT ",\"socket\":{\"path\":\"/x\"}}"

static int good_request(void)
{
	return request_of(REQUEST, SEALS);
}

static int loose_request(void)
{
	return request_of(REQUEST, F_SEAL_SHRINK);
}

static int bad_request(void)
{
	return request_of("{\"snapshot\":{},\"tenant\":\"red\"}", SEALS);
}

static int no_request(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static const struct claim claims[] = {
	{"a file of its own", "does not have the page map", no_map, good_request},
	{"a neighbour's map", "does not have the page map", other_map, good_request},
	{"a map that it may only read", "does not have the page map", read_only_map, good_request},
	{"a request that can change", "no sealed request", true_map, loose_request},
	{"no memfd", "no sealed request", true_map, no_request},
	{"a wrong request", "snapshot", true_map, bad_request},
	{"another's VMM", "need not be its VMM", true_map, good_request},
};

/* As any user may, under the id of a restore whose worker is away. */
static void claim(const struct stage *s, const struct claim *c)
{
	cleanup_free char *path = scene_format("%s/workers.sock", scene.d.run);
	struct chan_msg back = {0}, proof = {0};
	int fds[] = {c->map(s), c->request()};
	struct err err;
	char byte;
	int sock;

	ck_assert_msg(sock_connect(path, SOCK_SEQPACKET, &sock, &err) == 0, "%s", err.msg);
	snprintf(back.reattach.id, sizeof(back.reattach.id), "%s", s->id);
	back.reattach.proof = 1;
	back.reattach.chan_version = CHAN_VERSION;
	ck_assert_int_eq(chan_send(sock, CHAN_REATTACH, &back, NULL, 0, &err), 0);
	ck_assert_int_eq(chan_send(sock, CHAN_PROOF, &proof, fds, ARRAY_LEN(fds), &err), 0);
	ck_assert_msg(recv(sock, &byte, 1, 0) <= 0, "%s: it is answered", c->what);
	await_stray(s->id, getpid(), c->why);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	close(sock);
}

START_TEST(somebody_elses_id)
{
	struct stage victim, other;

	scene_open(&scene);
	begin(&victim, "victim", ON_DEMAND, TOUCHES);
	begin(&other, "other", ON_DEMAND, TOUCHES);
	ck_assert_int_eq(kill(victim.worker, SIGSTOP), 0);
	lose_the_store();
	harness_daemon_start(&scene.d, NULL);
	for (size_t i = 0; i < ARRAY_LEN(claims); i++)
		claim(&victim, &claims[i]);
	scene_refused(&scene, "GET", "/v1/restores/victim", NULL, ERR_NOTFOUND, "victim");
	ck_assert_int_eq(kill(victim.worker, SIGCONT), 0);
	json_object_put(adopted(&victim, "serving"));
	json_object_put(adopted(&other, "serving"));
	to_the_end(&victim);
	to_the_end(&other);
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
	ck_assert_str_eq(scene_text(o, "tenant"), "uid-65534");
	lose_the_store();
	harness_daemon_start(&scene.d, NULL);
	json_object_put(o);
	o = adopted(&s, "waiting");
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
	tcase_add_test(tc, worker_of_version_1);
	tcase_add_test(tc, id_is_taken);
	tcase_add_test(tc, somebody_elses_id);
	tcase_add_test(tc, tenant_is_whose_worker_it_is);
	suite_add_tcase(suite, tc);
	return suite;
}
