/*
 * test_descriptors - 200 restores of 200 layers in 1,024 descriptors, and what happens
 * where there are too few: nobody who serves suffers
 */
#include <config.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "common/chan.h"
#include "daemon/worker_user.h"
#include "tests/support/fds.h"
#include "tests/support/killing.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/fakes/snapshot/snapgen.h"
#include "tests/support/stage.h"

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define TOUCHES "--hold-before --threads 2 --order rand --write 20 --timeout 120"
#define MIB ((uint64_t)1 << 20)

static struct scene scene;

static void begin(struct stage *s, const char *id, const char *dir)
{
	cleanup_free char *snapshot = scene_format("{\"dir\":\"%s\"}", dir);
	cleanup_free char *image = scene_format("%s/" SCENE_IMAGE, dir);

	*s = (struct stage){.scene = &scene};
	snprintf(s->id, sizeof(s->id), "%s", id);
	stage_create(s, snapshot, ON_DEMAND ",\"connect_timeout\":\"10m\"");
	stage_start(s, image, TOUCHES);
}

static void begin_all(struct stage *s, size_t n, const char *dir)
{
	for (size_t i = 0; i < n; i++) {
		cleanup_free char *id = scene_format("r-%zu", i);

		begin(&s[i], id, dir);
	}
	for (size_t i = 0; i < n; i++)
		json_object_put(stage_await(&s[i], "serving"));
}

/* All of their bytes are right, and they end. */
static void end_all(struct stage *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		scene_vmm_go(&s[i].vmm);
	for (size_t i = 0; i < n; i++) {
		int code = stage_end(&s[i]);

		stage_check(&s[i], code == 0 && strstr(stage_printed(&s[i]), "\"wrong\":0,"),
			    "exit %d", code);
	}
	for (size_t i = 0; i < n; i++) {
		json_object_put(stage_ended(&s[i], "vmm-exited"));
		stage_fini(&s[i]);
	}
}

static void restart(uint64_t descriptors)
{
	const struct respawn r = {.descriptors = descriptors};

	scene_kill(&scene);
	respawn(&scene.d, &r);
}

/* A number out of GET /v1/status. */
static uint64_t status_of(const char *path)
{
	cleanup_json struct json_object *o = scene_ask(&scene, 200, "GET", "/v1/status", NULL);

	return scene_number(o, path);
}

/* --- as many as there is room for --- */

#define MANY 200
#define LAYERS 200
#define LIMIT 1024
#define MORE_MAX 60

static void make_long_chain(const char *dir)
{
	struct snapgen_opts o = snapgen_defaults;
	struct err err;

	o.size_bytes = MIB;
	o.nlayers = LAYERS;
	o.run_pages = 2;
	ck_assert_msg(snapgen_write(&o, dir, &err) == 0, "%s", err.msg);
}

/* Until there is no room: the refusal names the number that is missing, and the cure. */
static size_t fill_up(const char *dir)
{
	cleanup_free char *body = scene_body(dir, NULL);

	for (size_t n = 0; n < MORE_MAX; n++) {
		cleanup_free char *target = scene_format("/v1/restores/more-%zu", n);
		struct harness_reply r;
		int status = harness_http(scene.d.socket, "PUT", target, body, &r);

		if (status == 429) {
			scene_check_problem(&r, target, ERR_QUOTA, " are missing: ");
			scene_check_problem(&r, target, ERR_QUOTA, "LimitNOFILE=");
			harness_reply_fini(&r);
			return n;
		}
		ck_assert_msg(status == 201, "%s: %d: %s", target, status, r.body);
		harness_reply_fini(&r);
	}
	ck_abort_msg("%d more restores were created in %d descriptors", MORE_MAX, LIMIT);
	return 0;
}

static void end_more(size_t n)
{
	for (size_t i = 0; i < n; i++) {
		cleanup_free char *id = scene_format("more-%zu", i);

		scene_delete(&scene, id, "");
	}
}

