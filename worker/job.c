#include "worker/job.h"

#include <config.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/chan.h"
#include "common/sock.h"
#include "worker/listener.h"
#include "worker/lockin.h"
#include "worker/loop.h"

/* Strangers may come in any number; the supervisor hears of the first ones. */
#define REFUSED_TOLD_MAX 16
#define SPEC_TEXT_MAX ((size_t)32 << 20)

struct job {
	int chan;            /* owned */
	struct spec spec;    /* owned */
	bool unlink_socket;  /* we bound it, so we remove it */
	int map_fd;          /* owned */
	struct pagemap map;  /* owned until the guest takes it */
	struct source *src;  /* owned */
	struct listener listener;
	uint64_t connect_by_us;
	bool prefetch_held;  /* the API held it before there was a VMM */
};

static int say(struct job *j, enum chan_type type, struct chan_msg *msg, const int *fds,
	       size_t nfds)
{
	struct err err;

	return chan_send(j->chan, type, msg, fds, nfds, &err);
}

static void say_failed(struct job *j, const struct err *why, bool kill)
{
	struct chan_msg msg = {0};

	msg.failed.code = why->code;
	msg.failed.sys = why->sys;
	msg.failed.kill = kill;
	snprintf(msg.failed.msg, sizeof(msg.failed.msg), "%s", why->msg);
	say(j, CHAN_FAILED, &msg, NULL, 0);
}

static void hello(struct job *j)
{
	struct chan_msg msg = {0};

	msg.hello.pid = (uint32_t)getpid();
	msg.hello.chan_version = CHAN_VERSION;
	snprintf(msg.hello.release, sizeof(msg.hello.release), "%s", PACKAGE_VERSION);
	say(j, CHAN_HELLO, &msg, NULL, 0);
}

/* One message, however long it takes; false when the supervisor is gone. */
static bool wait_message(struct job *j, struct chan_msg *msg, int fds[CHAN_FDS_MAX])
{
	struct pollfd p = {.fd = j->chan, .events = POLLIN};
	struct err err;

	for (;;) {
		switch (chan_recv(j->chan, msg, fds, &err)) {
		case CHAN_GOT:
			return true;
		case CHAN_AGAIN:
			poll(&p, 1, -1);
			break;
		default:
			return false;
		}
	}
}

/* The canonical request, as the supervisor wrote it. */
static int read_spec(int fd, struct spec *ret, struct err *err)
{
	cleanup_json struct json_object *body = NULL;
	struct stat st;
	void *text;

	if (fd < 0 || fstat(fd, &st))
		return err_set(err, ERR_SYSTEM, "the assignment came without a request");
	if (st.st_size <= 0 || (uint64_t)st.st_size > SPEC_TEXT_MAX)
		return err_set(err, ERR_SYSTEM, "the assignment's request has %lld bytes",
			       (long long)st.st_size);
	text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (text == MAP_FAILED)
		return err_sys(err, "map the assignment's request");
	body = js_parse(text, (size_t)st.st_size, false, err);
	munmap(text, (size_t)st.st_size);
	if (!body)
		return -1;
	return spec_parse(body, ret, err);
}

static void on_refused(void *arg, const struct sock_peer *who, const char *why)
{
	struct job *j = arg;
	struct chan_msg msg = {0};

	if (++j->map.stats->refused_peers > REFUSED_TOLD_MAX)
		return;
	msg.refused.pid = (uint32_t)who->pid;
	msg.refused.uid = who->uid;
	snprintf(msg.refused.why, sizeof(msg.refused.why), "%s", why);
	say(j, CHAN_REFUSED, &msg, NULL, 0);
}

/* The supervisor's own directory, or an admin's path, is bound by the supervisor. */
static int open_listener(struct job *j, int *given, struct err *err)
{
	int fd = steal_fd(given);

	if (fd < 0) {
		const struct spec *s = &j->spec;

		if (sock_listen(s->socket_path, SOCK_STREAM, s->socket_mode, s->socket_uid,
				s->socket_gid, &fd, err))
			return -1;
		j->unlink_socket = true;
	}
	listener_init(&j->listener, fd, j->spec.peer_uid);
	j->listener.refused = on_refused;
	j->listener.arg = j;
	return 0;
}

/* Before anybody hears that it is over: the path is free again then. */
static void close_listener(struct job *j)
{
	if (j->unlink_socket)
		unlink(j->spec.socket_path);
	j->unlink_socket = false;
	listener_fini(&j->listener);
}

