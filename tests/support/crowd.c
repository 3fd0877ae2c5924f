#include "tests/support/crowd.h"

#include <check.h>
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "common/sock.h"
#include "tests/fakes/snapshot/snapgen.h"

#define MIB ((uint64_t)1 << 20)
#define CHAIN_LAYERS 100
#define SPARSE_BYTES ((off_t)1 << 40)
/* No member lives longer, whatever becomes of the test; and none waits longer for an answer. */
#define LIFE_S 300
#define ANSWER_S 10

/* ---- files ---- */

static void make_chain(const char *dir)
{
	struct snapgen_opts o = snapgen_defaults;
	struct err err;

	o.size_bytes = MIB;
	o.nlayers = CHAIN_LAYERS;
	o.run_pages = 2;
	o.image = false;
	ck_assert_msg(snapgen_write(&o, dir, &err) == 0, "%s", err.msg);
}

void crowd_open(struct crowd *c, const struct scene *s, const struct crowd_victim *victim)
{
	*c = (struct crowd){.s = s, .victim = *victim};
	c->small = scene_format("%s/theirs", s->d.dir);
	c->chain = scene_format("%s/chain", s->d.dir);
	c->sparse = scene_format("%s/sparse.mem", s->d.dir);
	scene_copy_dir(SCENE_SNAPSHOT, c->small);
	make_chain(c->chain);
	scene_write(c->sparse, "", 0);
	ck_assert_msg(truncate(c->sparse, SPARSE_BYTES) == 0, "%s", strerror(errno));
	c->deeds = mmap(NULL, CROWD_MAX * sizeof(*c->deeds), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(c->deeds != MAP_FAILED);
}

void crowd_close(struct crowd *c)
{
	munmap((void *)c->deeds, CROWD_MAX * sizeof(*c->deeds));
	free(c->small);
	free(c->chain);
	free(c->sparse);
}

/* ---- processes ---- */

static const struct crowd_member *member(size_t i)
{
	static const struct crowd_member *const lists[] = {crowd_asks, crowd_doors};

	for (size_t list = 0; list < ARRAY_LEN(lists); list++)
		for (const struct crowd_member *m = lists[list]; m->name; m++)
			if (i-- == 0)
				return m;
	return NULL;
}

static void become(const struct crowd_self *self)
{
	uid_t uid = self->uid, root = self->as->starts_vmms ? 0 : uid;

	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setresgid(self->as->gid, self->as->gid, self->as->gid), 0);
	ck_assert_int_eq(setresuid(root, uid, root), 0);
	/* After the user has changed, which ends it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(LIFE_S);
}

void crowd_step_back(void)
{
	const struct sched_param none = {0};

	ck_assert_int_eq(sched_setscheduler(0, SCHED_IDLE, &none), 0);
}

static void live(const struct crowd *c, size_t i) __attribute__((noreturn));
static void live(const struct crowd *c, size_t i)
{
	static struct crowd_self self;

	self = (struct crowd_self){.in = c,
				   .as = member(i),
				   .uid = CROWD_UID + (uid_t)i,
				   .deed = atomic_load(&c->deeds[i])};
	memset(self.held, 0xff, sizeof(self.held));
	become(&self);
	for (;;) {
		self.as->act(&self);
		crowd_step_back();
		self.deed = atomic_fetch_add(&c->deeds[i], 1) + 1;
	}
}

struct beginning {
	const struct crowd *c;
	uint64_t before[CROWD_MAX];
	size_t i; /* who has not done anything yet */
};

