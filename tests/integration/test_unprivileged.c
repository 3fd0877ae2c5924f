/* test_unprivileged - a daemon that is nobody: what it can do, and what it says that it cannot */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/support/stage.h"
#include "tests/fakes/vmm/vmm.h"

#define NOBODY 65534
#define IMAGE SCENE_SNAPSHOT "/" SCENE_IMAGE
#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define KILLED (128 + SIGKILL)

static struct scene scene;
/* Copies where nobody can get at them: the checkout may lie in somebody's home. */
static char program[256], snapshot[256];

/* The kernel notes the effective user when a socket is connected. */
static void act_as(uid_t uid)
{
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setegid(uid), 0);
	ck_assert_int_eq(seteuid(uid), 0);
}

static void give_away(const char *path, mode_t mode)
{
	harness_rmtree(path);
	ck_assert_int_eq(mkdir(path, mode), 0);
	ck_assert_int_eq(chown(path, NOBODY, NOBODY), 0);
}

static void next_daemon(void)
{
	const struct respawn nobody = {.program = program, .uid = NOBODY};

	act_as(0);
	respawn(&scene.d, &nobody);
	act_as(NOBODY);
}

static void copy_program(const char *name, const char *to)
{
	const char *const argv[] = {"install", "-D", "-m", "755", name, to, NULL};
	struct harness_output out;

	harness_run(argv, &out);
	ck_assert_msg(out.code == 0, "%s", out.err);
	harness_output_fini(&out);
}

/* The daemon looks for its worker beside itself. */
static void make_copies(void)
{
	cleanup_free char *worker = scene_format("%s/bin/worker/uffdd-worker", scene.d.dir);
	cleanup_free char *dir = scene_format("%s/public", scene.d.dir);

	snprintf(program, sizeof(program), "%s/bin/daemon/uffdd", scene.d.dir);
	copy_program(TEST_BUILD "/daemon/uffdd", program);
	copy_program(TEST_BUILD "/worker/uffdd-worker", worker);
	scene_copy_dir(SCENE_SNAPSHOT, dir);
	snprintf(snapshot, sizeof(snapshot), "{\"dir\":\"%s\"}", dir);
}

static void open_as_nobody(void)
{
	scene.config = "\"socket_mode\":\"0666\"";
	scene_open(&scene);
	scene_kill(&scene);
	make_copies();
	give_away(scene.d.run, 0755);
	give_away(scene.d.state, 0700);
	next_daemon();
}

static void close_as_nobody(void)
{
	act_as(0);
	scene_stop(&scene);
	harness_rmtree(scene.d.dir);
	free(scene.config_text);
}

static void kill_daemon(void)
{
	act_as(0);
	scene_kill(&scene);
}

static void kill_worker(pid_t pid)
{
	act_as(0);
	respawn_end(pid);
	act_as(NOBODY);
}

/* ---- VMMs ---- */

struct guest {
	pid_t pid;
	int in, out; /* owned */
};

/*
 * The host gives no userfaultfd to nobody: it is opened by root, as a jailer might
 * hand it over, and all else is done as @uid.
 */
static int be_guest(const char *socket, uid_t uid, int in, int out)
{
	const struct vmm_opts o = {.image = IMAGE};
	const struct vmm_link link = {0};
	struct vmm *v;
	struct err err;
	char byte;

	if (seteuid(0) || vmm_create(&o, &v, &err) || setresgid(uid, uid, uid) ||
	    setresuid(uid, uid, uid) || prctl(PR_SET_DUMPABLE, 1) ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL) || vmm_connect(v, socket, &link, &err) ||
	    write(out, "c", 1) != 1)
		return 2;
	if (read(in, &byte, 1) != 1)
		return 3;
	for (uint64_t i = 0; i < v->npages; i++)
		if (memcmp(v->pages[i].addr, v->image + i * PAGE_4K, PAGE_4K) != 0)
			return 4;
	return 0;
}

static void guest_start(struct guest *g, const char *socket, uid_t uid)
{
	int in[2], out[2];
	char byte;

	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	g->pid = fork();
	if (g->pid == 0) {
		close(in[1]);
		_exit(be_guest(socket, uid, in[0], out[1]));
	}
	close(in[0]);
	close(out[1]);
	g->in = in[1];
	g->out = out[0];
	ck_assert_msg(read(g->out, &byte, 1) == 1, "the VMM does not come to connect");
}

