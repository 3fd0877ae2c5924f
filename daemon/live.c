#include "daemon/live.h"

#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "common/js.h"
#include "common/log.h"
#include "common/proc.h"

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

static void unlink_files(struct live *l)
{
	char path[CONF_PATH_MAX + 1];

	host_path(l->host, "maps", l->rec.id, path);
	unlink(path);
	if (l->own_socket)
		unlink(l->spec.socket_path);
	l->own_socket = false;
}

/* Everything but the record goes. A blocked thread of a dead VMM waits for the uffd. */
static void release(struct live *l)
{
	struct chan_msg stop = {.stop.how = CHAN_STOP_WAITING};
	struct err err;

	close_fd(&l->uffd);
	free_event(&l->on_vmm);
	close_fd(&l->vmm);
	free_event(&l->grace);
	free_event(&l->load_by);
	if (l->map_fd >= 0 && pagemap_view(l->map_fd, &l->last, &err))
		memset(&l->last, 0, sizeof(l->last));
	close_fd(&l->map_fd);
	unlink_files(l);
	if (l->worker) {
		/* It may have left already, or leave because the VMM did. */
		worker_send(l->worker, CHAN_STOP, &stop, NULL, 0, &err);
		worker_expect_exit(l->worker, LIVE_LEAVE_MS);
	}
}

bool live_released(const struct live *l)
{
	return l->map_fd < 0 && !l->worker;
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

	if (!failed)
		restore_move(&l->rec, STATE_ENDED, reason, wall_ms());
	release(l);
	l->host->hooks->ended(l->host->arg, l);
	live_changed(l, failed ? "released" : "ended", reason_data(l));
}

static void kill_vmm(struct live *l)
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
static void fail(struct live *l, const char *reason, bool kill)
{
	if (l->rec.state == STATE_FAILED)
		return;
	log_warning("restore failed", "id=%s tenant=%s reason=%s", l->rec.id, l->rec.tenant, reason);
	restore_move(&l->rec, STATE_FAILED, reason, wall_ms());
	live_changed(l, "failed", reason_data(l));
	if (kill)
		kill_vmm(l);
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
	live_end(l, l->stop_reason[0] ? l->stop_reason : "vmm-exited");
}

static void watch_vmm(struct live *l, int *pidfd)
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

static void on_ready(struct live *l, const struct chan_msg *msg, int *fds)
{
	struct json_object *data;
	struct err err;

	(void)fds;
	if (!l->creating)
		return;
	free_event(&l->load_by);
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
	log_info("restore ready", "id=%s tenant=%s size=%llu worker=%u", l->rec.id, l->rec.tenant,
		 (unsigned long long)l->rec.size_bytes, l->rec.worker_pid);
	answer_creators(l, NULL);
}

/* ---- messages of the worker ---- */

static void on_refused(struct live *l, const struct chan_msg *msg, int *fds)
{
	struct json_object *data = json_object_new_object();

	(void)fds;
	js_add_u64(data, "pid", msg->refused.pid);
	js_add_u64(data, "uid", msg->refused.uid);
	js_add_string(data, "detail", msg->refused.why);
	live_changed(l, "refused", data);
}

static void on_connected(struct live *l, const struct chan_msg *msg, int *fds)
{
	struct json_object *data;

	if (l->rec.state != STATE_WAITING || fds[0] < 0 || fds[1] < 0)
		return;
	l->uffd = steal_fd(&fds[0]);
	l->rec.vmm_pid = msg->connected.pid;
	l->rec.vmm_uid = msg->connected.uid;
	l->rec.vmm_start = proc_start_time((pid_t)msg->connected.pid);
	l->rec.page_bytes = msg->connected.page_bytes;
	l->rec.memory_bytes = msg->connected.memory_bytes;
	l->rec.connected_ms = wall_ms();
	restore_move(&l->rec, STATE_SERVING, "", wall_ms());
	if (l->own_socket)
		unlink(l->spec.socket_path);
	l->own_socket = false;
	data = json_object_new_object();
	js_add_u64(data, "pid", msg->connected.pid);
	js_add_u64(data, "uid", msg->connected.uid);
	js_add_u64(data, "regions", msg->connected.nregions);
	js_add_u64(data, "page_bytes", msg->connected.page_bytes);
	js_add_u64(data, "memory_bytes", msg->connected.memory_bytes);
	live_changed(l, "connected", data);
	watch_vmm(l, &fds[1]);
}

static void on_paused(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	l->rec.paused = true;
	l->rec.revision++;
	live_changed(l, "paused", NULL);
}