static bool lives(const struct crowd *c, size_t i)
{
	siginfo_t ended = {0};

	return waitid(P_PID, (id_t)c->pids[i], &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       ended.si_pid == 0;
}

static bool all_have_begun(void *arg)
{
	struct beginning *b = arg;

	while (member(b->i) && atomic_load(&b->c->deeds[b->i]) > b->before[b->i])
		b->i++;
	return !member(b->i) || !lives(b->c, b->i);
}

void crowd_begin(struct crowd *c)
{
	struct beginning b = {.c = c};

	for (size_t i = 0; member(i); i++) {
		ck_assert_uint_lt(i, CROWD_MAX);
		b.before[i] = atomic_load(&c->deeds[i]);
		c->pids[i] = fork();
		ck_assert_msg(c->pids[i] >= 0, "fork: %s", strerror(errno));
		if (c->pids[i] == 0)
			live(c, i);
	}
	ck_assert_msg(harness_wait(all_have_begun, &b, SCENE_MS) && !member(b.i),
		      "of the crowd \"%s\" does nothing, or has ended", member(b.i)->name);
}

static const char *const live_states[] = {"waiting", "serving", "recovering", "failed"};

static void stop_all(const struct crowd *c, const char *tenant, const char *state)
{
	cleanup_free char *target = scene_format("/v1/restores?limit=1000&tenant=%s&state=%s",
						 tenant, state);
	cleanup_json struct json_object *o = scene_ask(c->s, 200, "GET", target, NULL);
	struct json_object *items = scene_member(o, "items");

	for (size_t i = 0; i < json_object_array_length(items); i++) {
		const char *id = scene_text(json_object_array_get_idx(items, i), "id");
		cleanup_free char *restore = scene_format("/v1/restores/%s?kill=true&tenant=%s", id,
							  tenant);
		struct harness_reply r;

		/* It may be ending by itself, and then have failed. */
		harness_http(c->s->d.socket, "DELETE", restore, NULL, &r);
		harness_reply_fini(&r);
	}
}

static bool nothing_is_left(void *arg)
{
	static const char *const tenants[] = {"hostile", "greedy"};
	const struct crowd *c = arg;
	uint64_t workers = 0;

	for (size_t i = 0; i < ARRAY_LEN(tenants); i++) {
		cleanup_free char *target = scene_format("/v1/tenants/%s", tenants[i]);
		cleanup_json struct json_object *o = scene_ask(c->s, 200, "GET", target, NULL);

		for (size_t k = 0; k < ARRAY_LEN(live_states); k++)
			stop_all(c, tenants[i], live_states[k]);
		workers += scene_number(o, "usage.workers.used");
	}
	return workers == 0;
}

void crowd_end(struct crowd *c)
{
	for (size_t i = 0; member(i); i++)
		ck_assert_msg(lives(c, i), "of the crowd \"%s\" has ended", member(i)->name);
	for (size_t i = 0; member(i); i++)
		ck_assert_int_eq(kill(c->pids[i], SIGKILL), 0);
	for (size_t i = 0; member(i); i++)
		ck_assert_int_eq(waitpid(c->pids[i], NULL, 0), c->pids[i]);
	ck_assert_msg(harness_wait(nothing_is_left, c, SCENE_MS), "the crowd's workers stay");
}

uint64_t crowd_deeds(const struct crowd *c)
{
	uint64_t sum = 0;

	for (size_t i = 0; member(i); i++)
		sum += atomic_load(&c->deeds[i]);
	return sum;
}

/* ---- connections ---- */

int crowd_dial(const struct crowd_self *self, const char *path, int type)
{
	const struct timeval patience = {.tv_sec = ANSWER_S};
	struct err err;
	int fd;

	(void)self;
	if (sock_connect(path, type, &fd, &err))
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return fd;
}

int crowd_say(const struct crowd_self *self, const char *text, size_t len)
{
	int fd = crowd_dial(self, self->in->s->d.socket, SOCK_STREAM);

	if (fd >= 0)
		(void)!send(fd, text, len, MSG_NOSIGNAL);
	return fd;
}

void crowd_keep(struct crowd_self *self, int fd)
{
	int *place = &self->held[self->at++ % CROWD_HELD];

	close_fd(place);
	*place = fd;
}

int crowd_ask(const struct crowd_self *self, const char *method, const char *target,
	      const char *body)
{
	cleanup_free char *text = scene_format("%s %s HTTP/1.1\r\nHost: u\r\nConnection: close\r\n"
					       "Content-Length: %zu\r\n\r\n%s",
					       method, target, body ? strlen(body) : 0,
					       body ? body : "");
	cleanup_fd int fd = crowd_say(self, text, strlen(text));
	char head[4096] = "", rest[4096];
	int status = 0;

	if (fd < 0 || recv(fd, head, sizeof(head) - 1, 0) <= 0 ||
	    sscanf(head, "HTTP/1.1 %d", &status) != 1)
		return 0;
	while (recv(fd, rest, sizeof(rest), 0) > 0)
		;
	return status;
}

void crowd_refused(const struct crowd_self *self, const char *method, const char *target,
		   const char *body, int status)
{
	int got = crowd_ask(self, method, target, body);

	ck_assert_msg(got == status || got == 0 || got == 429 || got == 503,
		      "%s: %s %s: %d, not %d", self->as->name, method, target, got, status);
}
