/*
 * test_freeze - descriptors whose close, or any other question, waits for who has sent them
 *
 * Whoever can give the supervisor one (a snapshot's file system, a stranger at one of its sockets, a
 * worker that was taken over) freezes neither it nor anybody else.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/sock.h"
#include "tests/fakes/disk/slowdisk.h"
#include "tests/support/lingerkit.h"
#include "tests/support/lying.h"
#include "tests/support/oldkernel.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define REQUEST "GET /healthz HTTP/1.1\r\n\r\n"

static struct scene scene;
static struct slowdisk disk;
static char *dir, *file; /* owned: the disk's, and of what is on it */
static struct stage honest;

static bool mount_disk(void)
{
	if (access("/dev/fuse", R_OK | W_OK) || !harness_private_mounts()) {
		fprintf(stderr, "not tested: no FUSE file system may be mounted here\n");
		return false;
	}
	dir = harness_tmpdir();
	file = scene_format("%s/" SLOWDISK_FILE, dir);
	ck_assert(slowdisk_mount(&disk, dir, STAGE_IMAGE, 0, 0));
	return true;
}

static void unmount_disk(void)
{
	slowdisk_end(&disk);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	free(file);
	free(dir);
}

static void open_honest(void)
{
	scene = (struct scene){0};
	scene_open(&scene);
	stage_begin(&honest, &scene, "honest", ON_DEMAND, "--hold-before");
}

/* Who else is there is answered, and gets restores; also from the next supervisor. */
static void check_alive(const char *id)
{
	struct stage s;

	scene_tell(&scene, 200, "GET", "/readyz", NULL);
	stage_begin(&s, &scene, id, ON_DEMAND, "--hold-before");
	stage_to_the_end(&s);
	stage_fini(&s);
}

static void check_all_alive(void)
{
	check_alive("during");
	scene_kill(&scene);
	harness_daemon_start(&scene.d, NULL);
	check_alive("after");
	json_object_put(stage_await(&honest, "serving"));
}

static void close_honest(void)
{
	stage_to_the_end(&honest);
	stage_fini(&honest);
	scene_close(&scene);
}

/* ---- a snapshot on a file system of the tenant's own ---- */

static void create_on_disk(struct stage *s)
{
	cleanup_free char *snapshot = scene_format("{\"memory\":[\"%s\"]}", file);

	*s = (struct stage){.scene = &scene, .id = "evil"};
	stage_create(s, snapshot, ON_DEMAND);
}

/* Its worker cannot even die: in the kernel it waits until the file is closed. */
START_TEST(test_files_cannot_be_closed)
{
	struct stage evil;

	if (!mount_disk())
		return;
	open_honest();
	create_on_disk(&evil);
	slowdisk_mute(&disk, false);
	ck_assert_int_eq(kill(evil.worker, SIGKILL), 0);
	slowdisk_await(&disk);
	check_all_alive();
	slowdisk_go(&disk);
	stage_tell(&evil, "DELETE", "?kill=true", NULL);
	stage_fini(&evil);
	close_honest();
	unmount_disk();
}
END_TEST

