#include "daemon/restore.h"

#include <fcntl.h>
#include <string.h>

#include "common/foreign.h"
#include "common/js.h"
#include "common/proc.h"
#include "daemon/log.h"

void restore_changed(struct restore *r, const char *type, struct json_object *data)
{
	journal_add(r->host->journal, &r->rec, type, data);
	r->host->hooks->changed(r->host->arg, r);
}

int restore_created(struct restore *r, struct json_object *data, struct err *err)
{
	return journal_add_now(r->host->journal, &r->rec, "created", data, err);
}

void restore_publish_failed_create(struct restore *r, const char *type, struct json_object *data)
{
	journal_add(r->host->journal, NULL, type, data);
}

void restore_unserved(struct restore *r)
{
	if (r->rec.state == STATE_SERVING)
		record_move(&r->rec, STATE_RECOVERING, "", wall_ms());
	else
		r->rec.revision++;
}

void restore_served(struct restore *r)
{
	if (r->rec.state == STATE_RECOVERING)
		record_move(&r->rec, STATE_SERVING, "", wall_ms());
}

/* ---- end of a restore ---- */

void restore_over(struct restore *r)
{
	bool live = proto_state_live(r->rec.state);

	if (live)
		record_move(&r->rec, STATE_ENDED, "reboot", wall_ms());
	if (live || !r->rec.released) {
		r->rec.released = true;
		journal_add(r->host->journal, &r->rec, live ? "ended" : "released", NULL);
	}
	slot_event(&r->slot, SLOT_RELEASE_ALONE);
}

/* A VMM that was never served: only the worker has the descriptor that this VMM handed over. */
static bool is_held(const struct restore *r)
{
	return r->worker && r->rec.vmm_pid && !r->rec.connected_ms;
}

bool restore_has_vmm(const struct restore *r)
{
	return r->hold.vmm >= 0 || r->hold.uffd >= 0 || is_held(r);
}

void restore_release(struct restore *r)
{
	struct chan_msg stop = {.stop.how = CHAN_STOP_WAITING};
	struct err err;

	lease_scheduler_back(r->host->leases, &r->claim);
	holdings_release(&r->hold, r->host, r->rec.key, r->spec.socket_path);
	slot_event(&r->slot, r->worker ? SLOT_RELEASE : SLOT_RELEASE_ALONE);
	if (r->worker) {
		/* Fails where the worker has left already, for instance after the VMM. */
		worker_send(r->worker, CHAN_STOP, &stop, NULL, 0, &err);
		worker_expect_exit(r->worker, RESTORE_LEAVE_MS);
	} else {
		holdings_close_map(&r->hold);
	}
}

bool restore_stands(const struct restore *r)
{
	if (strcmp(r->rec.boot_id, r->host->boot_id) != 0)
		return false;
	if (proto_state_live(r->rec.state))
		return true;
	return r->rec.state == STATE_FAILED && !r->rec.released;
}

bool restore_released(const struct restore *r)
{
	return r->slot.state == SLOT_OVER;
}

static struct json_object *reason_data(const struct restore *r)
{
	struct json_object *data = json_object_new_object();

	js_add_string(data, "reason", r->rec.reason);
	return data;
}

void restore_end(struct restore *r, const char *reason)
{
	bool failed = r->rec.state == STATE_FAILED;

	if (r->rec.stop_reason[0])
		reason = r->rec.stop_reason;
	if (!failed)
		record_move(&r->rec, STATE_ENDED, reason, wall_ms());
	foreign_close(&r->hold.uffd);
	r->rec.released = true;
	/* Stored before the files go: a live row without files would look lost. */
	journal_add(r->host->journal, &r->rec, failed ? "released" : "ended", reason_data(r));
	restore_release(r);
	r->host->hooks->ended(r->host->arg, r);
	r->host->hooks->changed(r->host->arg, r);
}

