/*
 * test_fd_store - systemd keeps the userfaultfds of a service with FileDescriptorStoreMax=, and
 * the next supervisor gets them back
 */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/support/stage.h"

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define TOUCHES "--hold-before --threads 4 --order rand --write 20"
#define KILLED (128 + SIGKILL)

static struct scene scene;

/* --- what systemd does --- */

#define DEPOT_MAX 16

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

/* Of the two restores; by their keys. */
static char names[2][96];

static void name(char ret[96], const struct stage *s)
{
	snprintf(ret, 96, "uffd.%s", s->key);
}

static bool has_both(void *arg)
{
	depot_read(arg);
	return depot_has(arg, names[0]) && depot_has(arg, names[1]);
}

static bool has_none(void *arg)
{
	depot_read(arg);
	return !depot_has(arg, names[0]) && !depot_has(arg, names[1]) &&
	       !depot_has(arg, "uffd.long-ago");
}

static void respawn_with(const struct depot *d)
{
	char list[DEPOT_MAX * 97] = "";
	struct respawn r = {.fds = d->fds, .nfds = d->n, .names = list};

	for (size_t i = 0; i < d->n; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ":" : "",
			 d->names[i]);
	respawn(&scene.d, &r);
}

/* --- the next supervisor --- */

/* Their VMMs have closed theirs: nobody else has one any more. */
START_TEST(from_the_fd_store)
{
	struct stage one, two, *both[] = {&one, &two};
	struct depot depot;

	depot_open(&depot);
	scene_open(&scene);
	stage_begin(&one, &scene, "one", ON_DEMAND, TOUCHES " --no-keep --remove 10");
	stage_begin(&two, &scene, "two", NULL, TOUCHES " --no-keep");
	name(names[0], &one);
	name(names[1], &two);
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
	stage_to_the_end(&one);
	stage_to_the_end(&two);
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
	stage_begin(&s, &scene, "lost", ON_DEMAND, TOUCHES " --no-keep");
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

Suite *test_suite(void)
{
	Suite *suite = suite_create("fd-store");
	TCase *tc = tcase_create("fd-store");

	tcase_add_test(tc, from_the_fd_store);
	tcase_add_test(tc, without_an_fd_store);
	suite_add_tcase(suite, tc);
	return suite;
}
