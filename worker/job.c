#include "worker/job.h"

#include <config.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
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

static void say_ready(struct job *j)
{
	struct chan_msg msg = {0};

	msg.ready.size_bytes = source_size_bytes(j->src);
	msg.ready.span_bytes = source_span_bytes(j->src);
	msg.ready.layers = source_layers(j->src);
	msg.ready.extents = source_extents(j->src);
	msg.ready.key = j->habit.key;
	link_send(&j->link, CHAN_READY, &msg, &j->listen_fd, j->listen_fd >= 0);
	habit_tell(&j->habit);
}

static void say_proof(struct job *j, int vmm)
{
	const int fds[] = {j->map_fd, j->request, vmm};
	struct chan_msg msg = {0};

	msg.proof.size_bytes = source_size_bytes(j->src);
	msg.proof.key = j->habit.key;
	msg.proof.prefetch = j->spec.prefetch;
	msg.proof.prefetch_held = j->prefetch_held;
	msg.proof.rate_bytes_per_s = j->spec.rate_bytes_per_s;
	msg.proof.max_resident_bytes = j->spec.max_resident_bytes;
	link_send(&j->link, CHAN_PROOF, &msg, fds, vmm >= 0 ? 3 : 2);
}

void job_say_back(struct job *j, int listen_fd, size_t npeers, int vmm)
{
	struct chan_msg msg = {0};

	memcpy(msg.back.id, j->assign.id, sizeof(msg.back.id));
	msg.back.pid = (uint32_t)getpid();
	msg.back.chan_version = CHAN_VERSION;
	msg.back.npeers = (uint32_t)npeers;
	/* Of a create that was never finished nothing may be left. */
	msg.back.proof = j->link.known;
	snprintf(msg.back.release, sizeof(msg.back.release), "%s", PACKAGE_VERSION);
	link_send(&j->link, CHAN_BACK, &msg, &listen_fd, listen_fd >= 0);
	if (j->link.known)
		say_proof(j, vmm);
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

/* The holder's is the last descriptor, wherever that is. */
static void take_holder(struct job *j, int fds[CHAN_FDS_MAX])
{
	size_t n = CHAN_FDS_MAX;

	while (n > 0 && fds[n - 1] < 0)
		n--;
	if (j->assign.holder == CHAN_HOLDER_NONE || n == 0) {
		holder_leave(&j->holder);
	} else if (j->assign.holder == CHAN_HOLDER_NEW) {
		holder_assign(j->holder, &j->assign, fds[n - 1]);
		close_fd(&fds[n - 1]);
	} else {
		holder_leave(&j->holder);
		j->holder = steal_fd(&fds[n - 1]);
	}
}

static int take_fds(struct job *j, int fds[CHAN_FDS_MAX], struct err *err)
{
	bool wait = j->assign.kind == CHAN_ASSIGN_WAIT;

	take_holder(j, fds);
	j->request = steal_fd(&fds[0]);
	j->map_fd = steal_fd(&fds[1]);
	if (wait) {
		j->listen_fd = steal_fd(&fds[2]);
	} else {
		j->uffd = steal_fd(&fds[2]);
		j->vmm = steal_fd(&fds[3]);
	}
	if (!wait && j->uffd < 0)
		return err_set(err, ERR_SYSTEM, "the assignment came without a guest");
	return read_spec(j->request, &j->spec, err);
}

/* ---- the snapshot ---- */

static bool is_same(const struct job *j)
{
	return j->map.head->source_id == source_identity(j->src) &&
	       j->map.head->span_bytes == source_span_bytes(j->src);
}

/* What the holder of a predecessor gives; but it is the tenant's, and may give anything. */
static bool load_given(struct job *j)
{
	struct source_given given = {0};
	struct err err;

	if (j->assign.holder == CHAN_HOLDER_THERE)
		holder_take(&j->holder, &given);
	if (given.n && source_load(&j->spec, &given, &j->src, &err) == 0 && j->map.head &&
	    !is_same(j)) {
		source_free(j->src);
		j->src = NULL;
	}
	holder_given_fini(&given);
	return j->src != NULL;
}

static int load_source(struct job *j, struct err *err)
{
	if (load_given(j) || source_load(&j->spec, NULL, &j->src, err) == 0)
		return 0;
	if (j->map.head)
		err_wrap(err, "nobody has kept the snapshot's files open for another worker, and "
			 "they cannot be opened again (leave them there until a restore is "
			 "complete, or has ended)");
	return -1;
}

/* Before the guest depends on it. */
static int check_descriptors(const struct job *j, struct err *err)
{
	uint64_t need = source_nfds(j->src) + JOB_OTHER_FDS;

	if (j->fds_max >= need)
		return 0;
	return err_set(err, ERR_QUOTA, "a worker for a snapshot of %zu files needs %llu "
		       "descriptors and may have %llu, %llu are missing: raise the daemon's hard limit of open "
		       "files (LimitNOFILE=, ulimit -Hn)", source_nfds(j->src),
		       (unsigned long long)need, (unsigned long long)j->fds_max,
		       (unsigned long long)(need - j->fds_max));
}

static int load_new(struct job *j, struct err *err)
{
	if (load_source(j, err) || check_descriptors(j, err) ||
	    pagemap_create(j->map_fd, source_span_bytes(j->src), &j->map, err))
		return -1;
	j->map.head->source_id = source_identity(j->src);
	return 0;
}

/* To go on from the predecessor's page map the snapshot must still be the same, or not needed. */
static int load_again(struct job *j, struct err *err)
{
	if (pagemap_open(j->map_fd, &j->map, err))
		return -1;
	/* Before anybody hears that we are there: nobody looks after page states since then. */
	j->map.head->exact = PAGEMAP_INEXACT;
	/* What is absent then, reads zero. */
	if (j->map.head->complete) {
		j->src = source_none(j->map.head->span_bytes);
		holder_leave(&j->holder);
		return 0;
	}
	if (load_source(j, err))
		return -1;
	if (!is_same(j))
		return err_set(err, ERR_SNAPSHOT, "the snapshot is not the one that was served "
			       "before the worker died: its files were replaced or changed");
	return 0;
}

static int load_snapshot(struct job *j, struct err *err)
{
	int rc = j->assign.kind == CHAN_ASSIGN_WAIT ? load_new(j, err) : load_again(j, err);

	if (rc == 0 && j->assign.holder == CHAN_HOLDER_NEW)
		holder_give(&j->holder, j->src);
	return rc;
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

	if (take_fds(j, fds, err))
		return -1;
	apply_changes(j);
	if (a->become && lockin_become(a->uid, a->gid, a->groups, a->ngroups, err))
		return -1;
	if (open_listener(j, err) || lockin_begin(err) || load_snapshot(j, err))
		return -1;
	load_habit(j);
	if (lockin_finish(err))
		return -1;
	if (a->holder == CHAN_HOLDER_NEW)
		holder_settle(&j->holder);
	return 0;
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
	close_fd(&j->request);
	holder_leave(&j->holder);
	habit_fini(&j->habit);
	source_free(j->src);
	spec_fini(&j->spec);
	link_fini(&j->link);
}

static uint64_t fds_max(void)
{
	struct rlimit l;

	return getrlimit(RLIMIT_NOFILE, &l) ? 0 : l.rlim_cur;
}

void job_run(int chan, int holder)
{
	struct job j = {
		.request = -1,
		.map_fd = -1,
		.listen_fd = -1,
		.uffd = -1,
		.vmm = -1,
		.holder = holder,
		.fds_max = fds_max(),
	};
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;

	link_init(&j.link, chan);
	j.link.holder = &j.holder;
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
