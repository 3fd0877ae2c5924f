#include "daemon/live.h"

#include <event2/event.h>
#include <fcntl.h>
#include <string.h>

#include "common/js.h"
#include "common/log.h"
#include "common/proc.h"
#include "daemon/assign.h"
#include "daemon/holders.h"
#include "daemon/notify.h"
#include "daemon/recording.h"
#include "daemon/recover.h"

/* Opening a tenant's paths may take as long as its file systems like. */
#define LOAD_BY_S 30

void live_changed(struct live *l, const char *type, struct json_object *data)
{
	journal_add(l->host->journal, &l->rec, type, data);
	l->host->hooks->changed(l->host->arg, l);
}

/* ---- end of a restore ---- */

static void free_event(struct event **ev)
{
	if (*ev)
		event_free(*ev);
	*ev = NULL;
}

/* No VMM is to come any more. */
static void unlink_socket(struct live *l)
{
	if (l->own_socket)
		unlink(l->spec.socket_path);
	l->own_socket = false;
	door_close(l);
}

static void unlink_files(struct live *l)
{
	char path[CONF_PATH_MAX + 1];

	host_path(l->host, "maps", l->rec.id, path);
	unlink(path);
	unlink_socket(l);
}

/* Its last counters are good once nobody writes them any more. */
static void close_map(struct live *l)
{
	struct err err;

	if (l->map_fd >= 0 && pagemap_view(l->map_fd, &l->last, &err))
		memset(&l->last, 0, sizeof(l->last));
	close_fd(&l->map_fd);
}

/* Everything but the record goes. A blocked thread of a dead VMM waits for the uffd. */
static void release(struct live *l)
{
	struct chan_msg stop = {.stop.how = CHAN_STOP_WAITING};
	struct err err;

	close_fd(&l->uffd);
	lessor_back(l->host->lessor, &l->claim);
	if (!l->released)
		notify_forget(l->rec.id);
	free_event(&l->on_vmm);
	close_fd(&l->vmm);
	free_event(&l->grace);
	free_event(&l->load_by);
	free_event(&l->back_by);
	close_fd(&l->old_worker);
	holders_end(l->host, l->rec.id);
	if (l->map_fd < 0)
		live_open_map(l, &l->map_fd, &err);
	unlink_files(l);
	l->released = true;
	if (l->worker) {
		/* It may have left already, or leave because the VMM did. */
		worker_send(l->worker, CHAN_STOP, &stop, NULL, 0, &err);
		worker_expect_exit(l->worker, LIVE_LEAVE_MS);
	} else {
		close_map(l);
	}
}

bool live_released(const struct live *l)
{
	return l->released && !l->worker;
}

static struct json_object *reason_data(const struct live *l)
{
	struct json_object *data = json_object_new_object();

	js_add_string(data, "reason", l->rec.reason);
	return data;
}

void live_end(struct live *l, const char *reason)
{
	bool failed = l->rec.state == STATE_FAILED;

	if (l->rec.stop_reason[0])
		reason = l->rec.stop_reason;
	if (!failed)
		restore_move(&l->rec, STATE_ENDED, reason, wall_ms());
	close_fd(&l->uffd);
	l->rec.released = true;
	/* Before its files go: a living row without them would be taken for a lost one. */
	journal_add(l->host->journal, &l->rec, failed ? "released" : "ended", reason_data(l));
	release(l);
	l->host->hooks->ended(l->host->arg, l);
	l->host->hooks->changed(l->host->arg, l);
}

void live_kill_vmm(struct live *l)
{
	struct json_object *data;
	struct err err;

	if (l->vmm < 0 || proc_kill(l->vmm, &err) == 0)
		return;
	log_error("the VMM could not be killed", "id=%s pid=%u why=%s", l->rec.id,
		  l->rec.vmm_pid, err.msg);
	data = json_object_new_object();
	js_add_string(data, "detail", err.msg);
	live_changed(l, "kill-failed", data);
}

/* Visible at once; what the guest hangs on is kept until the VMM has ended. */
void live_fail(struct live *l, const char *reason, bool kill)
{
	if (l->rec.state == STATE_FAILED)
		return;
	log_warning("restore failed", "id=%s tenant=%s reason=%s", l->rec.id, l->rec.tenant, reason);
	restore_move(&l->rec, STATE_FAILED, reason, wall_ms());
	l->rec.released = l->vmm < 0;
	unlink_socket(l);
	lessor_back(l->host->lessor, &l->claim);
	live_changed(l, "failed", reason_data(l));
	if (kill)
		live_kill_vmm(l);
	if (l->vmm < 0) {
		release(l);
		l->host->hooks->ended(l->host->arg, l);
	}
}

static void on_vmm_cb(evutil_socket_t fd, short what, void *arg)
{
	struct live *l = arg;

	(void)fd;
	(void)what;
	live_end(l, "vmm-exited");
}

