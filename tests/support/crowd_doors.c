/* crowd_doors - what a hostile crowd does at workers.sock and UFFD sockets, and as VMMs */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tests/support/crowd.h"
#include "tests/support/lingerkit.h"

#define RESTORES "/v1/restores/"
#define DIALS 8

/* ---- workers.sock ---- */

static int dial_workers(struct crowd_self *self)
{
	cleanup_free char *path = scene_format("%s/workers.sock", self->in->s->d.run);
	int fd = crowd_dial(self, path, SOCK_SEQPACKET);

	crowd_keep(self, fd);
	return fd;
}

static void flood_workers(struct crowd_self *self)
{
	char junk[512];

	memset(junk, 'u', sizeof(junk));
	for (int i = 0; i < DIALS; i++) {
		int fd = dial_workers(self);

		if (fd >= 0)
			(void)!send(fd, junk, sizeof(junk), MSG_NOSIGNAL | MSG_DONTWAIT);
	}
}

/* A descriptor whose last close waits until we let it go. */
static void pass_to_workers(struct crowd_self *self)
{
	struct linger_end end;
	int fd = dial_workers(self);

	lingerkit_open(&end);
	if (fd >= 0)
		(void)lingerkit_send(&end, fd, "u", 1);
	crowd_keep(self, -1);
	lingerkit_close(&end);
}

/* ---- UFFD sockets ---- */

/* Without waiting where many wait. */
static void come_and_go(struct crowd_self *self, const char *path, bool allowed)
{
	int fd = crowd_dial(self, path, SOCK_STREAM | SOCK_NONBLOCK);

	ck_assert_msg(allowed || fd < 0, "%s: may connect to %s", self->as->name, path);
	if (fd >= 0)
		(void)!send(fd, "[", 1, MSG_NOSIGNAL);
	crowd_keep(self, fd);
}

/* To the victim's: one of them lets everybody connect, and its worker nobody but the VMM. */
static void come_to_others(struct crowd_self *self)
{
	for (int i = 0; i < DIALS; i++) {
		come_and_go(self, self->in->victim.shut_socket, false);
		come_and_go(self, self->in->victim.open_socket, true);
	}
}

static char *new_name(const struct crowd_self *self)
{
	return scene_format("%s-%llu", self->as->name, (unsigned long long)self->deed);
}

/* The path of its socket, owned by the caller; NULL: it could not be created. */
static char *create(const struct crowd_self *self, const char *id, const char *more)
{
	cleanup_free char *target = scene_format(RESTORES "%s", id);
	cleanup_free char *body = scene_body(self->in->small, more);
	cleanup_json struct json_object *o = NULL;
	struct harness_reply r;
	struct err err;
	char *path = NULL;

	if (harness_http(self->in->s->d.socket, "PUT", target, body, &r) == 201) {
		o = js_parse(r.body, r.len, false, &err);
		ck_assert_msg(o != NULL, "%s", r.body);
		path = strdup(scene_text(o, "socket.path"));
	}
	harness_reply_fini(&r);
	return path;
}

static void stop(const struct crowd_self *self, const char *id)
{
	cleanup_free char *target = scene_format(RESTORES "%s?kill=true", id);

	(void)crowd_ask(self, "DELETE", target, NULL);
}

static void come_to_own(struct crowd_self *self)
{
	cleanup_free char *id = new_name(self);
	cleanup_free char *path = create(self, id, NULL);

	for (int i = 0; path && i < CROWD_HELD; i++)
		come_and_go(self, path, true);
	stop(self, id);
}

/* ---- VMMs ---- */

/* As root, until it connects. */
static void start_vmm(struct crowd_self *self, const char *path, const char *way)
{
	cleanup_free char *args = scene_format("--uid %d --hostile %s", (int)self->uid, way);
	cleanup_free char *image = scene_format("%s/" SCENE_IMAGE, self->in->small);

	ck_assert_int_eq(seteuid(0), 0);
	crowd_step_back();
	scene_vmm_start_at(&self->vmm, path, image, args);
	ck_assert_int_eq(seteuid(self->uid), 0);
}