static int guest_wait(struct guest *g)
{
	int status;

	ck_assert_int_eq(waitpid(g->pid, &status, 0), g->pid);
	close_fd(&g->in);
	close_fd(&g->out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void guest_right(struct guest *g)
{
	ck_assert_int_eq(write(g->in, "g", 1), 1);
	ck_assert_int_eq(guest_wait(g), 0);
}

static void begin(struct stage *s, struct guest *g, const char *id, const char *members, uid_t uid)
{
	*s = (struct stage){.scene = &scene};
	snprintf(s->id, sizeof(s->id), "%s", id);
	stage_create(s, snapshot, members);
	guest_start(g, s->socket, uid);
	json_object_put(stage_await(s, "serving"));
}

static pid_t worker_of(struct stage *s)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	s->worker = (pid_t)scene_number(o, "worker.pid");
	return s->worker;
}

/* ---- what works ---- */

/* Its own user's VMMs have all of it, but for what the kernel refuses. */
START_TEST(serves_its_own_user)
{
	struct guest g;
	struct stage s;

	open_as_nobody();
	begin(&s, &g, "own", ON_DEMAND, NOBODY);
	kill_worker(s.worker);
	respawn_await_event(&scene, s.id, "recovered", 1);
	kill_daemon();
	next_daemon();
	respawn_await_event(&scene, s.id, "adopted", 1);
	kill_worker(worker_of(&s));
	respawn_await_event(&scene, s.id, "recovered", 2);
	/* One that may be traced by its own user gives its uffd. */
	worker_of(&s);
	kill_daemon();
	kill_worker(s.worker);
	next_daemon();
	respawn_await_event(&scene, s.id, "recovered", 3);
	guest_right(&g);
	worker_of(&s);
	json_object_put(stage_ended(&s, "vmm-exited"));
	close_as_nobody();
}
END_TEST

START_TEST(kills_its_own_user)
{
	struct guest g;
	struct stage s;

	open_as_nobody();
	begin(&s, &g, "killed", ON_DEMAND, NOBODY);
	stage_tell(&s, "DELETE", "?kill=true", NULL);
	ck_assert_int_eq(guest_wait(&g), KILLED);
	json_object_put(stage_ended(&s, "killed"));
	close_as_nobody();
}
END_TEST

/* ---- what does not ---- */

START_TEST(refuses_other_users)
{
	/* clang-format off */
	static const char *const wanted[] = {
		"unprivileged, as uid 65534", "uid 0", "run it as root",
	};
	/* clang-format on */

	cleanup_free char *body = NULL;

	open_as_nobody();
	act_as(0);
	body = scene_format("{\"snapshot\":%s}", snapshot);
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		scene_refused(&scene, "PUT", "/v1/restores/roots", body, ERR_DENIED, wanted[i]);
	close_as_nobody();
}
END_TEST

/* Another user's VMM is served, but neither looked into nor killed: that is said. */
START_TEST(says_what_it_cannot)
{
	struct json_object *o;
	struct guest g;
	struct stage s;

	open_as_nobody();
	begin(&s, &g, "strange", ON_DEMAND ",\"peer\":{\"uid\":0}", 0);
	stage_refused(&s, "DELETE", "?kill=true", NULL, ERR_DENIED);
	kill_daemon();
	respawn_end(s.worker);
	next_daemon();
	o = stage_await(&s, "failed");
	ck_assert_msg(strstr(scene_text(o, "reason"), "CAP_SYS_PTRACE"), "%s",
		      scene_text(o, "reason"));
	json_object_put(o);
	respawn_await_event(&scene, s.id, "kill-failed", 1);
	ck_assert_int_eq(waitpid(g.pid, NULL, WNOHANG), 0);
	act_as(0);
	ck_assert_int_eq(kill(g.pid, SIGKILL), 0);
	ck_assert_int_eq(guest_wait(&g), KILLED);
	act_as(NOBODY);
	respawn_await_event(&scene, s.id, "released", 1);
	close_as_nobody();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite;
	TCase *tc;

	if (geteuid() != 0) {
		puts("1..0 # SKIP needs root, to be somebody else");
		return NULL;
	}
	suite = suite_create("unprivileged");
	tc = tcase_create("unprivileged");
	tcase_add_test(tc, serves_its_own_user);
	tcase_add_test(tc, kills_its_own_user);
	tcase_add_test(tc, refuses_other_users);
	tcase_add_test(tc, says_what_it_cannot);
	suite_add_tcase(suite, tc);
	return suite;
}
