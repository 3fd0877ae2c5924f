/* test_adopt - the next supervisor: systemd's fd store, upgrades, strangers, damaged page maps */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/chan.h"
#include "common/pagemap.h"
#include "common/sock.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/support/stage.h"

#define SNAPSHOT "{\"dir\":\"" SCENE_SNAPSHOT "\"}"
#define IMAGE SCENE_SNAPSHOT "/" SCENE_IMAGE
#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define TOUCHES "--hold-before --threads 4 --order rand --write 20"
#define KILLED (128 + SIGKILL)

static struct scene scene;

static void begin(struct stage *s, const char *id, const char *members, const char *vmm)
{
	*s = (struct stage){.scene = &scene};
	snprintf(s->id, sizeof(s->id), "%s", id);
	stage_create(s, SNAPSHOT, members);
	if (!vmm)
		return;
	stage_start(s, IMAGE, vmm);
	json_object_put(stage_await(s, "serving"));
}

/* Its worker, by now. */
static pid_t look_up_worker(struct stage *s)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	s->worker = (pid_t)scene_number(o, "worker.pid");
	return s->worker;
}

static void go_to_the_end(struct stage *s)
{
	int code;

	scene_vmm_go(&s->vmm);
	code = stage_end(s);
	stage_check(s, code == 0 && strstr(stage_printed(s), "\"wrong\":0,"), "exit %d", code);
	look_up_worker(s);
	json_object_put(stage_ended(s, "vmm-exited"));
	stage_fini(s);
}

/* ---- the fd store ---- */

#define DEPOT_MAX 16

/* What systemd does for a service with FileDescriptorStoreMax=. */
struct depot {
	char *dir;
	int sock;
	size_t n;
	char names[DEPOT_MAX][96];
	int fds[DEPOT_MAX];
	bool ready;
};

static void depot_open(struct depot *d)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	*d = (struct depot){.dir = harness_tmpdir()};
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/notify", d->dir);
	d->sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(d->sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	setenv("NOTIFY_SOCKET", addr.sun_path, 1);
}

static void depot_close(struct depot *d)
{
	for (size_t i = 0; i < d->n; i++)
		close(d->fds[i]);
	close(d->sock);
	harness_rmtree(d->dir);
	free(d->dir);
	unsetenv("NOTIFY_SOCKET");
}

static void depot_put(struct depot *d, const char *name, int fd)
{
	ck_assert_uint_lt(d->n, DEPOT_MAX);
	snprintf(d->names[d->n], sizeof(d->names[0]), "%s", name);
	d->fds[d->n++] = fd;
}

static void depot_remove(struct depot *d, const char *name)
{
	for (size_t i = 0; i < d->n;) {
		if (strcmp(d->names[i], name) != 0) {
			i++;
			continue;
		}
		close(d->fds[i]);
		d->n--;
		d->fds[i] = d->fds[d->n];
		memcpy(d->names[i], d->names[d->n], sizeof(d->names[0]));
	}
}

static void depot_obey(struct depot *d, const char *text, int fd)
{
	char name[96] = "", rest[32] = "";

	if (sscanf(text, "FDSTORE=1\nFDNAME=%95s\n%31s", name, rest) == 2 && fd >= 0) {
		/* Else systemd would drop it as soon as its VMM ended, or worse, before. */
		ck_assert_str_eq(rest, "FDPOLL=0");
		depot_put(d, name, fd);
		return;
	}
	ck_assert_int_eq(fd, -1);
	if (sscanf(text, "FDSTOREREMOVE=1\nFDNAME=%95s", name) == 1)
		depot_remove(d, name);
	d->ready = d->ready || strcmp(text, "READY=1") == 0;
}

static void depot_read(struct depot *d)
{
	for (;;) {
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(sizeof(int))];
		} control;
		char text[512] = "";
		struct iovec iov = {text, sizeof(text) - 1};
		struct msghdr hdr = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = &control,
				     .msg_controllen = sizeof(control)};
		int fd = -1;

		if (recvmsg(d->sock, &hdr, MSG_CMSG_CLOEXEC) < 0)
			return;
		if (CMSG_FIRSTHDR(&hdr))
			memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&hdr)), sizeof(fd));
		depot_obey(d, text, fd);
	}
}

static bool depot_has(const struct depot *d, const char *name)
{
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->names[i], name) == 0)
			return true;
	return false;
}

static bool has_both(void *arg)
{
	depot_read(arg);
	return depot_has(arg, "uffd.one") && depot_has(arg, "uffd.two");
}

static bool has_none(void *arg)
{
	depot_read(arg);
	return !depot_has(arg, "uffd.one") && !depot_has(arg, "uffd.two") &&
	       !depot_has(arg, "uffd.long-ago");
}

