#include "worker/job.h"

#include <config.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/sock.h"
#include "worker/fault.h"
#include "worker/listener.h"
#include "worker/lobby.h"
#include "worker/lockin.h"
#include "worker/serve.h"

#define SPEC_TEXT_MAX ((size_t)32 << 20)

/* ---- to the supervisor ---- */

void job_say_failed(struct job *j, const struct err *why, bool kill,
		    const struct listener_peer *vmm)
{
	struct chan_msg msg = {0};

	msg.failed.code = why->code;
	msg.failed.sys = why->sys;
	msg.failed.kill = kill;
	snprintf(msg.failed.msg, sizeof(msg.failed.msg), "%s", why->msg);
	if (vmm) {
		msg.failed.vmm_pid = (uint32_t)vmm->who.pid;
		msg.failed.vmm_uid = vmm->who.uid;
	}
	link_send(&j->link, CHAN_FAILED, &msg, vmm ? &vmm->pidfd : NULL,
		  vmm && vmm->pidfd >= 0);
}

static void hello(struct job *j)
{
	struct chan_msg msg = {0};

	msg.hello.pid = (uint32_t)getpid();
	msg.hello.chan_version = CHAN_VERSION;
	snprintf(msg.hello.release, sizeof(msg.hello.release), "%s", PACKAGE_VERSION);
	link_send(&j->link, CHAN_HELLO, &msg, NULL, 0);
}

/* Beyond what the channel holds, a successor opens the paths again. */
static void say_files(struct job *j)
{
	size_t n = source_nfds(j->src);
	struct err err;

	for (size_t first = 0; first < n; first += CHAN_FDS_MAX) {
		struct chan_msg msg = {0};
		int fds[CHAN_FDS_MAX];

		msg.files.first = (uint32_t)first;
		msg.files.count = (uint32_t)min_u64(n - first, CHAN_FDS_MAX);
		for (size_t i = 0; i < msg.files.count; i++)
			fds[i] = source_fd(j->src, first + i);
		if (j->link.chan < 0 ||
		    chan_send(j->link.chan, CHAN_FILES, &msg, fds, msg.files.count, &err))
			return;
	}
}

static void say_ready(struct job *j)
{
	struct chan_msg msg = {0};

	msg.ready.size_bytes = source_size_bytes(j->src);
	msg.ready.span_bytes = source_span_bytes(j->src);
	msg.ready.layers = source_layers(j->src);
	msg.ready.extents = source_extents(j->src);
	msg.ready.key = j->habit.key;
	link_send(&j->link, CHAN_READY, &msg, &j->listen_fd, j->listen_fd >= 0);
	say_files(j);
	habit_tell(&j->habit);
}

void job_say_back(struct job *j, int listen_fd, size_t npeers)
{
	struct chan_msg msg = {0};

	memcpy(msg.back.id, j->assign.id, sizeof(msg.back.id));
	msg.back.pid = (uint32_t)getpid();
	msg.back.chan_version = CHAN_VERSION;
	msg.back.npeers = (uint32_t)npeers;
	snprintf(msg.back.release, sizeof(msg.back.release), "%s", PACKAGE_VERSION);
	link_send(&j->link, CHAN_BACK, &msg, &listen_fd, listen_fd >= 0);
	say_files(j);
}

/* ---- the assignment ---- */

static void close_all(int fds[CHAN_FDS_MAX])
{
	for (size_t i = 0; i < CHAN_FDS_MAX; i++)
		close_fd(&fds[i]);
}

/* One that we know, however long it takes; false when the supervisor is gone. */
static bool wait_message(struct job *j, struct chan_msg *msg, int fds[CHAN_FDS_MAX])
{
	struct pollfd p = {.fd = j->link.chan, .events = POLLIN};

	for (;;) {
		enum chan_step step = link_recv(&j->link, msg, fds);

		if (step == CHAN_GOT && msg->type != CHAN_NONE)
			return true;
		if (j->link.chan < 0)
			return false;
		if (step == CHAN_AGAIN)
			poll(&p, 1, -1);
	}
}

/* The files that a predecessor had opened come in messages of their own. */
static int read_files(struct job *j, struct source_given *given, struct err *err)
{
	size_t n = j->assign.nfiles;

	if (n > SPEC_LAYERS_MAX + 1)
		return err_set(err, ERR_SYSTEM, "the assignment announces %zu files", n);
	given->fds = xcalloc(n + 1, sizeof(*given->fds));
	memset(given->fds, -1, (n + 1) * sizeof(*given->fds));
	given->n = n;
	for (size_t have = 0; have < n;) {
		int fds[CHAN_FDS_MAX];
		struct chan_msg msg;

		if (!wait_message(j, &msg, fds))
			return err_set(err, ERR_SYSTEM, "the supervisor left");
		for (size_t i = 0; msg.type == CHAN_FILES && i < msg.files.count &&
				   i < CHAN_FDS_MAX && have < n; i++)
			given->fds[have++] = steal_fd(&fds[i]);
		close_all(fds);
	}
	return 0;
}

