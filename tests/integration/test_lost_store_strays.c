/*
 * test_lost_store_strays - the state directory is gone, and workers come back that cannot be
 * adopted: of a release before, under an id that is taken, or under one that is not theirs
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "common/chan.h"
#include "common/sock.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/support/stage.h"

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define TOUCHES "--hold --hold-before --threads 4 --order rand --write 20 --remove 20 --timeout 60"
#define OLD_WORKER TEST_BUILD "/tests/uffdd-worker-old"

static struct scene scene;

/* --- what the status says of them --- */

struct stray {
	const char *key, *why;
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
			return strcmp(scene_text(s, "key"), want->key) == 0 &&
			       strstr(scene_text(s, "why"), want->why);
	}
	return false;
}

static bool is_not_named(void *arg)
{
	return !is_named(arg);
}

static void await_stray(const char *key, pid_t pid, const char *why)
{
	struct stray want = {key, why, pid};
	bool named = harness_wait(is_named, &want, SCENE_MS);
	cleanup_json struct json_object *o = scene_ask(&scene, 200, "GET", "/v1/status", NULL);

	ck_assert_msg(named, "%s, %d, \"%s\": %s", key, (int)pid, why,
		      json_object_to_json_string(o));
}

static void await_no_stray(const char *key, pid_t pid, const char *why)
{
	struct stray want = {key, why, pid};

	ck_assert_msg(harness_wait(is_not_named, &want, SCENE_MS), "%s is still named", key);
}

static bool is_known(const char *id)
{
	cleanup_free char *target = scene_format("/v1/restores/%s", id);
	struct harness_reply r;
	int status;

	harness_http(scene.d.socket, "GET", target, NULL, &r);
	status = r.status;
	harness_reply_fini(&r);
	return status == 200;
}

static bool has_both(void *arg)
{
	cleanup_json struct json_object *o = scene_ask(&scene, 200, "GET", "/v1/restores", NULL);
	struct json_object *items = scene_member(o, "items");
	size_t n = 0;

	(void)arg;
	for (size_t i = 0; i < json_object_array_length(items); i++)
		n += strcmp(scene_text(json_object_array_get_idx(items, i), "state"), "serving") ==
		     0;
	return n == 2;
}

/* --- who is a stray --- */

/* One of another release: its files are not kept, and it cannot be adopted; it is left alone. */
START_TEST(worker_of_version_1)
{
	cleanup_free char *log = NULL;
	/* Its own, its socket's, and what two starts may differ by. */
	enum { MORE = 6 };
	struct stage s;
	int rest;

	ck_assert_int_eq(setenv("OLD_FILES", STAGE_IMAGE, 1), 0);
	scene = (struct scene){.config = "\"worker\":\"" OLD_WORKER "\""};
	scene.config_text = scene_format("{\"pool_workers\":0,%s}", scene.config);
	scene.d.config = scene.config_text;
	harness_daemon_start(&scene.d, NULL);
	rest = scene_count_fds(&scene);
	stage_begin(&s, &scene, "old", ON_DEMAND, NULL);
	respawn_await_event(&scene, s.id, "forked", 1);
	ck_assert_int_le(scene_count_fds(&scene), rest + MORE);
	/* With a row it is adopted as ever; what it hands over comes to nothing. */
	scene_kill(&scene);
	harness_daemon_start(&scene.d, NULL);
	json_object_put(respawn_adopted(&s, "waiting"));
	respawn_await_event(&scene, s.id, "forked", 2);
	ck_assert_int_le(scene_count_fds(&scene), rest + MORE);
	respawn_lose_store(&scene);
	harness_daemon_start(&scene.d, NULL);
	await_stray(s.key, s.worker, "channel version 1");
	ck_assert_int_eq(kill(s.worker, 0), 0);
	scene_refused(&scene, "GET", "/v1/restores/old", NULL, ERR_NOTFOUND, "old");
	respawn_end(s.worker);
	await_no_stray(s.key, s.worker, "");
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
	stage_begin(&old, &scene, "mine", ON_DEMAND, TOUCHES);
	ck_assert_int_eq(kill(old.worker, SIGSTOP), 0);
	respawn_lose_store(&scene);
	harness_daemon_start(&scene.d, NULL);
	/* Its worker may still come: until then nobody gets its id. */
	scene_refused(&scene, "PUT", "/v1/restores/mine", "{\"snapshot\":" STAGE_SNAPSHOT "}",
		      ERR_UNREADY, "may still come back");
	/* As it is when it did not come for long. */
	map = stage_path(&old, "maps");
	ck_assert_int_eq(unlink(map), 0);
	stage_begin(&new, &scene, "mine", ON_DEMAND, TOUCHES);
	ck_assert_int_eq(kill(old.worker, SIGCONT), 0);
	await_stray(old.key, old.worker, "it does not have the page map");
	scene_vmm_go(&old.vmm);
	code = stage_end(&old);
	stage_check(&old, code == 0 && strstr(stage_printed(&old), "\"wrong\":0,"), "exit %d",
		    code);
	await_no_stray(old.key, old.worker, "");
	stage_to_the_end(&new);
	stage_fini(&old);
	scene_close(&scene);
}
END_TEST