static void respawn_with(const struct depot *d)
{
	char names[DEPOT_MAX * 97] = "";
	struct respawn r = {.fds = d->fds, .nfds = d->n, .names = names};

	for (size_t i = 0; i < d->n; i++)
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i ? ":" : "",
			 d->names[i]);
	respawn(&scene.d, &r);
}

/* Their VMMs have closed theirs: nobody else has one any more. */
START_TEST(from_the_fd_store)
{
	struct stage one, two, *both[] = {&one, &two};
	struct depot depot;

	depot_open(&depot);
	scene_open(&scene);
	begin(&one, "one", ON_DEMAND, TOUCHES " --no-keep --remove 10");
	begin(&two, "two", NULL, TOUCHES " --no-keep");
	ck_assert(harness_wait(has_both, &depot, SCENE_MS));
	ck_assert_msg(depot.ready, "READY=1 was not said");
	ck_assert_uint_eq(depot.n, 2);
	ck_assert_int_eq(kill(two.worker, SIGSTOP), 0);
	scene_kill(&scene);
	respawn_end(one.worker);
	/* Of one that is long forgotten, and something that is none of ours. */
	depot_put(&depot, "uffd.long-ago", memfd_create("long-ago", MFD_CLOEXEC));
	depot_put(&depot, "stored", memfd_create("stored", MFD_CLOEXEC));
	respawn_with(&depot);
	/* This one was waited for, and does not come. */
	kill(two.worker, SIGKILL);
	respawn_await_end(two.worker);
	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		cleanup_json struct json_object *o = NULL;

		respawn_await_event(&scene, both[i]->id, "recovered", 1);
		o = stage_await(both[i], "serving");
		ck_assert_uint_eq(scene_number(o, "worker.restarts"), 1);
		ck_assert_uint_eq(respawn_count_events(&scene, both[i]->id, "worker-died"), 1);
	}
	go_to_the_end(&one);
	go_to_the_end(&two);
	ck_assert_msg(harness_wait(has_none, &depot, SCENE_MS), "systemd still holds a uffd");
	ck_assert_uint_eq(depot.n, 1);
	scene_stop(&scene);
	harness_rmtree(scene.d.dir);
	free(scene.config_text);
	depot_close(&depot);
}
END_TEST

/* The same without a store: it cannot go on, so it must not look as if it did. */
START_TEST(without_an_fd_store)
{
	cleanup_json struct json_object *o = NULL;
	struct stage s;
	int code;

	unsetenv("NOTIFY_SOCKET");
	scene_open(&scene);
	begin(&s, "lost", ON_DEMAND, TOUCHES " --no-keep");
	scene_kill(&scene);
	respawn_end(s.worker);
	harness_daemon_start(&scene.d, NULL);
	o = stage_await(&s, "failed");
	stage_check(&s, strstr(scene_text(o, "reason"), "holds no userfaultfd"), "%s",
		    scene_text(o, "reason"));
	code = stage_end(&s);
	stage_check(&s, code == KILLED, "exit %d", code);
	respawn_await_event(&scene, s.id, "released", 1);
	stage_fini(&s);
	scene_close(&scene);
}
END_TEST

/* ---- upgrade ---- */

#define NEXT TEST_BUILD "/tests/uffdd-next"
#define NEXT_WORKER TEST_BUILD "/tests/uffdd-worker-next"

static void check_worker(struct stage *s, pid_t pid, unsigned restarts, const char *program)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);
	cleanup_free char *link = NULL;
	char exe[PATH_MAX] = "";

	s->worker = (pid_t)scene_number(o, "worker.pid");
	link = scene_format("/proc/%d/exe", (int)s->worker);
	ck_assert_int_gt(readlink(link, exe, sizeof(exe) - 1), 0);
	stage_check(s, strstr(exe, program), "its worker is %s", exe);
	stage_check(s, !pid || s->worker == pid, "worker %d, not %d", (int)s->worker, (int)pid);
	ck_assert_str_eq(scene_text(o, "worker.release"), PACKAGE_VERSION);
	ck_assert_uint_eq(scene_number(o, "worker.restarts"), restarts);
}

/* Messages of one release to the other, there and back. */
static void converse(struct stage *s)
{
	cleanup_json struct json_object *o = stage_ask(s, "POST", "/pause", NULL);

	stage_check(s, scene_flag(o, "paused"), "it is not paused");
	stage_tell(s, "POST", "/resume", NULL);
	stage_tell(s, "PUT", "/prefetch", "{\"rate_bytes_per_s\":1048576}");
}

