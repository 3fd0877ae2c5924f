/* test_adopt - the next supervisor: upgrades, strangers, damaged page maps */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "common/chan.h"
#include "common/pagemap.h"
#include "common/sock.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/support/stage.h"

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define TOUCHES "--hold-before --threads 4 --order rand --write 20"
#define KILLED (128 + SIGKILL)

static struct scene scene;

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
	stage_check(s, stage_look_up_worker(s) != before, "it has the old worker");
}

/* A guest that touches and gives back all the time lives through all of it. */
START_TEST(upgrade_and_back)
{
	const struct respawn next = {.program = NEXT, .worker = NEXT_WORKER};
	const struct respawn back = {.worker = TEST_BUILD "/worker/uffdd-worker"};
	struct stage busy, waiting, *both[] = {&busy, &waiting};
	int code;

	scene_open(&scene);
	stage_begin(&waiting, &scene, "waiting", ON_DEMAND ",\"connect_timeout\":\"30s\"", NULL);
	stage_begin(&busy, &scene, "busy", ON_DEMAND,
		    "--threads 4 --write 20 --events all --balloon 3600");
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
	stage_start(&waiting, STAGE_IMAGE, TOUCHES);
	json_object_put(stage_await(&waiting, "serving"));
	move(&busy, 2);
	check_worker(&busy, 0, 2, "/worker/uffdd-worker");
	code = stage_end(&busy);
	stage_check(&busy, code == 0 && strstr(stage_printed(&busy), "\"wrong\":0,"), "exit %d",
		    code);
	json_object_put(stage_ended(&busy, "vmm-exited"));
	stage_fini(&busy);
	stage_to_the_end(&waiting);
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
	const char *key; /* of REATTACH; "victim": the victim's */
} strangers[] = {
	{"one byte", 0, 0, 1, ""},
	{"zeros", 0, 0, 104, ""},
	{"too much", 0x41414141, 0x41414141, 4096, ""},
	{"HELLO", CHAN_HELLO, CHAN_VERSION, 48, ""},
	{"CONNECTED", CHAN_CONNECTED, CHAN_VERSION, 40, ""},
	{"FAILED", CHAN_FAILED, CHAN_VERSION, 544, ""},
	{"REATTACH, cut short", CHAN_REATTACH, CHAN_VERSION, 100, "victim"},
	{"REATTACH, too old", CHAN_REATTACH, 0, REATTACH_BYTES, "victim"},
	{"REATTACH, no key", CHAN_REATTACH, CHAN_VERSION, REATTACH_BYTES, ""},
	{"REATTACH, no such key", CHAN_REATTACH, CHAN_VERSION, REATTACH_BYTES, "../../etc"},
	{"REATTACH, nobody's", CHAN_REATTACH, CHAN_VERSION, REATTACH_BYTES, "nobody"},
	{"REATTACH, the victim's", CHAN_REATTACH, CHAN_VERSION, REATTACH_BYTES, "victim"},
	{"REATTACH, of a newer release", CHAN_REATTACH, CHAN_VERSION + 1, REATTACH_BYTES + 8, "victim"},
};
/* clang-format on */

static void pretend_all(const struct stage *victim)
{
	for (size_t i = 0; i < ARRAY_LEN(strangers); i++) {
		const struct stranger *s = &strangers[i];
		char bytes[4096] = {0};
		struct chan_msg *msg = (struct chan_msg *)bytes;
		int fd = knock();

		msg->type = s->type;
		msg->version = s->version;
		if (s->type == CHAN_REATTACH) {
			snprintf(msg->reattach.key, sizeof(msg->reattach.key), "%s",
				 strcmp(s->key, "victim") == 0 ? victim->key : s->key);
			msg->reattach.pid = (uint32_t)victim->worker;
		}
		/* They may be shown out before they have spoken. */
		if (send(fd, bytes, s->len, MSG_NOSIGNAL) < 0)
			ck_assert_int_eq(errno, EPIPE);
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
	stage_begin(&s, &scene, "victim", ON_DEMAND, TOUCHES);
	worker = s.worker;
	pretend_all(&s);
	ck_assert_int_eq(stage_look_up_worker(&s), worker);
	ck_assert_int_eq(kill(worker, SIGSTOP), 0);
	scene_kill(&scene);
	harness_daemon_start(&scene.d, NULL);
	pretend_all(&s);
	/* Neither they nor those who say nothing keep it from coming back. */
	for (size_t i = 0; i < CROWD; i++)
		crowd[i] = knock();
	ck_assert_uint_eq(respawn_count_events(&scene, s.id, "adopted"), 0);
	ck_assert_int_eq(kill(worker, SIGCONT), 0);
	respawn_await_event(&scene, s.id, "adopted", 1);
	ck_assert_int_eq(stage_look_up_worker(&s), worker);
	stage_to_the_end(&s);
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
		stage_begin(&s[i], &scene, damages[i].name,
			    damages[i].hold ? ON_DEMAND ",\"on_failure\":\"hold\"" : ON_DEMAND,
			    TOUCHES);
	scene_kill(&scene);
	for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
		cleanup_free char *path = stage_path(&s[i], "maps");

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

	tcase_add_test(tc, upgrade_and_back);
	tcase_add_test(tc, strangers_are_turned_away);
	tcase_add_test(tc, damaged_page_maps);
	suite_add_tcase(suite, tc);
	return suite;
}
