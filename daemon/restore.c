#include "daemon/restore.h"

#include <fcntl.h>
#include <string.h>

#include "common/js.h"
#include "common/proc.h"
#include "daemon/log.h"

void restore_changed(struct restore *l, const char *type, struct json_object *data)
{
	journal_add(l->host->journal, &l->rec, type, data);
	l->host->hooks->changed(l->host->arg, l);
}

int restore_created(struct restore *l, struct json_object *data, struct err *err)
{
	return journal_add_now(l->host->journal, &l->rec, "created", data, err);
}

void restore_tell_unborn(struct restore *l, const char *type, struct json_object *data)
{
	journal_add(l->host->journal, NULL, type, data);
}

void restore_unserved(struct restore *l)
{
	if (l->rec.state == STATE_SERVING)
		record_move(&l->rec, STATE_RECOVERING, "", wall_ms());
	else
		l->rec.revision++;
}

void restore_served(struct restore *l)
{
	if (l->rec.state == STATE_RECOVERING)
		record_move(&l->rec, STATE_SERVING, "", wall_ms());
}

/* ---- end of a restore ---- */

void restore_over(struct restore *l)
{
	if (proto_state_live(l->rec.state)) {
		record_move(&l->rec, STATE_ENDED, "reboot", wall_ms());
		journal_add(l->host->journal, &l->rec, "ended", NULL);
	}
	slot_event(&l->slot, SLOT_RELEASE_ALONE);
}

/* One that was never served: its worker alone has what it handed over. */
static bool is_held(const struct restore *l)
{
	return l->worker && l->rec.vmm_pid && !l->rec.connected_ms;
}

bool restore_has_vmm(const struct restore *l)
{
	return l->hold.vmm >= 0 || l->hold.uffd >= 0 || is_held(l);
}

void restore_release(struct restore *l)
{
	struct chan_msg stop = {.stop.how = CHAN_STOP_WAITING};
	struct err err;

	lease_scheduler_back(l->host->leases, &l->claim);
	holdings_release(&l->hold, l->host, l->rec.id, l->spec.socket_path);
	slot_event(&l->slot, l->worker ? SLOT_RELEASE : SLOT_RELEASE_ALONE);
	if (l->worker) {
		/* It may have left already, or leave because the VMM did. */
		worker_send(l->worker, CHAN_STOP, &stop, NULL, 0, &err);
		worker_expect_exit(l->worker, RESTORE_LEAVE_MS);
	} else {
		holdings_close_map(&l->hold);
	}
}

bool restore_stands(const struct restore *l)
{
	if (strcmp(l->rec.boot_id, l->host->boot_id) != 0)
		return false;
	if (proto_state_live(l->rec.state))
		return true;
	return l->rec.state == STATE_FAILED && !l->rec.released;
}

bool restore_released(const struct restore *l)
{
	return l->slot.state == SLOT_OVER;
}

static struct json_object *reason_data(const struct restore *l)
{
	struct json_object *data = json_object_new_object();

	js_add_string(data, "reason", l->rec.reason);
	return data;
}

void restore_end(struct restore *l, const char *reason)
{
	bool failed = l->rec.state == STATE_FAILED;

	if (l->rec.stop_reason[0])
		reason = l->rec.stop_reason;
	if (!failed)
		record_move(&l->rec, STATE_ENDED, reason, wall_ms());
	close_fd(&l->hold.uffd);
	l->rec.released = true;
	/* Before its files go: a living row without them would be taken for a lost one. */
	journal_add(l->host->journal, &l->rec, failed ? "released" : "ended", reason_data(l));
	restore_release(l);
	l->host->hooks->ended(l->host->arg, l);
	l->host->hooks->changed(l->host->arg, l);
}