static void move(struct stage *s, unsigned recovered)
{
	pid_t before = s->worker;

	stage_tell(s, "POST", "/restart-worker", NULL);
	respawn_await_event(&scene, s->id, "recovered", recovered);
	stage_check(s, look_up_worker(s) != before, "it has the old worker");
}

/* A guest that touches and gives back all the time lives through all of it. */
START_TEST(upgrade_and_back)
{
	const struct respawn next = {.program = NEXT, .worker = NEXT_WORKER};
	const struct respawn back = {.worker = TEST_BUILD "/worker/uffdd-worker"};
	struct stage busy, waiting, *both[] = {&busy, &waiting};
	int code;

	scene_open(&scene);
	begin(&waiting, "waiting", ON_DEMAND ",\"connect_timeout\":\"30s\"", NULL);
	begin(&busy, "busy", ON_DEMAND, "--threads 4 --write 20 --events all --balloon 3600");
	/* The next release's supervisor, this one's workers. */
	scene_kill(&scene);
	respawn(&scene.d, &next);
	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		respawn_await_event(&scene, both[i]->id, "adopted", 1);
		check_worker(both[i], both[i]->worker, 0, "/worker/uffdd-worker");
	}
	converse(&busy);
	move(&busy, 1);
	move(&waiting, 1);
	for (size_t i = 0; i < ARRAY_LEN(both); i++)
		check_worker(both[i], 0, 1, NEXT_WORKER);
	converse(&busy);
	/* And the other way round. */
	scene_kill(&scene);
	respawn(&scene.d, &back);
	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		respawn_await_event(&scene, both[i]->id, "adopted", 2);
		check_worker(both[i], both[i]->worker, 1, NEXT_WORKER);
	}
	converse(&busy);
	stage_start(&waiting, IMAGE, TOUCHES);
	json_object_put(stage_await(&waiting, "serving"));
	move(&busy, 2);
	check_worker(&busy, 0, 2, "/worker/uffdd-worker");
	code = stage_end(&busy);
	stage_check(&busy, code == 0 && strstr(stage_printed(&busy), "\"wrong\":0,"), "exit %d",
		    code);
	json_object_put(stage_ended(&busy, "vmm-exited"));
	stage_fini(&busy);
	go_to_the_end(&waiting);
	scene_close(&scene);
}
END_TEST

/* ---- strangers at workers.sock ---- */

static int knock(void)
{
	cleanup_free char *path = scene_format("%s/workers.sock", scene.d.run);
	struct err err;
	int fd;

	ck_assert_msg(sock_connect(path, SOCK_SEQPACKET, &fd, &err) == 0, "%s", err.msg);
	return fd;
}

static void check_shown_out(int fd, const char *what)
{
	char byte;

	ck_assert_msg(recv(fd, &byte, 1, 0) <= 0, "%s: it answers", what);
	close(fd);
}

#define REATTACH_BYTES (offsetof(struct chan_msg, reattach) + sizeof(struct chan_reattach))

/* clang-format off */
static const struct stranger {
	const char *what;
	uint32_t type, version;
	size_t len;
	const char *id; /* of REATTACH */
} strangers[] = {
	{"one byte", 0, 0, 1, ""},
	{"zeros", 0, 0, 104, ""},
	{"too much", 0x41414141, 0x41414141, 4096, ""},
	{"HELLO", CHAN_HELLO, CHAN_VERSION, 48, ""},
	{"CONNECTED", CHAN_CONNECTED, CHAN_VERSION, 40, ""},
	{"FAILED", CHAN_FAILED, CHAN_VERSION, 544, ""},
	{"REATTACH, cut short", CHAN_REATTACH, CHAN_VERSION, 100, "victim"},
	{"REATTACH, too old", CHAN_REATTACH, 0, REATTACH_BYTES, "victim"},
	{"REATTACH, no id", CHAN_REATTACH, CHAN_VERSION, REATTACH_BYTES, ""},
	{"REATTACH, no such id", CHAN_REATTACH, CHAN_VERSION, REATTACH_BYTES, "../../etc"},
	{"REATTACH, nobody's", CHAN_REATTACH, CHAN_VERSION, REATTACH_BYTES, "nobody"},
	{"REATTACH, the victim's", CHAN_REATTACH, CHAN_VERSION, REATTACH_BYTES, "victim"},
	{"REATTACH, of a newer release", CHAN_REATTACH, CHAN_VERSION + 1, REATTACH_BYTES + 8, "victim"},
};
/* clang-format on */