static int ask_for_restore(void)
{
	cleanup_free char *path = scene_format("%s/control.sock", scene.d.run);
	cleanup_free char *body = scene_format("{\"snapshot\":{\"memory\":[\"%s\"]}}", file);
	cleanup_free char *text = scene_format("PUT /v1/restores/evil HTTP/1.1\r\n"
					       "Content-Length: %zu\r\n\r\n%s",
					       strlen(body), body);
	struct err err = {.msg = ""};
	int fd;

	ck_assert_msg(sock_connect(path, SOCK_STREAM, &fd, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	return fd;
}

START_TEST(test_files_cannot_be_opened)
{
	cleanup_free char *answer = NULL;
	int fd;

	if (!mount_disk())
		return;
	open_honest();
	slowdisk_mute(&disk, false);
	fd = ask_for_restore();
	slowdisk_await(&disk);
	check_alive("during");
	slowdisk_go(&disk);
	answer = scene_hear(fd, "\r\n\r\n");
	ck_assert_msg(strstr(answer, "201"), "%s", answer);
	close(fd);
	scene_delete(&scene, "evil", "");
	close_honest();
	unmount_disk();
}
END_TEST

static bool is_taken(void *arg)
{
	struct harness_reply r;
	bool taken;

	harness_http(scene.d.socket, "PUT", "/v1/restores/next", arg, &r);
	taken = r.status == 201;
	ck_assert_msg(taken || r.status == 429, "%d: %s", r.status, r.body);
	harness_reply_fini(&r);
	return taken;
}

/* The budget counts a worker that waits there also after the daemon was killed. */
START_TEST(test_budget_after_restart)
{
	cleanup_free char *body = scene_body(SCENE_SNAPSHOT, NULL);
	int fd;

	if (!mount_disk())
		return;
	scene = (struct scene){.config = "\"workers_per_tenant\":1"};
	scene_open(&scene);
	slowdisk_mute(&disk, false);
	fd = ask_for_restore();
	slowdisk_await(&disk);
	scene_kill(&scene);
	close(fd);
	harness_daemon_start(&scene.d, NULL);
	for (int i = 0; i < 2; i++)
		scene_refused(&scene, "PUT", "/v1/restores/next", body, ERR_QUOTA,
			      "all of its budget of 1 workers");
	slowdisk_go(&disk);
	ck_assert(harness_wait(is_taken, body, SCENE_MS));
	scene_delete(&scene, "next", "");
	scene_close(&scene);
	unmount_disk();
}
END_TEST

/* A worker that comes back without a row is counted with its restore, and not twice. */
START_TEST(test_budget_after_return)
{
	struct stage next;

	scene = (struct scene){.config = "\"workers_per_tenant\":2"};
	scene_open(&scene);
	stage_begin(&honest, &scene, "honest", ON_DEMAND, "--hold-before");
	respawn_lose_store(&scene);
	harness_daemon_start(&scene.d, NULL);
	respawn_await_event(&scene, "honest", "adopted", 1);
	stage_begin(&next, &scene, "next", ON_DEMAND, "--hold-before");
	stage_to_the_end(&next);
	stage_fini(&next);
	close_honest();
}
END_TEST

/* ---- strangers ---- */

/* Of the restore that waits. */
static char waiting_socket[PROTO_SUN_MAX + 1];

/* @name: in the run directory; NULL: that of the restore that waits. */
static int dial(const char *name, int type)
{
	cleanup_free char *path = name ? scene_format("%s/%s", scene.d.run, name)
				       : strdup(waiting_socket);
	struct err err = {.msg = ""};
	int fd;

	ck_assert_msg(sock_connect(path, type, &fd, &err) == 0, "%s", err.msg);
	return fd;
}

/* A restore that waits for its VMM: the third socket. */
static void begin_waiting(struct stage *s)
{
	*s = (struct stage){.scene = &scene, .id = "waiting"};
	stage_create(s, STAGE_SNAPSHOT, ON_DEMAND);
	memcpy(waiting_socket, s->socket, sizeof(waiting_socket));
}

/* clang-format off */
static const struct {
	const char *socket; /* see dial() */
	int type;
	bool old_kernel;
	size_t often; /* a restore fails by the first */
} doors[] = {
	{"control.sock", SOCK_STREAM,    false, 3},
	{"control.sock", SOCK_STREAM,    true,  3},
	{"workers.sock", SOCK_SEQPACKET, false, 3},
	{NULL,           SOCK_STREAM,    false, 1},
};
/* clang-format on */

/*
 * By a process of its own, which may be killed for it as a VMM that misbehaves. It sends the only
 * descriptor that is left, and is gone before the daemon takes it: else its own close would be the
 * last one, which waits.
 */
static void attack(size_t door, struct linger_end *l)
{
	int go[2];
	pid_t pid;

	lingerkit_open(l);
	ck_assert_int_eq(pipe2(go, O_CLOEXEC), 0);
	ck_assert_int_eq(kill(scene.d.pid, SIGSTOP), 0);
	pid = fork();
	if (pid == 0) {
		int fd = dial(doors[door].socket, doors[door].type);
		char c;

		close(go[1]);
		_exit(read(go[0], &c, 1) || (lingerkit_send(l, fd, REQUEST, strlen(REQUEST)) < 0 &&
					     errno != EPERM && errno != EPIPE));
	}
	close_fd(&l->fd);
	close(go[0]);
	close(go[1]);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(kill(scene.d.pid, SIGCONT), 0);
}

/*
 * Its own worker may hang in such a close, until it is killed: 200 if that was within the time of the
 * answer, else 409, and it goes on.
 */
static void stop_waiting(void)
{
	struct harness_reply r;

	harness_http(scene.d.socket, "DELETE", "/v1/restores/waiting?kill=true", NULL, &r);
	ck_assert_msg(r.status == 200 || r.status == 409, "%d: %s", r.status, r.body);
	harness_reply_fini(&r);
}

/* A socket that lingers, with unsent data. Its sender hangs up at once. */
START_TEST(test_socket_that_lingers)
{
	struct linger_end ends[3];
	struct stage waiting;

	if (doors[_i].old_kernel)
		oldkernel_without_passrights();
	open_honest();
	begin_waiting(&waiting);
	for (size_t i = 0; i < doors[_i].often; i++)
		attack((size_t)_i, &ends[i]);
	check_alive("before");
	/* Nobody but the supervisor has what still lies in the sockets. */
	stop_waiting();
	check_alive("meanwhile");
	check_all_alive();
	for (size_t i = 0; i < doors[_i].often; i++)
		lingerkit_close(&ends[i]);
	stage_fini(&waiting);
	close_honest();
}
END_TEST

/* Opens the file, and on a word sends it, again and again. Never closes it. */
static void run_sender(size_t door, int test) __attribute__((noreturn));
static void run_sender(size_t door, int test)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)REQUEST, .iov_len = strlen(REQUEST)};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
	int with = open(file, O_RDONLY | O_CLOEXEC);
	char c;

	if (with < 0 || write(test, "o", 1) != 1 || read(test, &c, 1) != 1)
		_exit(1);
	for (size_t i = 0; i < doors[door].often; i++) {
		int fd = dial(doors[door].socket, doors[door].type);

		if (io_send(fd, &hdr, &with, 1, MSG_NOSIGNAL) < 0 && errno != EPERM &&
		    errno != EPIPE)
			_exit(1);
		close(fd);
	}
	if (write(test, "s", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void await_word(int fd, char word)
{
	char c = 0;

	ck_assert(read(fd, &c, 1) == 1 && c == word);
}

/* A file that cannot be closed, nor does it answer anything else. */
START_TEST(test_file_that_is_silent)
{
	int pair[2];
	pid_t pid;

	if (!mount_disk())
		return;
	if (doors[_i].old_kernel)
		oldkernel_without_passrights();
	open_honest();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (pid == 0)
		run_sender((size_t)_i, pair[1]);
	close(pair[1]);
	await_word(pair[0], 'o');
	slowdisk_mute(&disk, true);
	ck_assert_int_eq(write(pair[0], "g", 1), 1);
	await_word(pair[0], 's');
	check_alive("during");
	slowdisk_go(&disk);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	close(pair[0]);
	close_honest();
	unmount_disk();
}
END_TEST

/* ---- a worker that was taken over ---- */

static const struct {
	const char *word;
	int phase;
} lies[] = {
	{"READY-file", LYING_CREATING},    {"PEER-file", LYING_WAITING},
	{"CONNECTED-file", LYING_WAITING}, {"CONNECTED-file", LYING_SERVING},
	{"FAILED-file", LYING_SERVING},    {"WSET_MADE-file", LYING_SERVING},
};

/* It cannot end before its own copy of the file can be closed. */
static void on_lied(struct lie *l)
{
	lying_start_beside(l->in, "later");
	lying_end_beside(l->in);
	slowdisk_go(&disk);
}

START_TEST(test_worker_sends_file)
{
	struct lying lying;
	struct lie l = {.in = &lying,
			.phase = lies[_i].phase,
			.word = lies[_i].word,
			.count = 1,
			.outcome = 'f',
			.id = "lie",
			.lied = on_lied};

	if (!mount_disk())
		return;
	setenv("LIAR_FILE", file, 1);
	lying_open(&lying);
	slowdisk_mute(&disk, true);
	lie_run(&l);
	slowdisk_go(&disk);
	stage_over(&lying.scene);
	lying_close(&lying);
	unmount_disk();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("freeze");
	TCase *tc = tcase_create("files");

	tcase_add_test(tc, test_files_cannot_be_closed);
	tcase_add_test(tc, test_files_cannot_be_opened);
	tcase_add_test(tc, test_budget_after_restart);
	tcase_add_test(tc, test_budget_after_return);
	suite_add_tcase(suite, tc);
	tc = tcase_create("strangers");
	tcase_add_loop_test(tc, test_socket_that_lingers, 0, ARRAY_LEN(doors));
	/* At the UFFD socket it is the worker that has to wait. */
	tcase_add_loop_test(tc, test_file_that_is_silent, 0, ARRAY_LEN(doors) - 1);
	suite_add_tcase(suite, tc);
	tc = tcase_create("worker");
	tcase_add_loop_test(tc, test_worker_sends_file, 0, ARRAY_LEN(lies));
	suite_add_tcase(suite, tc);
	return suite;
}