START_TEST(many_restores_of_many_layers)
{
	cleanup_free char *dir = NULL;
	struct stage *s = xcalloc(MANY, sizeof(*s));
	size_t more;

	scene_open(&scene);
	dir = scene_format("%s/chain", scene.d.dir);
	make_long_chain(dir);
	restart(LIMIT);
	ck_assert_uint_eq(status_of("descriptors.limit"), LIMIT);
	begin_all(s, MANY, dir);
	ck_assert_uint_eq(status_of("restores.serving"), MANY);
	/* One is the request's own, which the status counts. */
	ck_assert_uint_le(status_of("descriptors.used"), (uint64_t)fds_count(scene.d.pid) + 1);
	ck_assert_int_lt(fds_count(scene.d.pid), LIMIT);
	more = fill_up(dir);
	end_more(more);
	/* Each of them can have a successor, and all of them another supervisor. */
	for (size_t i = 0; i < MANY; i += 10)
		respawn_end(s[i].worker);
	for (size_t i = 0; i < MANY; i += 10)
		respawn_await_event(&scene, s[i].id, "recovered", 1);
	restart(LIMIT);
	for (size_t i = 0; i < MANY; i++) {
		cleanup_json struct json_object *o = NULL;

		respawn_await_event(&scene, s[i].id, "adopted", 1);
		o = stage_await(&s[i], "serving");
		s[i].worker = (pid_t)scene_number(o, "worker.pid");
	}
	ck_assert_uint_eq(status_of("descriptors.waiting"), 0);
	end_all(s, MANY);
	free(s);
	scene_close(&scene);
}
END_TEST

/* --- fewer than before --- */

#define FEW 40
#define LOW 160

static bool some_are_back(void *arg)
{
	(void)arg;
	return status_of("descriptors.free") < 4;
}

/* Those that find no room are served all the same, and come back in their turn. */
START_TEST(lower_limit_after_a_restart)
{
	struct stage s[FEW];
	uint64_t waiting;

	scene_open(&scene);
	begin_all(s, FEW, SCENE_SNAPSHOT);
	restart(LOW);
	ck_assert(harness_wait(some_are_back, NULL, SCENE_MS));
	waiting = status_of("descriptors.waiting");
	ck_assert_uint_gt(waiting, 0);
	ck_assert_uint_lt(waiting, FEW);
	ck_assert_uint_eq(status_of("restores.serving"), FEW);
	scene_refused(&scene, "PUT", "/v1/restores/new",
		      "{\"snapshot\":{\"dir\":\"" SCENE_SNAPSHOT "\"}}", ERR_QUOTA, "are missing");
	for (size_t i = 0; i < FEW; i++)
		ck_assert_uint_eq(respawn_count_events(&scene, s[i].id, "worker-died"), 0);
	end_all(s, FEW);
	for (size_t i = 0; i < FEW; i++)
		ck_assert_uint_eq(respawn_count_events(&scene, s[i].id, "worker-died"), 0);
	ck_assert_uint_eq(status_of("descriptors.waiting"), 0);
	scene_tell(&scene, 201, "PUT", "/v1/restores/new",
		   "{\"snapshot\":{\"dir\":\"" SCENE_SNAPSHOT "\"}}");
	scene_delete(&scene, "new", "");
	scene_close(&scene);
}
END_TEST

/* --- none at all --- */

static void set_limit(rlim_t n)
{
	struct rlimit l;

	ck_assert_int_eq(prlimit(scene.d.pid, RLIMIT_NOFILE, NULL, &l), 0);
	l.rlim_cur = n;
	ck_assert_int_eq(prlimit(scene.d.pid, RLIMIT_NOFILE, &l, NULL), 0);
}

static bool has_told(void *arg)
{
	cleanup_free char *log = harness_daemon_log(&scene.d);

	return strstr(log, arg) != NULL;
}

static bool is_stopped(void *arg)
{
	const struct stage *s = arg;
	cleanup_free char *path = scene_format("/proc/%d/stat", (int)s->worker);
	cleanup_file FILE *f = fopen(path, "re");
	char state = 0;

	return f && fscanf(f, "%*d (%*[^)]) %c", &state) == 1 && state == 'T';
}

static bool has_a_peer(void *arg)
{
	return scene_count_fds(&scene) > *(int *)arg;
}

/* What a worker says then is lost, the uffd with it; it is not ended, and says it once more. */
START_TEST(a_message_finds_no_room)
{
	struct stage s = {.scene = &scene, .id = "no-room"};
	int before;

	scene_open(&scene);
	stage_create(&s, "{\"dir\":\"" SCENE_SNAPSHOT "\"}", ON_DEMAND);
	ck_assert_int_eq(kill(s.worker, SIGSTOP), 0);
	ck_assert(harness_wait(is_stopped, &s, SCENE_MS));
	before = scene_count_fds(&scene);
	stage_start(&s, SCENE_SNAPSHOT "/" SCENE_IMAGE, TOUCHES);
	ck_assert(harness_wait(has_a_peer, &before, SCENE_MS));
	set_limit(8);
	ck_assert_int_eq(kill(s.worker, SIGCONT), 0);
	ck_assert(harness_wait(has_told, (char[]){"has to say all of it again"}, SCENE_MS));
	set_limit(1024);
	respawn_await_event(&scene, s.id, "adopted", 1);
	json_object_put(stage_await(&s, "serving"));
	ck_assert_uint_eq(respawn_count_events(&scene, s.id, "worker-died"), 0);
	end_all(&s, 1);
	scene_close(&scene);
}
END_TEST

