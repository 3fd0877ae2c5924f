#include "daemon/live.h"

#include <event2/event.h>
#include <fcntl.h>
#include <string.h>

#include "common/js.h"
#include "common/log.h"
#include "common/proc.h"
#include "daemon/assign.h"
#include "daemon/hear.h"
#include "daemon/holders.h"
#include "daemon/notify.h"
#include "daemon/recover.h"
#include "daemon/vmm.h"

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
	vmm_fini(l);
	free_event(&l->grace);
	free_event(&l->load_by);
	free_event(&l->back_by);
	free_event(&l->no_memory);
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

bool live_stands(const struct live *l)
{
	if (strcmp(l->rec.boot_id, l->host->boot_id) != 0)
		return false;
	if (proto_state_live(l->rec.state))
		return true;
	return l->rec.state == STATE_FAILED && !l->rec.released;
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

void live_kill_failed(struct live *l, const struct err *why)
{
	struct json_object *data = json_object_new_object();

	log_error("the VMM could not be killed", "id=%s pid=%u why=%s", l->rec.id,
		  l->rec.vmm_pid, why->msg);
	js_add_string(data, "detail", why->msg);
	live_changed(l, "kill-failed", data);
}

void live_kill_vmm(struct live *l)
{
	struct err err;

	if (vmm_is_there(l) && vmm_kill(l, &err))
		live_kill_failed(l, &err);
}

/* Visible at once; what the guest hangs on is kept until the VMM has ended. */
void live_fail(struct live *l, const char *reason, bool kill)
{
	if (l->rec.state == STATE_FAILED)
		return;
	log_warning("restore failed", "id=%s tenant=%s reason=%s", l->rec.id, l->rec.tenant, reason);
	restore_move(&l->rec, STATE_FAILED, reason, wall_ms());
	l->rec.released = !vmm_is_there(l);
	unlink_socket(l);
	lessor_back(l->host->lessor, &l->claim);
	live_changed(l, "failed", reason_data(l));
	if (kill)
		live_kill_vmm(l);
	if (!vmm_is_there(l)) {
		release(l);
		l->host->hooks->ended(l->host->arg, l);
	}
}

/* ---- creation ---- */

void live_answer(struct live *l, const struct err *why)
{
	struct creator *c;

	while ((c = TAILQ_FIRST(&l->creators))) {
		TAILQ_REMOVE(&l->creators, c, link);
		c->list = NULL;
		c->done(c, why ? NULL : l, why);
	}
}

void live_stillborn(struct live *l, const struct err *why)
{
	log_info("restore refused", "id=%s tenant=%s why=%s", l->rec.id, l->rec.tenant, why->msg);
	live_answer(l, why);
	if (l->worker)
		worker_abandon(l->worker);
	l->worker = NULL;
	release(l);
	l->host->hooks->stillborn(l->host->arg, l);
}

void live_loaded(struct live *l)
{
	free_event(&l->load_by);
	l->ready = true;
}

static void on_load_by(evutil_socket_t fd, short what, void *arg)
{
	struct live *l = arg;
	struct err err;

	(void)fd;
	(void)what;
	err_set(&err, ERR_TIMEOUT, "opening the snapshot took more than %d s: is its file system "
		"reachable?", LOAD_BY_S);
	live_stillborn(l, &err);
}

/* ---- its worker and its VMM ---- */

void live_known(struct live *l)
{
	struct chan_msg msg = {0};
	struct err err;

	worker_send(l->worker, CHAN_KNOWN, &msg, NULL, 0, &err);
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

void live_note_vmm(struct live *l, uint32_t pid, uint32_t uid, int pidfd)
{
	l->rec.vmm_pid = pid;
	l->rec.vmm_uid = uid;
	l->rec.vmm_start = pidfd >= 0 ? proc_start_behind(pidfd, (pid_t)pid) : 0;
}

void live_connected(struct live *l, const struct chan_connected *c, int pidfd)
{
	live_note_vmm(l, c->pid, c->uid, pidfd);
	l->rec.page_bytes = c->page_bytes;
	l->rec.memory_bytes = c->memory_bytes;
	l->rec.connected_ms = wall_ms();
	restore_move(&l->rec, STATE_SERVING, "", wall_ms());
	unlink_socket(l);
	live_changed(l, "connected", connected_data(c));
}

static void on_worker_exit(void *arg, const char *how)
{
	struct live *l = arg;
	struct err err;

	l->worker = NULL;
	lessor_back(l->host->lessor, &l->claim);
	l->ready = false;
	l->limits_told_us = 0;
	err_set(&err, ERR_SYSTEM, "the worker died (%s)", how);
	if (l->creating) {
		live_stillborn(l, &err);
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

const struct worker_hooks live_worker_hooks = {hear_message, hear_lie, on_worker_exit,
					       on_worker_cut};

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
	vmm_fini(l);
	free_event(&l->grace);
	free_event(&l->load_by);
	free_event(&l->back_by);
	free_event(&l->no_memory);
	close_fd(&l->old_worker);
	if (l->worker)
		worker_leave(l->worker);
	door_close(l);
	close_fd(&l->uffd);
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