bool live_may_be_vmm(const struct live *l, int pidfd, uint32_t pid)
{
	uid_t real, saved, caller = l->rec.caller_uid;
	pid_t behind;

	if (proc_behind(pidfd, &behind, &real, &saved))
		return false;
	if (behind == 0)
		return true;
	if ((uint32_t)behind != pid)
		return false;
	return door_knows(l, behind) || caller == 0 || caller == geteuid() || real == caller ||
	       saved == caller;
}

/* Whoever made it lie may have made it do other things. */
static void end_liar(struct live *l, uint32_t pid)
{
	struct err err;

	log_error("a worker names a VMM that it cannot have, and is ended", "id=%s worker=%u pid=%u",
		  l->rec.id, l->rec.worker_pid, pid);
	proc_kill(l->worker->pidfd, &err);
}

void live_watch_vmm(struct live *l, int *pidfd)
{
	if (l->vmm >= 0 || *pidfd < 0)
		return;
	l->vmm = steal_fd(pidfd);
	l->on_vmm = event_new(l->host->base, l->vmm, EV_READ, on_vmm_cb, l);
	event_add(l->on_vmm, NULL);
}

/* ---- creation ---- */

static void answer_creators(struct live *l, const struct err *why)
{
	struct creator *c;

	while ((c = TAILQ_FIRST(&l->creators))) {
		TAILQ_REMOVE(&l->creators, c, link);
		c->list = NULL;
		c->done(c, why ? NULL : l, why);
	}
}

static void create_failed(struct live *l, const struct err *why)
{
	log_info("restore refused", "id=%s tenant=%s why=%s", l->rec.id, l->rec.tenant, why->msg);
	answer_creators(l, why);
	if (l->worker)
		worker_abandon(l->worker);
	l->worker = NULL;
	release(l);
	l->host->hooks->stillborn(l->host->arg, l);
}

static void on_load_by(evutil_socket_t fd, short what, void *arg)
{
	struct live *l = arg;
	struct err err;

	(void)fd;
	(void)what;
	err_set(&err, ERR_TIMEOUT, "opening the snapshot took more than %d s: is its file system "
		"reachable?", LOAD_BY_S);
	create_failed(l, &err);
}

static int check_size(const struct live *l, uint64_t bytes, struct err *err)
{
	uint64_t max = l->host->conf.snapshot_bytes_max;

	if (bytes <= max)
		return 0;
	return err_set(err, ERR_SNAPSHOT, "the snapshot has %llu bytes of memory, at most %llu are "
		       "configured (snapshot_bytes_max)", (unsigned long long)bytes,
		       (unsigned long long)max);
}

void live_known(struct live *l)
{
	struct chan_msg msg = {0};
	struct err err;

	worker_send(l->worker, CHAN_KNOWN, &msg, NULL, 0, &err);
}

static void on_ready(struct live *l, const struct chan_msg *msg, int *fds)
{
	struct json_object *data;
	struct err err;

	free_event(&l->load_by);
	recording_ready(l, &msg->ready.key);
	l->ready = true;
	if (!l->creating) {
		live_known(l);
		recording_give(l);
		door_open(l, &fds[0], 0);
		recover_done(l);
		return;
	}
	if (check_size(l, msg->ready.size_bytes, &err)) {
		create_failed(l, &err);
		return;
	}
	l->rec.size_bytes = msg->ready.size_bytes;
	data = json_object_new_object();
	js_add_u64(data, "size_bytes", msg->ready.size_bytes);
	js_add_u64(data, "layers", msg->ready.layers);
	js_add_u64(data, "extents", msg->ready.extents);
	/* In the store before anybody hears of it. */
	if (journal_add_now(l->host->journal, &l->rec, "created", data, &err)) {
		create_failed(l, &err);
		return;
	}
	l->creating = false;
	live_known(l);
	/* Before anybody can start a VMM. */
	recording_give(l);
	door_open(l, &fds[0], 0);
	log_info("restore ready", "id=%s tenant=%s size=%llu worker=%u", l->rec.id, l->rec.tenant,
		 (unsigned long long)l->rec.size_bytes, l->rec.worker_pid);
	answer_creators(l, NULL);
}

/* ---- messages of the worker ---- */

static void on_refused(struct live *l, const struct chan_msg *msg, int *fds)
{
	struct json_object *data;

	(void)fds;
	door_drop(l, msg->refused.peer);
	if (!msg->refused.why[0])
		return;
	data = json_object_new_object();
	js_add_u64(data, "pid", msg->refused.pid);
	js_add_u64(data, "uid", msg->refused.uid);
	js_add_string(data, "detail", msg->refused.why);
	live_changed(l, "refused", data);
}

static void on_peer(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	door_keep(l, &fds[0]);
}

