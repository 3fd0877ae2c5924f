/* crowd_asks - what a hostile crowd does at control.sock */
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/support/crowd.h"
#include "tests/support/lingerkit.h"

#define RESTORES "/v1/restores/"
#define BODY_BYTES ((size_t)1 << 20) /* the most that the daemon takes */
#define DIALS 8                      /* of a deed */

static int keep_saying(struct crowd_self *self, const char *text)
{
	int fd = crowd_say(self, text, strlen(text));

	crowd_keep(self, fd);
	return fd;
}

/* They say nothing, or begin and do not end. */
static void stay_silent(struct crowd_self *self)
{
	for (int i = 0; i < DIALS; i++)
		keep_saying(self, i % 2 ? "" : "GET /healthz HTT");
}

/* Lists and streams are what takes the supervisor longest. */
#define READ_NOTHING_MS 100

#define LIST "GET /v1/restores?limit=1000 HTTP/1.1\r\n\r\n"

/* They ask for all that there is, several times, and read nothing of it. */
static void read_nothing(struct crowd_self *self)
{
	static const char *const wishes[] = {
		"GET /v1/events?after=0 HTTP/1.1\r\n\r\n",
		LIST LIST,
		"GET /v1/events?follow=1 HTTP/1.1\r\n\r\n",
	};

	for (int i = 0; i < DIALS; i++)
		keep_saying(self, wishes[(size_t)i % ARRAY_LEN(wishes)]);
	poll(NULL, 0, READ_NOTHING_MS);
}

/* It is the same one each time: then it is answered with what is there. */
static void have_restore(struct crowd_self *self, const char *id, const char *more)
{
	cleanup_free char *target = scene_format(RESTORES "%s", id);
	cleanup_free char *body = scene_body(self->in->small, more);

	(void)crowd_ask(self, "PUT", target, body);
}

/* Their names are new in each time that the crowd comes: ended restores keep theirs. */
static char *new_name(const struct crowd_self *self, const char *what)
{
	return scene_format("%s-%s-%llu", self->as->name, what, (unsigned long long)self->deed);
}

static void hold_polls(struct crowd_self *self)
{
	cleanup_free char *id = new_name(self, "poll");
	cleanup_free char *wish =
		scene_format("GET " RESTORES "%s?for=ended&wait=300s HTTP/1.1\r\n\r\n", id);
	cleanup_free char *target = scene_format(RESTORES "%s", id);

	have_restore(self, id, NULL);
	for (int i = 0; i < CROWD_HELD / 2; i++)
		keep_saying(self, wish);
	(void)crowd_ask(self, "DELETE", target, NULL);
}