/*
 * Root's worker does not say for which tenant: both restores are of one then, and only one of them
 * can have the id that they had in common.
 */
START_TEST(one_id_of_two_tenants)
{
	static const char *const members[] = {ON_DEMAND ",\"tenant\":\"red\"",
					      ON_DEMAND ",\"tenant\":\"blue\""};
	struct stage s[ARRAY_LEN(members)];
	size_t keyed = 0;

	scene_open(&scene);
	for (size_t i = 0; i < ARRAY_LEN(s); i++) {
		s[i] = (struct stage){.scene = &scene, .id = "mine"};
		stage_create(&s[i], STAGE_SNAPSHOT, members[i]);
		stage_start(&s[i], STAGE_IMAGE, TOUCHES);
		stage_check(&s[i], stage_hears(&s[i], "connected"), "it is not served");
	}
	respawn_lose_store(&scene);
	harness_daemon_start(&scene.d, NULL);
	ck_assert_msg(harness_wait(has_both, NULL, SCENE_MS), "they do not come back");
	for (size_t i = 0; i < ARRAY_LEN(s); i++) {
		keyed += is_known(s[i].key);
		scene_vmm_go(&s[i].vmm);
		stage_check_end(&s[i], 0);
		stage_fini(&s[i]);
	}
	ck_assert(is_known("mine"));
	ck_assert_uint_eq(keyed, 1);
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

static const struct stage *neighbour;

static int open_map(const struct stage *s, int how)
{
	cleanup_free char *path = stage_path(s, "maps");
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

/* Of a neighbour: it was ours, but not of that key. */
static int other_map(const struct stage *s)
{
	(void)s;
	return open_map(neighbour, O_RDWR);
}

static int request_of(const char *text, int seals)
{
	int fd = memfd_create("request", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define REQUEST "{\"snapshot\":" STAGE_SNAPSHOT ",\"socket\":{\"path\":\"/x\"}}"

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
	snprintf(back.reattach.key, sizeof(back.reattach.key), "%s", s->key);
	back.reattach.proof = 1;
	back.reattach.chan_version = CHAN_VERSION;
	ck_assert_int_eq(chan_send(sock, CHAN_REATTACH, &back, NULL, 0, &err), 0);
	ck_assert_int_eq(chan_send(sock, CHAN_PROOF, &proof, fds, ARRAY_LEN(fds), &err), 0);
	ck_assert_msg(recv(sock, &byte, 1, 0) <= 0, "%s: it is answered", c->what);
	await_stray(s->key, getpid(), c->why);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	close(sock);
}

START_TEST(somebody_elses_id)
{
	struct stage victim, other;
	int held;

	scene_open(&scene);
	stage_begin(&victim, &scene, "victim", ON_DEMAND, TOUCHES);
	stage_begin(&other, &scene, "other", ON_DEMAND, TOUCHES);
	neighbour = &other;
	/* Without any map nothing is read of what this process says. */
	held = open_map(&other, O_RDONLY);
	ck_assert_int_eq(kill(victim.worker, SIGSTOP), 0);
	respawn_lose_store(&scene);
	harness_daemon_start(&scene.d, NULL);
	for (size_t i = 0; i < ARRAY_LEN(claims); i++)
		claim(&victim, &claims[i]);
	close(held);
	scene_refused(&scene, "GET", "/v1/restores/victim", NULL, ERR_NOTFOUND, "victim");
	ck_assert_int_eq(kill(victim.worker, SIGCONT), 0);
	json_object_put(respawn_adopted(&victim, "serving"));
	json_object_put(respawn_adopted(&other, "serving"));
	stage_to_the_end(&victim);
	stage_to_the_end(&other);
	scene_close(&scene);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("lost-store-strays");
	TCase *tc = tcase_create("strays");

	tcase_add_test(tc, worker_of_version_1);
	tcase_add_test(tc, id_is_taken);
	tcase_add_test(tc, one_id_of_two_tenants);
	tcase_add_test(tc, somebody_elses_id);
	suite_add_tcase(suite, tc);
	return suite;
}