static void given_fini(struct source_given *given)
{
	for (size_t i = 0; i < given->n; i++)
		close_fd(&given->fds[i]);
	free(given->fds);
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

/* What has changed since the restore was created. */
static void apply_changes(struct job *j)
{
	const struct chan_assign *a = &j->assign;

	if (a->prefetch < PREFETCH_COUNT)
		j->spec.prefetch = (enum spec_prefetch)a->prefetch;
	j->spec.rate_bytes_per_s = a->rate_bytes_per_s;
	j->spec.max_resident_bytes = a->max_resident_bytes;
	j->prefetch_held = a->prefetch_held;
}

/* The supervisor's own directory, or an admin's path, is bound by the supervisor. */
static int open_listener(struct job *j, struct err *err)
{
	const struct spec *s = &j->spec;

	if (j->assign.kind != CHAN_ASSIGN_WAIT || j->listen_fd >= 0)
		return 0;
	if (sock_listen(s->socket_path, SOCK_STREAM, s->socket_mode, s->socket_uid, s->socket_gid,
			&j->listen_fd, err))
		return -1;
	j->assign.unlink_socket = true;
	return 0;
}

void job_unlink_socket(struct job *j)
{
	if (j->assign.unlink_socket)
		unlink(j->spec.socket_path);
	j->assign.unlink_socket = false;
}

/* A new page map, or the predecessor's: then the snapshot must still be the same. */
static int open_map(struct job *j, struct err *err)
{
	if (j->assign.kind == CHAN_ASSIGN_WAIT) {
		if (pagemap_create(j->map_fd, source_span_bytes(j->src), &j->map, err))
			return -1;
		j->map.head->source_id = source_identity(j->src);
		return 0;
	}
	if (pagemap_open(j->map_fd, &j->map, err))
		return -1;
	if (j->map.head->source_id != source_identity(j->src) ||
	    j->map.head->span_bytes != source_span_bytes(j->src))
		return err_set(err, ERR_SNAPSHOT, "the snapshot is not the one that was served "
			       "before the worker died: its files were replaced or changed");
	/* Before anybody hears that we are there: nobody looks after page states since then. */
	j->map.head->exact = PAGEMAP_INEXACT;
	return 0;
}

static int take_fds(struct job *j, int fds[CHAN_FDS_MAX], struct err *err)
{
	bool wait = j->assign.kind == CHAN_ASSIGN_WAIT;

	j->map_fd = steal_fd(&fds[1]);
	if (wait) {
		j->listen_fd = steal_fd(&fds[2]);
	} else {
		j->uffd = steal_fd(&fds[2]);
		j->vmm = steal_fd(&fds[3]);
	}
	if (!wait && j->uffd < 0)
		return err_set(err, ERR_SYSTEM, "the assignment came without a guest");
	return read_spec(fds[0], &j->spec, err);
}

/* Nothing about it can keep the snapshot from being served. */
static void load_habit(struct job *j)
{
	j->habit.key = source_wset_key(j->src);
	j->habit.span_bytes = source_span_bytes(j->src);
	j->habit.window_us = j->spec.record ? j->assign.record_ms * 1000 : 0;
	j->habit.file_bytes = j->assign.wset_bytes;
	habit_open(&j->habit, j->spec.wset_path);
}

static int load(struct job *j, int fds[CHAN_FDS_MAX], struct err *err)
{
	const struct chan_assign *a = &j->assign;
	struct source_given given = {0};
	int rc = -1;

	if (take_fds(j, fds, err) || read_files(j, &given, err))
		goto out;
	apply_changes(j);
	if (a->become && lockin_become(a->uid, a->gid, a->groups, a->ngroups, err))
		goto out;
	if (open_listener(j, err) || lockin_begin(err) ||
	    source_load(&j->spec, &given, &j->src, err) || open_map(j, err))
		goto out;
	load_habit(j);
	rc = lockin_finish(err);
out:
	given_fini(&given);
	return rc;
}

static void work(struct job *j, int fds[CHAN_FDS_MAX])
{
	struct err err;
	int loaded;

	fault_arm(j->assign.id);
	fault_point(FAULT_LOADING);
	loaded = load(j, fds, &err);
	close_all(fds);
	if (loaded) {
		job_unlink_socket(j);
		close_fd(&j->listen_fd);
		/* A guest that nobody can take over, nor poison, must not hang unseen. */
		job_say_failed(j, &err, j->uffd >= 0 && j->spec.on_failure != FAILURE_HOLD, NULL);
		return;
	}
	memcpy(j->link.home, j->assign.home, sizeof(j->link.home));
	say_ready(j);
	if (j->assign.kind == CHAN_ASSIGN_WAIT)
		lobby_run(j);
	else
		serve_on(j);
}

static void job_fini(struct job *j)
{
	job_unlink_socket(j);
	close_fd(&j->listen_fd);
	close_fd(&j->uffd);
	close_fd(&j->vmm);
	pagemap_close(&j->map);
	close_fd(&j->map_fd);
	habit_fini(&j->habit);
	source_free(j->src);
	spec_fini(&j->spec);
	link_fini(&j->link);
}

void job_run(int chan)
{
	struct job j = {.map_fd = -1, .listen_fd = -1, .uffd = -1, .vmm = -1};
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;

	link_init(&j.link, chan);
	habit_init(&j.habit, &j.link);
	hello(&j);
	if (wait_message(&j, &msg, fds)) {
		if (msg.type == CHAN_ASSIGN) {
			j.assign = msg.assign;
			work(&j, fds);
		}
		close_all(fds);
	}
	job_fini(&j);
}