bool restore_fail(struct restore *l, const char *reason)
{
	if (l->rec.state == STATE_FAILED)
		return false;
	log_warning("restore failed", "id=%s tenant=%s reason=%s", l->rec.id, l->rec.tenant, reason);
	record_move(&l->rec, STATE_FAILED, reason, wall_ms());
	l->rec.released = !restore_has_vmm(l);
	holdings_close_socket(&l->hold, l->spec.socket_path);
	lease_scheduler_back(l->host->leases, &l->claim);
	restore_changed(l, "failed", reason_data(l));
	if (!restore_has_vmm(l)) {
		restore_release(l);
		l->host->hooks->ended(l->host->arg, l);
	}
	return true;
}

/* ---- its worker and its VMM ---- */

void restore_known(struct restore *l)
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

void restore_note_vmm(struct restore *l, uint32_t pid, uint32_t uid, int pidfd)
{
	l->rec.vmm_pid = pid;
	l->rec.vmm_uid = uid;
	l->rec.vmm_start = pidfd >= 0 ? proc_start_behind(pidfd, (pid_t)pid) : 0;
}

void restore_connected(struct restore *l, const struct chan_connected *c, int pidfd)
{
	restore_note_vmm(l, c->pid, c->uid, pidfd);
	l->rec.page_bytes = c->page_bytes;
	l->rec.memory_bytes = c->memory_bytes;
	l->rec.connected_ms = wall_ms();
	record_move(&l->rec, STATE_SERVING, "", wall_ms());
	holdings_close_socket(&l->hold, l->spec.socket_path);
	restore_changed(l, "connected", connected_data(c));
}

static void tell_lease(struct claim *c, enum chan_type type, struct chan_msg *msg)
{
	struct restore *l = (struct restore *)((char *)c - offsetof(struct restore, claim));
	struct err err;

	if (l->worker)
		worker_send(l->worker, type, msg, NULL, 0, &err);
}

const struct lease_scheduler_hooks restore_lease_hooks = {tell_lease};

/* ---- begin ---- */

static bool send_peer(void *arg, int sock)
{
	struct restore *l = arg;
	struct chan_msg msg = {0};
	struct err err;

	return l->worker && worker_send(l->worker, CHAN_PEER, &msg, &sock, 1, &err) == 0;
}

static bool has_room(void *arg)
{
	const struct restore *l = arg;

	return l->host->hooks->room(l->host->arg);
}

static const struct acceptor_hooks acceptor_hooks = {send_peer, has_room};

void restore_init(struct restore *l, struct host *host)
{
	l->host = host;
	holdings_init(&l->hold, host->base, &acceptor_hooks, l);
	TAILQ_INIT(&l->creators);
}

void restore_begin(struct restore *l, const char *id, const struct sock_peer *caller)
{
	record_begin(&l->rec, id, &l->spec, caller, wall_ms());
	memcpy(l->rec.boot_id, l->host->boot_id, sizeof(l->rec.boot_id));
	l->rec.recording = l->spec.record && l->host->conf.record_window_ms > 0;
}

void restore_free(struct restore *l)
{
	lease_scheduler_back(l->host->leases, &l->claim);
	if (l->worker)
		worker_leave(l->worker);
	holdings_fini(&l->hold);
	record_fini(&l->rec);
	spec_fini(&l->spec);
	free(l);
}

int restore_open_map(const struct restore *l, int *ret_fd, struct err *err)
{
	char path[CONF_PATH_MAX + 1];

	host_path(l->host, "maps", l->rec.id, path);
	*ret_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return *ret_fd < 0 ? err_sys(err, "open the page map %s", path) : 0;
}

int restore_view(const struct restore *l, struct pagemap_view *ret, struct err *err)
{
	cleanup_fd int map = -1;

	if (l->hold.map_fd >= 0)
		return pagemap_view(l->hold.map_fd, ret, err);
	if (!slot_is_released(&l->slot))
		return restore_open_map(l, &map, err) || pagemap_view(map, ret, err) ? -1 : 0;
	*ret = l->hold.last;
	return 0;
}