static void pretend_all(pid_t worker)
{
	for (size_t i = 0; i < ARRAY_LEN(strangers); i++) {
		const struct stranger *s = &strangers[i];
		char bytes[4096] = {0};
		struct chan_msg *msg = (struct chan_msg *)bytes;
		int fd = knock();

		msg->type = s->type;
		msg->version = s->version;
		if (s->type == CHAN_REATTACH) {
			snprintf(msg->reattach.id, sizeof(msg->reattach.id), "%s", s->id);
			msg->reattach.pid = (uint32_t)worker;
		}
		ck_assert_int_eq(send(fd, bytes, s->len, MSG_NOSIGNAL), (ssize_t)s->len);
		check_shown_out(fd, s->what);
	}
}

/* While its worker is there, and while it is looked for. */
START_TEST(strangers_are_turned_away)
{
	enum { CROWD = 300 };
	int crowd[CROWD];
	struct stage s;
	pid_t worker;

	scene_open(&scene);
	begin(&s, "victim", ON_DEMAND, TOUCHES);
	worker = s.worker;
	pretend_all(worker);
	ck_assert_int_eq(look_up_worker(&s), worker);
	ck_assert_int_eq(kill(worker, SIGSTOP), 0);
	scene_kill(&scene);
	harness_daemon_start(&scene.d, NULL);
	pretend_all(worker);
	/* Neither they nor those who say nothing keep it from coming back. */
	for (size_t i = 0; i < CROWD; i++)
		crowd[i] = knock();
	ck_assert_uint_eq(respawn_count_events(&scene, s.id, "adopted"), 0);
	ck_assert_int_eq(kill(worker, SIGCONT), 0);
	respawn_await_event(&scene, s.id, "adopted", 1);
	ck_assert_int_eq(look_up_worker(&s), worker);
	go_to_the_end(&s);
	/* Silence is not borne for ever. */
	for (size_t i = 0; i < CROWD; i++)
		check_shown_out(crowd[i], "silence");
	scene_close(&scene);
}
END_TEST

/* ---- damaged page maps ---- */

static void break_magic(const char *path)
{
	cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
}

static void break_regions(const char *path)
{
	cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(pwrite(fd, "\xff\xff\xff\xff", 4, PAGEMAP_REGIONS_OFF + 8), 4);
}

static void cut(const char *path)
{
	ck_assert_int_eq(truncate(path, 8192), 0);
}

static void lengthen(const char *path)
{
	ck_assert_int_eq(truncate(path, 1 << 20), 0);
}

static void remove_it(const char *path)
{
	ck_assert_int_eq(unlink(path), 0);
}

static const struct damage {
	const char *name;
	void (*make)(const char *path);
	const char *reason;
	bool hold;
} damages[] = {
	{"magic", break_magic, "bad magic number", false},
	{"magic-hold", break_magic, "bad magic number", true},
	{"regions", break_regions, "damaged", false},
	{"cut", cut, "page map", false},
	{"longer", lengthen, "bytes, not", false},
	{"longer-hold", lengthen, "bytes, not", true},
	{"removed", remove_it, "page states are lost", false},
};

static void check_damaged(struct stage *s, const struct damage *d)
{
	cleanup_json struct json_object *o = stage_await(s, "failed");
	int code;

	stage_check(s, strstr(scene_text(o, "reason"), d->reason), "%s", scene_text(o, "reason"));
	if (d->hold) {
		stage_refused(s, "DELETE", "", NULL, ERR_STATE);
		ck_assert(scene_vmm_lives(&s->vmm));
		stage_tell(s, "DELETE", "?kill=true", NULL);
	}
	code = stage_end(s);
	stage_check(s, code == KILLED, "exit %d", code);
	respawn_await_event(&scene, s->id, "released", 1);
	stage_fini(s);
}

START_TEST(damaged_page_maps)
{
	struct stage s[ARRAY_LEN(damages)];

	scene_open(&scene);
	for (size_t i = 0; i < ARRAY_LEN(damages); i++)
		begin(&s[i], damages[i].name,
		      damages[i].hold ? ON_DEMAND ",\"on_failure\":\"hold\"" : ON_DEMAND, TOUCHES);
	scene_kill(&scene);
	for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
		cleanup_free char *path = scene_format("%s/maps/%s", scene.d.run, s[i].id);

		respawn_end(s[i].worker);
		damages[i].make(path);
	}
	harness_daemon_start(&scene.d, NULL);
	for (size_t i = 0; i < ARRAY_LEN(damages); i++)
		check_damaged(&s[i], &damages[i]);
	scene_close(&scene);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("adopt");
	TCase *tc = tcase_create("adopt");

	tcase_add_test(tc, from_the_fd_store);
	tcase_add_test(tc, without_an_fd_store);
	tcase_add_test(tc, upgrade_and_back);
	tcase_add_test(tc, strangers_are_turned_away);
	tcase_add_test(tc, damaged_page_maps);
	suite_add_tcase(suite, tc);
	return suite;
}