static void on_complete(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
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

static void on_gone(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	live_end(l, l->stop_reason[0] ? l->stop_reason : "vmm-exited");
}

static void on_released(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	live_end(l, l->stop_reason[0] ? l->stop_reason : "released");
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
	watch_vmm(l, &fds[0]);
	fail(l, why.msg, msg->failed.kill);
}

static const struct {
	enum chan_type type;
	void (*handle)(struct live *l, const struct chan_msg *msg, int *fds);
} handlers[] = {
	{CHAN_READY, on_ready},       {CHAN_REFUSED, on_refused},   {CHAN_CONNECTED, on_connected},
	{CHAN_PAUSED, on_paused},     {CHAN_COMPLETE, on_complete}, {CHAN_NOTE, on_note},
	{CHAN_GONE, on_gone},         {CHAN_RELEASED, on_released}, {CHAN_FAILED, on_failed},
};

static void on_message(void *arg, const struct chan_msg *msg, int *fds)
{
	struct live *l = arg;

	/* After release only its exit is of interest. */
	if (l->map_fd < 0)
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
	err_set(&err, ERR_SYSTEM, "the worker died (%s)", how);
	if (l->creating) {
		create_failed(l, &err);
	} else if (l->map_fd < 0) {
		/* Released: now nothing is left of it. */
		l->host->hooks->changed(l->host->arg, l);
	} else if (l->rec.state != STATE_FAILED) {
		fail(l, err.msg, l->spec.on_failure == FAILURE_KILL);
	}
}

static const struct worker_hooks hooks = {on_message, on_worker_exit};

/* ---- begin ---- */

static int make_map(struct live *l, struct err *err)
{
	char path[CONF_PATH_MAX + 1];

	host_path(l->host, "maps", l->rec.id, path);
	unlink(path);
	l->map_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (l->map_fd < 0)
		return err_sys(err, "create the page map %s", path);
	return 0;
}

/* The canonical request, sealed, for the worker to map. */
static int make_request(const char *text, int *ret_fd, struct err *err)
{
	size_t len = strlen(text), done = 0;
	cleanup_fd int fd = memfd_create("request", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return err_sys(err, "create a memfd");
	while (done < len) {
		ssize_t n = write(fd, text + done, len - done);

		if (n < 0)
			return err_sys(err, "write the request");
		done += (size_t)n;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL))
		return err_sys(err, "seal the request");
	*ret_fd = steal_fd(&fd);
	return 0;
}

/*
 * Our own directory, or a path of somebody who may do anything: bound here.
 * Any other path is the worker's to bind, with its caller's rights.
 */
static int make_socket(struct live *l, uid_t caller, int *ret_fd, struct err *err)
{
	char own[CONF_PATH_MAX + 1];
	bool root = geteuid() == 0;

	host_path(l->host, "uffd", l->rec.id, own);
	*ret_fd = -1;
	if (strcmp(own, l->spec.socket_path) != 0 && caller != geteuid())
		return 0;
	if (sock_listen(l->spec.socket_path, SOCK_STREAM, l->spec.socket_mode,
			root ? l->spec.socket_uid : SOCK_KEEP_OWNER,
			root ? l->spec.socket_gid : SOCK_KEEP_OWNER, ret_fd, err))
		return -1;
	l->own_socket = true;
	return 0;
}

static int assign(struct live *l, const struct sock_peer *caller, struct err *err)
{
	struct chan_msg msg = {0};
	cleanup_fd int request = -1, sock = -1;
	int fds[3];

	if (make_map(l, err) || make_socket(l, caller->uid, &sock, err) ||
	    make_request(l->rec.spec, &request, err) ||
	    pool_take(l->host->pool, &hooks, l, &l->worker, err))
		return -1;
	l->rec.worker_pid = (uint32_t)l->worker->pid;
	l->rec.worker_start = l->worker->start;
	memcpy(msg.assign.id, l->rec.id, sizeof(msg.assign.id));
	msg.assign.become = geteuid() == 0;
	msg.assign.uid = caller->uid;
	msg.assign.gid = caller->gid;
	msg.assign.ngroups = (uint32_t)caller->ngroups;
	for (size_t i = 0; i < caller->ngroups; i++)
		msg.assign.groups[i] = caller->groups[i];
	fds[0] = request;
	fds[1] = l->map_fd;
	fds[2] = sock;
	return worker_send(l->worker, CHAN_ASSIGN, &msg, fds, sock >= 0 ? 3 : 2, err);
}

static void fill_record(struct live *l, const char *id, const struct sock_peer *caller)
{
	cleanup_json struct json_object *spec = spec_json(&l->spec);
	struct restore_record *r = &l->rec;

	snprintf(r->id, sizeof(r->id), "%s", id);
	memcpy(r->tenant, l->spec.tenant, sizeof(r->tenant));
	memcpy(r->boot_id, l->host->boot_id, sizeof(r->boot_id));
	memcpy(r->socket_path, l->spec.socket_path, sizeof(r->socket_path));
	r->state = STATE_WAITING;
	r->revision = 1;
	r->spec = strdup(json_object_to_json_string_ext(spec, JSON_C_TO_STRING_PLAIN));
	r->caller_uid = caller->uid;
	r->caller_gid = caller->gid;
	r->prefetch = l->spec.prefetch;
	r->rate_bytes_per_s = l->spec.rate_bytes_per_s;
	r->created_ms = wall_ms();
}

int live_new(struct host *host, const char *id, struct spec *spec,
	     const struct sock_peer *caller, struct live **ret, struct err *err)
{
	const struct timeval load_by = {LOAD_BY_S, 0};
	struct live *l = xcalloc(1, sizeof(*l));

	l->host = host;
	l->map_fd = l->uffd = l->vmm = -1;
	l->creating = true;
	TAILQ_INIT(&l->creators);
	l->spec = *spec;
	fill_record(l, id, caller);
	if (assign(l, caller, err)) {
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
	free_event(&l->on_vmm);
	free_event(&l->grace);
	free_event(&l->load_by);
	if (l->worker)
		worker_leave(l->worker);
	close_fd(&l->uffd);
	close_fd(&l->vmm);
	close_fd(&l->map_fd);
	restore_record_fini(&l->rec);
	spec_fini(&l->spec);
	free(l);
}

int live_view(const struct live *l, struct pagemap_view *ret, struct err *err)
{
	if (l->map_fd >= 0)
		return pagemap_view(l->map_fd, ret, err);
	*ret = l->last;
	return 0;
}