/* It may have been killed for what it did. */
static void end_vmm(struct crowd_self *self)
{
	ck_assert_int_eq(seteuid(0), 0);
	kill(self->vmm.pid, SIGKILL);
	(void)scene_vmm_end(&self->vmm);
	close_fd(&self->vmm.out);
	ck_assert_int_eq(seteuid(self->uid), 0);
}

/* clang-format off */
static const char *const ways[] = {
	"garbage", "not-uffd", "zero-regions", "overlap-addr", "many-fds", "die-after-send",
	"unregistered", "wrap", "no-fd", "beyond", "two-connections", "mixed-page-size", "huge",
	"overlap-off", "die-before-send", "unaligned", "bad-page-size", "slow",
};
static const char *const failures[] = {"kill", "hold", "poison"};
/* clang-format on */

/* Until it has failed, or for a moment. */
static void misbehave(struct crowd_self *self)
{
	const char *failure = failures[self->deed % ARRAY_LEN(failures)];
	cleanup_free char *more = scene_format("\"on_failure\":\"%s\"", failure);
	cleanup_free char *id = new_name(self);
	cleanup_free char *path = create(self, id, more);
	cleanup_free char *wait = scene_format(RESTORES "%s?for=failed&wait=300ms", id);

	if (!path)
		return;
	start_vmm(self, path, ways[self->deed % ARRAY_LEN(ways)]);
	(void)crowd_ask(self, "GET", wait, NULL);
	stop(self, id);
	end_vmm(self);
}

/* Failed ones are held until there is no budget for more of them. */
static void fail_and_hold(struct crowd_self *self)
{
	cleanup_free char *id = new_name(self);
	cleanup_free char *path = create(self, id, "\"on_failure\":\"hold\"");
	cleanup_free char *wait = scene_format(RESTORES "%s?for=failed&wait=300ms", id);

	if (!path)
		return;
	start_vmm(self, path, "garbage");
	(void)crowd_ask(self, "GET", wait, NULL);
	/* Its VMM lives on, until this process ends. */
	close_fd(&self->vmm.in);
	close_fd(&self->vmm.out);
}

static const struct {
	const char *method, *suffix, *body;
} orders[] = {
	{"PUT", "/prefetch", "{\"paused\":true}"},
	{"POST", "/pause", NULL},
	{"GET", "/pages", NULL},
	{"POST", "/resume", NULL},
	{"PUT", "/prefetch", "{\"paused\":false,\"rate_bytes_per_s\":1}"},
	{"GET", "", NULL},
};
#define STORM_DEEDS 300 /* then another restore */

/* A guest that does nothing but give memory back, while its restore is steered all the time. */
static void storm(struct crowd_self *self)
{
	size_t i = self->deed % ARRAY_LEN(orders);
	cleanup_free char *target = NULL, *path = NULL;

	if (!self->id) {
		self->id = new_name(self);
		path = create(self, self->id, NULL);
		if (path)
			start_vmm(self, path, "flood-remove");
	}
	target = scene_format(RESTORES "%s%s", self->id, orders[i].suffix);
	(void)crowd_ask(self, orders[i].method, target, orders[i].body);
	if (self->vmm.pid && self->deed % STORM_DEEDS)
		return;
	stop(self, self->id);
	if (self->vmm.pid)
		end_vmm(self);
	free(steal_ptr(&self->id));
}

const struct crowd_member crowd_doors[] = {
	{"floods-workers", CROWD_OUTSIDER, false, flood_workers},
	{"floods-workers-too", CROWD_HOSTILE, false, flood_workers},
	{"passes-to-workers", CROWD_OUTSIDER, false, pass_to_workers},
	{"comes", CROWD_OUTSIDER, false, come_to_others},
	{"comes-too", CROWD_HOSTILE, false, come_to_others},
	{"comes-to-own", CROWD_HOSTILE, false, come_to_own},
	{"misbehaves", CROWD_HOSTILE, true, misbehave},
	{"misbehaves-too", CROWD_HOSTILE, true, misbehave},
	{"holds", CROWD_GREEDY, true, fail_and_hold},
	{"storms", CROWD_HOSTILE, true, storm},
	{0},
};