#define ENOUGH 64 /* for a worker of this snapshot */

/*
 * In a process of the worker's user, which root's worker has for its own: by users the kernel counts
 * what is on its way, and decides who may change limits.
 */
static void as_the_worker(bool (*deed)(const void *arg), const void *arg)
{
	struct worker_user user;
	struct conf conf;
	struct err err;
	int status;
	pid_t pid;

	conf_defaults(&conf);
	ck_assert_msg(worker_user_find(&conf, &user, &err) == 0, "%s", err.msg);
	pid = fork();
	if (pid == 0) {
		if (worker_user_serves(&user, geteuid()) &&
		    (setresgid(user.gid, user.gid, user.gid) ||
		     setresuid(user.uid, user.uid, user.uid)))
			_exit(2);
		_exit(deed(arg) ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "%#x", status);
}

/* So many are on their way that the kernel lets a worker of that user send no more. */
static bool put_on_their_way(const void *arg)
{
	const int *sock = arg;
	int fds[CHAN_FDS_MAX] = {0};
	struct chan_msg msg = {0};
	struct err err;

	for (int sent = 0; sent <= ENOUGH; sent += CHAN_FDS_MAX)
		if (chan_send(*sock, CHAN_NOTE, &msg, fds, CHAN_FDS_MAX, &err))
			return false;
	return true;
}

struct limit {
	pid_t pid;
	rlim_t n; /* RLIM_INFINITY: as many as it may have */
};

static bool set_worker_limit(const void *arg)
{
	const struct limit *to = arg;
	struct rlimit l;

	if (prlimit(to->pid, RLIMIT_NOFILE, NULL, &l))
		return false;
	l.rlim_cur = to->n == RLIM_INFINITY ? l.rlim_max : to->n;
	return prlimit(to->pid, RLIMIT_NOFILE, &l, NULL) == 0;
}

static bool has_no_channel(void *arg)
{
	const struct killing *k = arg;
	cleanup_free char *path = scene_format("/proc/%d/fd/%d", (int)k->s.worker, CHAN_FD);
	char link[64] = "";

	/* The number may be somebody else's by now. */
	return readlink(path, link, sizeof(link) - 1) < 0 || strncmp(link, "socket:", 7) != 0;
}

/* Its CONNECTED cannot be sent: it says all of it again, to the same supervisor. */
START_TEST(too_many_on_their_way)
{
	struct limit limit = {.n = ENOUGH};
	struct killing k;
	struct err err;
	int pair[2];

	killing_open(&k, "on-their-way", NULL);
	killing_arm(&k, "before-connected:1:stop");
	killing_create(&k, ON_DEMAND);
	killing_look(&k);
	killing_vmm(&k, "--hold --hold-before --threads 2 --timeout 40");
	killing_await_stop(&k, k.s.worker);
	ck_assert_int_eq(chan_pair(pair, &err), 0);
	as_the_worker(put_on_their_way, &pair[0]);
	limit.pid = k.s.worker;
	as_the_worker(set_worker_limit, &limit);
	ck_assert_int_eq(kill(k.s.worker, SIGCONT), 0);
	ck_assert(harness_wait(has_no_channel, &k, SCENE_MS));
	close(pair[0]);
	close(pair[1]);
	limit.n = RLIM_INFINITY;
	as_the_worker(set_worker_limit, &limit);
	respawn_await_event(&k.scene, k.s.id, "connected", 1);
	k.tally.adopted = 1;
	killing_recovered(&k, "serving");
	scene_vmm_go(&k.s.vmm);
	killing_right(&k);
	killing_close(&k);
}
END_TEST

START_TEST(too_few_to_start)
{
	static const char *const argv[] = {"sh", "-c",
					   "ulimit -n 100; exec " TEST_BUILD
					   "/daemon/uffdd --run-dir /nowhere/run",
					   NULL};
	struct harness_output out;

	harness_run(argv, &out);
	ck_assert_int_eq(out.code, 1);
	ck_assert_msg(strstr(out.err, "100 open files are allowed, at least 128 are needed"), "%s",
		      out.err);
	harness_output_fini(&out);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("descriptors");
	TCase *tc = tcase_create("descriptors");

	tcase_add_test(tc, many_restores_of_many_layers);
	tcase_add_test(tc, lower_limit_after_a_restart);
	tcase_add_test(tc, a_message_finds_no_room);
	tcase_add_test(tc, too_many_on_their_way);
	tcase_add_test(tc, too_few_to_start);
	suite_add_tcase(suite, tc);
	return suite;
}