bool restore_fail(struct restore *r, const char *reason)
{
	if (r->rec.state == STATE_FAILED)
		return false;
	log_warning("restore failed", "id=%s tenant=%s reason=%s", r->rec.id, r->rec.tenant,
		    reason);
	record_move(&r->rec, STATE_FAILED, reason, wall_ms());
	r->rec.released = !restore_has_vmm(r);
	holdings_close_socket(&r->hold, r->spec.socket_path);
	lease_scheduler_back(r->host->leases, &r->claim);
	restore_changed(r, "failed", reason_data(r));
	if (!restore_has_vmm(r)) {
		restore_release(r);
		r->host->hooks->ended(r->host->arg, r);
	}
	return true;
}

/* ---- worker and VMM ---- */

void restore_listen(struct restore *r, int *listen_fd, size_t npeers)
{
	acceptor_open(&r->hold.acceptor, listen_fd, npeers, r->rec.state == STATE_WAITING);
}

void restore_known(struct restore *r)
{
	struct chan_msg msg = {0};
	struct err err;

	worker_send(r->worker, CHAN_KNOWN, &msg, NULL, 0, &err);
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

void restore_note_vmm(struct restore *r, uint32_t pid, uint32_t uid, int pidfd)
{
	r->rec.vmm_pid = pid;
	r->rec.vmm_uid = uid;
	r->rec.vmm_start = pidfd >= 0 ? proc_start_behind(pidfd, (pid_t)pid) : 0;
}

void restore_connected(struct restore *r, const struct chan_connected *c, int pidfd)
{
	restore_note_vmm(r, c->pid, c->uid, pidfd);
	r->rec.page_bytes = c->page_bytes;
	r->rec.memory_bytes = c->memory_bytes;
	r->rec.connected_ms = wall_ms();
	record_move(&r->rec, STATE_SERVING, "", wall_ms());
	holdings_close_socket(&r->hold, r->spec.socket_path);
	restore_changed(r, "connected", connected_data(c));
}

static void send_lease(struct claim *c, enum chan_type type, struct chan_msg *msg)
{
	struct restore *r = (struct restore *)((char *)c - offsetof(struct restore, claim));
	struct err err;

	if (r->worker)
		worker_send(r->worker, type, msg, NULL, 0, &err);
}

const struct lease_scheduler_hooks restore_lease_hooks = {send_lease};

/* ---- begin ---- */

static bool send_peer(void *arg, int sock)
{
	struct restore *r = arg;
	struct chan_msg msg = {0};
	struct err err;

	return r->worker && worker_send(r->worker, CHAN_PEER, &msg, &sock, 1, &err) == 0;
}

static bool has_room(void *arg)
{
	const struct restore *r = arg;

	return r->host->hooks->room(r->host->arg);
}

static const struct acceptor_hooks acceptor_hooks = {send_peer, has_room};

void restore_init(struct restore *r, struct host *host)
{
	r->host = host;
	holdings_init(&r->hold, host->base, &acceptor_hooks, r);
	TAILQ_INIT(&r->creators);
}

void restore_begin(struct restore *r, const char *key, const char *id,
		   const struct sock_peer *caller)
{
	snprintf(r->rec.key, sizeof(r->rec.key), "%s", key);
	record_begin(&r->rec, id, &r->spec, caller, wall_ms());
	memcpy(r->rec.boot_id, r->host->boot_id, sizeof(r->rec.boot_id));
	r->rec.recording = r->spec.record && r->host->conf.record_window_ms > 0;
}

void restore_free(struct restore *r)
{
	lease_scheduler_back(r->host->leases, &r->claim);
	if (r->worker)
		worker_leave(r->worker);
	holdings_fini(&r->hold);
	record_fini(&r->rec);
	spec_fini(&r->spec);
	free(r);
}

int restore_open_map(const struct restore *r, int *ret_fd, struct err *err)
{
	char path[CONF_PATH_MAX + 1];

	host_path(r->host, "maps", r->rec.key, path);
	*ret_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return *ret_fd < 0 ? err_sys(err, "open the page map %s", path) : 0;
}

int restore_view(const struct restore *r, struct pagemap_view *ret, struct err *err)
{
	cleanup_fd int map = -1;

	if (r->hold.map_fd >= 0)
		return pagemap_view(r->hold.map_fd, ret, err);
	if (!slot_is_released(&r->slot))
		return restore_open_map(r, &map, err) || pagemap_view(map, ret, err) ? -1 : 0;
	*ret = r->hold.last;
	return 0;
}