static struct json_object *connected_data(const struct chan_connected *c)
{
	struct json_object *data = json_object_new_object();

	js_add_u64(data, "pid", c->pid);
	js_add_u64(data, "uid", c->uid);
	js_add_u64(data, "regions", c->nregions);
	js_add_u64(data, "page_bytes", c->page_bytes);
	js_add_u64(data, "memory_bytes", c->memory_bytes);
	return data;
}

void live_connected(struct live *l, const struct chan_connected *c, uint64_t vmm_start)
{
	l->rec.vmm_pid = c->pid;
	l->rec.vmm_uid = c->uid;
	l->rec.vmm_start = vmm_start;
	l->rec.page_bytes = c->page_bytes;
	l->rec.memory_bytes = c->memory_bytes;
	l->rec.connected_ms = wall_ms();
	restore_move(&l->rec, STATE_SERVING, "", wall_ms());
	unlink_socket(l);
	live_changed(l, "connected", connected_data(c));
}

/* Also from a worker that came back: then only the descriptors may be news. */
static void on_connected(struct live *l, const struct chan_msg *msg, int *fds)
{
	if (fds[0] < 0 || fds[1] < 0)
		return;
	if (l->vmm < 0 && !live_may_be_vmm(l, fds[1], msg->connected.pid)) {
		end_liar(l, msg->connected.pid);
		return;
	}
	close_fd(&l->uffd);
	l->uffd = steal_fd(&fds[0]);
	notify_keep(l->rec.id, l->uffd);
	if (l->rec.state == STATE_WAITING)
		live_connected(l, &msg->connected,
			       proc_start_time((pid_t)msg->connected.pid));
	live_watch_vmm(l, &fds[1]);
}

/*
 * PROOF of one that a row names, and FILES of version 1, which kept them with us: of no use,
 * and closed.
 */
static void on_nothing(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)l;
	(void)msg;
	(void)fds;
}

static void on_paused(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	if (l->rec.paused)
		return;
	l->rec.paused = true;
	l->rec.revision++;
	live_changed(l, "paused", NULL);
}

static void on_complete(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	if (l->rec.complete)
		return;
	l->rec.complete = true;
	l->rec.revision++;
	live_changed(l, "complete", NULL);
}

static void on_note(struct live *l, const struct chan_msg *msg, int *fds)
{
	struct json_object *data = json_object_new_object();

	(void)fds;
	js_add_string(data, "detail", msg->note.msg);
	live_changed(l, msg->note.type, data);
}

/* One that has failed gets none any more, whatever its worker says. */
static void on_lease_ask(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)fds;
	if (l->rec.state == STATE_SERVING)
		lessor_ask(l->host->lessor, &l->claim, l->rec.tenant, msg->lease.ask);
}

static void on_lease_back(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	lessor_back(l->host->lessor, &l->claim);
}

static void on_gone(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	live_end(l, "vmm-exited");
}

static void on_released(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	live_end(l, "released");
}

/* Where it has failed already, that reason stays. */
static void no_successor(struct live *l, const struct err *why)
{
	struct json_object *data;

	l->hopeless = true;
	if (l->rec.state != STATE_FAILED)
		return;
	log_warning("no worker can take over", "id=%s why=%s", l->rec.id, why->msg);
	data = json_object_new_object();
	js_add_string(data, "detail", why->msg);
	live_changed(l, "no-worker", data);
}

static void on_failed(struct live *l, const struct chan_msg *msg, int *fds)
{
	struct err why = {
		.code = msg->failed.code < ERR_COUNT ? (enum err_code)msg->failed.code : ERR_SYSTEM,
		.sys = msg->failed.sys,
	};

	memcpy(why.msg, msg->failed.msg, sizeof(why.msg));
	if (l->creating) {
		create_failed(l, &why);
		return;
	}
	if (fds[0] >= 0 && l->vmm < 0 && !live_may_be_vmm(l, fds[0], msg->failed.vmm_pid)) {
		end_liar(l, msg->failed.vmm_pid);
		return;
	}
	if (msg->failed.vmm_pid && !l->rec.vmm_pid) {
		l->rec.vmm_pid = msg->failed.vmm_pid;
		l->rec.vmm_uid = msg->failed.vmm_uid;
		l->rec.vmm_start = proc_start_time((pid_t)msg->failed.vmm_pid);
	}
	live_watch_vmm(l, &fds[0]);
	if (!l->ready)
		no_successor(l, &why);
	live_fail(l, why.msg, msg->failed.kill);
}

