#include "daemon/live.h"

#include <event2/event.h>
#include <fcntl.h>
#include <string.h>

#include "common/js.h"
#include "common/log.h"
#include "common/proc.h"
#include "daemon/holders.h"
#include "daemon/notify.h"
#include "daemon/timer.h"

void live_changed(struct live *l, const char *type, struct json_object *data)
{
	journal_add(l->host->journal, &l->rec, type, data);
	l->host->hooks->changed(l->host->arg, l);
}

/* ---- end of a restore ---- */

/* No VMM is to come any more. */
static void unlink_socket(struct live *l)
{
	if (l->own_socket)
		unlink(l->spec.socket_path);
	l->own_socket = false;
	door_close(&l->door);
}

static void unlink_files(struct live *l)
{
	char path[CONF_PATH_MAX + 1];

	host_path(l->host, "maps", l->rec.id, path);
	unlink(path);
	unlink_socket(l);
}

/* One that was never served: its worker alone has what it handed over. */
static bool is_held(const struct live *l)
{
	return l->worker && l->rec.vmm_pid && !l->rec.connected_ms;
}

bool live_has_vmm(const struct live *l)
{
	return l->vmm >= 0 || l->uffd >= 0 || is_held(l);
}

void live_forget_vmm(struct live *l)
{
	timer_drop(&l->on_vmm);
	timer_drop(&l->ask_vmm);
	close_fd(&l->vmm);
	l->life = (struct life){0};
}

/* Its last counters are good once nobody writes them any more. */
void live_close_map(struct live *l)
{
	struct err err;

	if (l->map_fd >= 0 && pagemap_view(l->map_fd, &l->last, &err))
		memset(&l->last, 0, sizeof(l->last));
	close_fd(&l->map_fd);
}

/* Everything but the record goes. A blocked thread of a dead VMM waits for the uffd. */
void live_release(struct live *l)
{
	struct chan_msg stop = {.stop.how = CHAN_STOP_WAITING};
	struct err err;

	close_fd(&l->uffd);
	lessor_back(l->host->lessor, &l->claim);
	if (!slot_is_released(&l->slot))
		notify_forget(l->rec.id);
	live_forget_vmm(l);
	timer_drop(&l->grace);
	timer_drop(&l->load_by);
	timer_drop(&l->back_by);
	timer_drop(&l->no_memory);
	close_fd(&l->old_worker);
	holders_end(l->host, l->rec.id);
	if (l->map_fd < 0)
		live_open_map(l, &l->map_fd, &err);
	unlink_files(l);
	slot_event(&l->slot, l->worker ? SLOT_RELEASE : SLOT_RELEASE_ALONE);
	if (l->worker) {
		/* It may have left already, or leave because the VMM did. */
		worker_send(l->worker, CHAN_STOP, &stop, NULL, 0, &err);
		worker_expect_exit(l->worker, LIVE_LEAVE_MS);
	} else {
		live_close_map(l);
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
	return l->slot.state == SLOT_OVER;
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
	live_release(l);
	l->host->hooks->ended(l->host->arg, l);
	l->host->hooks->changed(l->host->arg, l);
}

bool live_fail(struct live *l, const char *reason)
{
	if (l->rec.state == STATE_FAILED)
		return false;
	log_warning("restore failed", "id=%s tenant=%s reason=%s", l->rec.id, l->rec.tenant, reason);
	restore_move(&l->rec, STATE_FAILED, reason, wall_ms());
	l->rec.released = !live_has_vmm(l);
	unlink_socket(l);
	lessor_back(l->host->lessor, &l->claim);
	live_changed(l, "failed", reason_data(l));
	if (!live_has_vmm(l)) {
		live_release(l);
		l->host->hooks->ended(l->host->arg, l);
	}
	return true;
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

static void tell_lease(struct claim *c, enum chan_type type, struct chan_msg *msg)
{
	struct live *l = (struct live *)((char *)c - offsetof(struct live, claim));
	struct err err;

	if (l->worker)
		worker_send(l->worker, type, msg, NULL, 0, &err);
}

const struct lessor_hooks live_lessor_hooks = {tell_lease};

/* ---- begin ---- */

static bool send_peer(void *arg, int sock)
{
	struct live *l = arg;
	struct chan_msg msg = {0};
	struct err err;

	return l->worker && worker_send(l->worker, CHAN_PEER, &msg, &sock, 1, &err) == 0;
}

static bool has_room(void *arg)
{
	const struct live *l = arg;

	return l->host->hooks->room(l->host->arg);
}

static const struct door_hooks door_hooks = {send_peer, has_room};

void live_init(struct live *l, struct host *host)
{
	l->host = host;
	l->map_fd = l->uffd = l->vmm = l->old_worker = -1;
	door_init(&l->door, host->base, &door_hooks, l);
	TAILQ_INIT(&l->creators);
}

void live_begin(struct live *l, const char *id, const struct sock_peer *caller)
{
	restore_begin(&l->rec, id, &l->spec, caller, wall_ms());
	memcpy(l->rec.boot_id, l->host->boot_id, sizeof(l->rec.boot_id));
	l->rec.recording = l->spec.record && l->host->conf.record_window_ms > 0;
}

void live_free(struct live *l)
{
	lessor_back(l->host->lessor, &l->claim);
	live_forget_vmm(l);
	timer_drop(&l->grace);
	timer_drop(&l->load_by);
	timer_drop(&l->back_by);
	timer_drop(&l->no_memory);
	close_fd(&l->old_worker);
	if (l->worker)
		worker_leave(l->worker);
	door_close(&l->door);
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
	if (!slot_is_released(&l->slot))
		return live_open_map(l, &map, err) || pagemap_view(map, ret, err) ? -1 : 0;
	*ret = l->last;
	return 0;
}