static int load(struct job *j, const struct chan_assign *a, int fds[CHAN_FDS_MAX],
		struct err *err)
{
	if (read_spec(fds[0], &j->spec, err))
		return -1;
	if (a->become && lockin_become(a->uid, a->gid, a->groups, a->ngroups, err))
		return -1;
	if (open_listener(j, &fds[2], err))
		return -1;
	if (lockin_begin(err) || source_load(&j->spec, &j->src, err))
		return -1;
	j->map_fd = steal_fd(&fds[1]);
	if (pagemap_create(j->map_fd, source_span_bytes(j->src), &j->map, err))
		return -1;
	return lockin_finish(err);
}

static int say_ready(struct job *j)
{
	struct chan_msg msg = {0};

	msg.ready.size_bytes = source_size_bytes(j->src);
	msg.ready.span_bytes = source_span_bytes(j->src);
	msg.ready.layers = source_layers(j->src);
	msg.ready.extents = source_extents(j->src);
	return say(j, CHAN_READY, &msg, NULL, 0);
}

/* ---- waiting for the VMM ---- */

enum supervisor_word { SUPERVISOR_SILENT, SUPERVISOR_GONE, SUPERVISOR_STOP };

/* While waiting, the only thing it may want is the end, or another prefetch. */
static enum supervisor_word hear(struct job *j)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;
	struct err err;

	for (;;) {
		enum chan_step step = chan_recv(j->chan, &msg, fds, &err);

		if (step == CHAN_AGAIN)
			return SUPERVISOR_SILENT;
		if (step != CHAN_GOT)
			return SUPERVISOR_GONE;
		for (size_t i = 0; i < CHAN_FDS_MAX; i++)
			close_fd(&fds[i]);
		if (msg.type == CHAN_STOP)
			return SUPERVISOR_STOP;
		if (msg.type == CHAN_PREFETCH && msg.prefetch.mode < PREFETCH_COUNT) {
			j->spec.prefetch = (enum spec_prefetch)msg.prefetch.mode;
			j->spec.rate_bytes_per_s = msg.prefetch.rate_bytes_per_s;
			j->prefetch_held = msg.prefetch.paused;
		}
	}
}

static int poll_timeout_ms(const struct job *j, uint64_t now)
{
	uint64_t by = min_u64(j->connect_by_us, listener_deadline_us(&j->listener));

	return by <= now ? 0 : (int)((by - now) / 1000 + 1);
}

/* LISTENER_WAIT: it ended without a VMM, and whoever needs to know has been told. */
static enum listener_step wait_vmm(struct job *j, struct listener_peer *vmm,
				   struct regions *regions, struct err *err)
{
	for (;;) {
		struct pollfd p[1 + LISTENER_POLL_MAX] = {{.fd = j->chan, .events = POLLIN}};
		size_t n = 1 + listener_poll(&j->listener, p + 1);
		enum listener_step step;

		poll(p, n, poll_timeout_ms(j, now_us()));
		if (hear(j) != SUPERVISOR_SILENT)
			return LISTENER_WAIT;
		step = listener_step(&j->listener, now_us(), vmm, regions, err);
		if (step != LISTENER_WAIT)
			return step;
		if (now_us() < j->connect_by_us)
			continue;
		err_set(err, ERR_TIMEOUT, "no VMM connected within %llu ms (connect_timeout)",
			(unsigned long long)j->spec.connect_timeout_ms);
		close_listener(j);
		say_failed(j, err, false);
		return LISTENER_WAIT;
	}
}

/* ---- the VMM is there ---- */

static int check_region(int uffd, const struct region *r, uint64_t page_bytes, struct err *err)
{
	if (uffd_check(uffd, r->base, r->size, err))
		return -1;
	if (uffd_registered(uffd, r->base, page_bytes) &&
	    uffd_registered(uffd, r->base + r->size - page_bytes, page_bytes))
		return 0;
	return err_set(err, ERR_PEER, "the region at %#llx is not registered with the userfaultfd: "
		       "UFFDIO_REGISTER comes before the handshake", (unsigned long long)r->base);
}

static int check_vmm(struct job *j, struct listener_peer *vmm, struct regions *regions,
		     struct err *err)
{
	if (regions_check(regions, source_span_bytes(j->src), err))
		return -1;
	for (uint32_t i = 0; i < regions->n; i++)
		if (check_region(vmm->hs.fds[0], &regions->v[i], regions->page_bytes, err))
			return -1;
	return 0;
}

/*
 * Its descriptors are not closed before it has ended: were ours the last ones,
 * its missing pages would turn into zeros.
 */
static void outlive_vmm(struct job *j, const struct listener_peer *vmm)
{
	bool heard = true;

	for (;;) {
		struct pollfd p[] = {
			{.fd = vmm->pidfd, .events = POLLIN},
			{.fd = heard ? j->chan : -1, .events = POLLIN},
		};
		enum supervisor_word word;

		poll(p, ARRAY_LEN(p), -1);
		if (p[0].revents)
			return;
		word = p[1].revents ? hear(j) : SUPERVISOR_SILENT;
		if (word == SUPERVISOR_STOP)
			return;
		heard = heard && word != SUPERVISOR_GONE;
	}
}