static const struct {
	enum chan_type type;
	void (*handle)(struct live *l, const struct chan_msg *msg, int *fds);
} handlers[] = {
	{CHAN_READY, on_ready},       {CHAN_REFUSED, on_refused},   {CHAN_CONNECTED, on_connected},
	{CHAN_PAUSED, on_paused},     {CHAN_COMPLETE, on_complete}, {CHAN_NOTE, on_note},
	{CHAN_GONE, on_gone},         {CHAN_RELEASED, on_released}, {CHAN_FAILED, on_failed},
	{CHAN_FILES, on_nothing},     {CHAN_PROOF, on_nothing},     {CHAN_LEASE_ASK, on_lease_ask},
	{CHAN_LEASE_BACK, on_lease_back}, {CHAN_WSET_MADE, recording_made},
	{CHAN_PEER, on_peer},
};

static void on_message(void *arg, const struct chan_msg *msg, int *fds)
{
	struct live *l = arg;

	/* After release only its exit is of interest, and what it has learnt. */
	if (l->released && msg->type != CHAN_WSET_MADE)
		return;
	for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
		if (handlers[i].type == msg->type) {
			handlers[i].handle(l, msg, fds);
			return;
		}
}

static void on_worker_exit(void *arg, const char *how)
{
	struct live *l = arg;
	struct err err;

	l->worker = NULL;
	lessor_back(l->host->lessor, &l->claim);
	l->ready = false;
	err_set(&err, ERR_SYSTEM, "the worker died (%s)", how);
	if (l->creating) {
		create_failed(l, &err);
	} else if (l->released) {
		/* Now nothing is left of it. */
		close_map(l);
		l->host->hooks->changed(l->host->arg, l);
	} else {
		recover_worker(l, how);
	}
}

static bool on_worker_cut(void *arg, int *pidfd)
{
	struct live *l = arg;

	if (l->creating || l->released)
		return false;
	recover_cut(l, pidfd);
	return true;
}

const struct worker_hooks live_worker_hooks = {on_message, on_worker_exit, on_worker_cut};

static void tell_lease(struct claim *c, enum chan_type type, struct chan_msg *msg)
{
	struct live *l = (struct live *)((char *)c - offsetof(struct live, claim));
	struct err err;

	if (l->worker)
		worker_send(l->worker, type, msg, NULL, 0, &err);
}

const struct lessor_hooks live_lessor_hooks = {tell_lease};

/* ---- begin ---- */

void live_init(struct live *l)
{
	l->map_fd = l->uffd = l->vmm = l->old_worker = -1;
	door_init(&l->door);
	TAILQ_INIT(&l->creators);
}

void live_begin(struct live *l, const char *id, const struct sock_peer *caller)
{
	restore_begin(&l->rec, id, &l->spec, caller, wall_ms());
	memcpy(l->rec.boot_id, l->host->boot_id, sizeof(l->rec.boot_id));
	l->rec.recording = l->spec.record && l->host->conf.record_window_ms > 0;
}

int live_new(struct host *host, const char *id, struct spec *spec,
	     const struct sock_peer *caller, struct live **ret, struct err *err)
{
	const struct timeval load_by = {LOAD_BY_S, 0};
	struct live *l = xcalloc(1, sizeof(*l));

	l->host = host;
	live_init(l);
	l->creating = true;
	l->spec = *spec;
	live_begin(l, id, caller);
	if (assign_new(l, err)) {
		memset(&l->spec, 0, sizeof(l->spec));
		memcpy(l->spec.socket_path, spec->socket_path, sizeof(l->spec.socket_path));
		if (l->worker)
			worker_abandon(l->worker);
		l->worker = NULL;
		release(l);
		live_free(l);
		return -1;
	}
	memset(spec, 0, sizeof(*spec));
	l->load_by = evtimer_new(host->base, on_load_by, l);
	evtimer_add(l->load_by, &load_by);
	*ret = l;
	return 0;
}

void live_free(struct live *l)
{
	lessor_back(l->host->lessor, &l->claim);
	free_event(&l->on_vmm);
	free_event(&l->grace);
	free_event(&l->load_by);
	free_event(&l->back_by);
	close_fd(&l->old_worker);
	if (l->worker)
		worker_leave(l->worker);
	door_close(l);
	close_fd(&l->uffd);
	close_fd(&l->vmm);
	close_fd(&l->map_fd);
	restore_record_fini(&l->rec);
	spec_fini(&l->spec);
	free(l);
}

int live_open_map(const struct live *l, int *ret_fd, struct err *err)
{
	char path[CONF_PATH_MAX + 1];

	host_path(l->host, "maps", l->rec.id, path);
	*ret_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return *ret_fd < 0 ? err_sys(err, "open the page map %s", path) : 0;
}

int live_view(const struct live *l, struct pagemap_view *ret, struct err *err)
{
	cleanup_fd int map = -1;

	if (l->map_fd >= 0)
		return pagemap_view(l->map_fd, ret, err);
	if (!l->released)
		return live_open_map(l, &map, err) || pagemap_view(map, ret, err) ? -1 : 0;
	*ret = l->last;
	return 0;
}