/* Descriptors beside a request: one that is harmless, and one whose last close waits. */
static void pass_descriptors(struct crowd_self *self)
{
	static const char request[] = "GET /healthz HTTP/1.1\r\n\r\n";
	struct iovec iov = {.iov_base = (void *)(uintptr_t)request, .iov_len = strlen(request)};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
	cleanup_fd int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int fd = keep_saying(self, "");
	struct linger_end end;

	if (fd >= 0)
		(void)io_send(fd, &hdr, &null, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	fd = keep_saying(self, request);
	lingerkit_open(&end);
	if (fd >= 0)
		(void)lingerkit_send(&end, fd, request, strlen(request));
	lingerkit_close(&end);
}

static void create_and_delete(struct crowd_self *self)
{
	cleanup_free char *id = new_name(self, "cycle");
	cleanup_free char *target = scene_format(RESTORES "%s", id);

	have_restore(self, id, NULL);
	(void)crowd_ask(self, "DELETE", target, NULL);
}

/* What is created stays, and soon no budget is left for more. */
static void create_beyond(struct crowd_self *self)
{
	cleanup_free char *id = new_name(self, "more");

	have_restore(self, id, NULL);
}

/* As large as may be, and no JSON for long; or JSON that is deeper than anybody needs. */
static void send_large_body(struct crowd_self *self)
{
	cleanup_free char *body = xcalloc(1, BODY_BYTES);
	size_t begun = self->deed % 2 ? (size_t)sprintf(body, "{\"snapshot\":{\"dir\":\"/") : 0;

	memset(body + begun, begun ? 'a' : '[', BODY_BYTES - 1 - begun);
	(void)crowd_ask(self, "PUT", RESTORES "large", body);
}

/* Whatever it asks of them, they are not there; but their names are taken. */
static void meddle(struct crowd_self *self)
{
	static const struct {
		const char *method, *path, *query, *body;
	} wishes[] = {
		{"GET", "", "", NULL},         {"GET", "", "&for=ended&wait=1s", NULL},
		{"GET", "/pages", "", NULL},   {"PUT", "/prefetch", "", "{\"paused\":true}"},
		{"POST", "/pause", "", NULL},  {"POST", "/restart-worker", "", NULL},
		{"POST", "/resume", "", NULL}, {"DELETE", "", "&kill=true", NULL},
	};
	const struct crowd_victim *v = &self->in->victim;
	const char *id = self->deed % 2 ? v->served : v->open;
	size_t i = self->deed / 2 % ARRAY_LEN(wishes);
	cleanup_free char *target = scene_format(RESTORES "%s%s?tenant=honest%s", id,
						 wishes[i].path, wishes[i].query);
	cleanup_free char *taken = scene_format(RESTORES "%s", id);
	cleanup_free char *own = scene_body(self->in->small, NULL);

	crowd_refused(self, wishes[i].method, target, wishes[i].body, 404);
	/* A restore of its own of that id is its own affair. */
	(void)crowd_ask(self, "PUT", taken, own);
	(void)crowd_ask(self, "DELETE", taken, NULL);
}

/* More memory than there may be, and more layers than its budget is; or as many as that. */
static void create_bad_ones(struct crowd_self *self)
{
	cleanup_free char *id = new_name(self, "bad");
	cleanup_free char *target = scene_format(RESTORES "%s", id);
	cleanup_free char *sparse = scene_format("{\"snapshot\":{\"memory\":[\"%s\"]}}",
						 self->in->sparse);
	cleanup_free char *chain = scene_body(self->in->chain, NULL);

	(void)crowd_ask(self, "PUT", target, sparse);
	(void)crowd_ask(self, "PUT", target, chain);
	(void)crowd_ask(self, "DELETE", target, NULL);
}

/* Who belongs to no tenant is told so. */
static void knock(struct crowd_self *self)
{
	cleanup_free char *served = scene_format(RESTORES "%s", self->in->victim.served);

	crowd_refused(self, "GET", served, NULL, 403);
	crowd_refused(self, "DELETE", served, NULL, 403);
	crowd_refused(self, "GET", "/v1/restores", NULL, 403);
	crowd_refused(self, "GET", "/v1/status", NULL, 403);
}

const struct crowd_member crowd_asks[] = {
	{"silent", CROWD_HOSTILE, false, stay_silent},
	{"silent-too", CROWD_OUTSIDER, false, stay_silent},
	{"silent-three", CROWD_OUTSIDER, false, stay_silent},
	{"silent-four", CROWD_OUTSIDER, false, stay_silent},
	{"reads-nothing", CROWD_HOSTILE, false, read_nothing},
	{"polls", CROWD_HOSTILE, false, hold_polls},
	{"passes", CROWD_OUTSIDER, false, pass_descriptors},
	{"passes-too", CROWD_HOSTILE, false, pass_descriptors},
	{"cycles", CROWD_HOSTILE, false, create_and_delete},
	{"beyond", CROWD_GREEDY, false, create_beyond},
	{"large", CROWD_HOSTILE, false, send_large_body},
	{"meddles", CROWD_HOSTILE, false, meddle},
	{"bad-snapshots", CROWD_HOSTILE, false, create_bad_ones},
	{"bad-snapshots-too", CROWD_GREEDY, false, create_bad_ones},
	{"knocks", CROWD_OUTSIDER, false, knock},
	{0},
};