/* Fail a VMM whose message is wrong: its guest can never run. */
static void refuse_vmm(struct job *j, struct listener_peer *vmm, struct err *err)
{
	struct chan_msg msg = {0};
	struct err ignored;

	err_wrap(err, "the VMM (pid %d, uid %u)", (int)vmm->who.pid, (unsigned)vmm->who.uid);
	msg.failed.code = err->code;
	msg.failed.sys = err->sys;
	msg.failed.kill = j->spec.on_failure == FAILURE_KILL;
	snprintf(msg.failed.msg, sizeof(msg.failed.msg), "%s", err->msg);
	chan_send(j->chan, CHAN_FAILED, &msg, &vmm->pidfd, 1, &ignored);
	outlive_vmm(j, vmm);
}

static void say_connected(struct job *j, const struct listener_peer *vmm,
			  const struct regions *regions)
{
	const int fds[] = {vmm->hs.fds[0], vmm->pidfd};
	struct chan_msg msg = {0};

	msg.connected.pid = (uint32_t)vmm->who.pid;
	msg.connected.uid = vmm->who.uid;
	msg.connected.gid = vmm->who.gid;
	msg.connected.nregions = regions->n;
	msg.connected.page_bytes = regions->page_bytes;
	msg.connected.memory_bytes = regions_bytes(regions);
	say(j, CHAN_CONNECTED, &msg, fds, ARRAY_LEN(fds));
}

/* Later VMMs send more descriptors than the uffd: they are of no use here. */
static void drop_extra_fds(struct listener_peer *vmm)
{
	for (size_t i = 1; i < vmm->hs.nfds; i++)
		close_fd(&vmm->hs.fds[i]);
}

static void serve(struct job *j, struct listener_peer *vmm, struct regions *regions)
{
	struct chan_msg msg = {0};
	struct guest guest;
	struct loop *loop;
	struct err err;

	if (check_vmm(j, vmm, regions, &err)) {
		refuse_vmm(j, vmm, &err);
		return;
	}
	drop_extra_fds(vmm);
	pagemap_connect(&j->map, regions, (uint32_t)vmm->who.pid, vmm->who.uid, vmm->who.gid);
	say_connected(j, vmm, regions);
	if (guest_init(&guest, steal_fd(&vmm->hs.fds[0]), &j->map, j->src, &err)) {
		refuse_vmm(j, vmm, &err);
		return;
	}
	loop = xcalloc(1, sizeof(*loop));
	loop_init(loop, &guest, j->chan, vmm->pidfd, &j->spec);
	loop->held = loop->prefetch.held = j->prefetch_held;
	if (loop_run(loop) == LOOP_RELEASED)
		say(j, CHAN_RELEASED, &msg, NULL, 0);
	else
		say(j, CHAN_GONE, &msg, NULL, 0);
	free(loop);
	guest_fini(&guest);
}

static void job_fini(struct job *j)
{
	close_listener(j);
	pagemap_close(&j->map);
	close_fd(&j->map_fd);
	source_free(j->src);
	spec_fini(&j->spec);
	close_fd(&j->chan);
}

static void work(struct job *j, const struct chan_msg *assign, int fds[CHAN_FDS_MAX])
{
	struct listener_peer vmm;
	struct regions regions;
	struct err err;
	int loaded = load(j, &assign->assign, fds, &err);

	for (size_t i = 0; i < CHAN_FDS_MAX; i++)
		close_fd(&fds[i]);
	if (loaded) {
		close_listener(j);
		say_failed(j, &err, false);
		return;
	}
	j->connect_by_us = now_us() + j->spec.connect_timeout_ms * 1000;
	if (say_ready(j))
		return;
	switch (wait_vmm(j, &vmm, &regions, &err)) {
	case LISTENER_WAIT:
		return;
	case LISTENER_BAD:
		close_listener(j);
		refuse_vmm(j, &vmm, &err);
		break;
	case LISTENER_VMM:
		close_listener(j);
		serve(j, &vmm, &regions);
		break;
	}
	listener_peer_fini(&vmm);
}

void job_run(int chan)
{
	struct job j = {.chan = chan, .map_fd = -1};
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;

	listener_init(&j.listener, -1, 0);
	hello(&j);
	if (wait_message(&j, &msg, fds)) {
		if (msg.type == CHAN_ASSIGN)
			work(&j, &msg, fds);
		else
			for (size_t i = 0; i < CHAN_FDS_MAX; i++)
				close_fd(&fds[i]);
	}
	job_fini(&j);
}
