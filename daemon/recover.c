#include "daemon/recover.h"

#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <string.h>

#include "common/js.h"
#include "common/log.h"
#include "common/proc.h"
#include "daemon/assign.h"
#include "daemon/fetch.h"
#include "daemon/home.h"
#include "daemon/notify.h"
#include "daemon/spawn.h"
#include "daemon/steer.h"
#include "daemon/vmm.h"

/* How long a worker may take to find its new supervisor, on a host that is too busy to run it. */
#define BACK_MS 30000
/* How long a VMM may take to end once its memory and its descriptors are gone. */
#define ENDING_MS 10000

static struct json_object *detail(const char *text)
{
	struct json_object *data = json_object_new_object();

	js_add_string(data, "detail", text);
	return data;
}

__attribute__((format(printf, 2, 3)))
static void give_up(struct live *l, const char *fmt, ...)
{
	char reason[RESTORE_REASON_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	/* Poisoning takes a worker, and a guest must not hang unseen. */
	if (live_fail(l, reason) && l->spec.on_failure != FAILURE_HOLD)
		vmm_end(l);
}

/* ---- a worker died ---- */

/* A worker that dies again and again would keep its guest stumbling for ever. */
static bool too_often(struct live *l)
{
	uint64_t now = now_us();

	if (now - l->deaths_since_us > l->host->conf.worker_restart_window_ms * 1000) {
		l->deaths_since_us = now;
		l->deaths = 0;
	}
	return ++l->deaths > l->host->conf.worker_restarts;
}

static void tell_death(struct live *l, const char *how)
{
	struct json_object *data = detail(how);

	js_add_u64(data, "restarts", l->rec.worker_restarts);
	live_changed(l, "worker-died", data);
}

static void start_successor(struct live *l, const char *how)
{
	struct err err, ignored;
	int chosen = assign_choose(l, &err);

	tell_death(l, how);
	if (chosen == 0 && assign_successor(l, &err) == 0)
		return;
	/* It was dying when it was chosen: one more death, and its end leads here again. */
	if (chosen == 0 && err.code == ERR_UNREADY) {
		proc_kill(l->worker->pidfd, &ignored);
		return;
	}
	if (l->worker)
		worker_abandon(l->worker);
	l->worker = NULL;
	give_up(l, "no worker could take over: %s", err.msg);
}

/*
 * The pidfd of that very process, or -1 if it has ended. A start time that is read
 * after the pidfd was taken is of the process behind it; one that nobody has
 * reaped yet still has its start time, but its pidfd tells.
 */
static int find_process(uint32_t pid, uint64_t start)
{
	struct err err;
	int pidfd;

	if (!pid || proc_pidfd((pid_t)pid, &pidfd, &err))
		return -1;
	if (proc_start_time((pid_t)pid) == start && !proc_ended(pidfd))
		return pidfd;
	close(pidfd);
	return -1;
}

static bool find_vmm(struct live *l)
{
	int pidfd = find_process(l->rec.vmm_pid, l->rec.vmm_start);

	if (pidfd < 0)
		return false;
	vmm_watch(l, &pidfd);
	return true;
}

/*
 * Neither we nor the worker hold it any more: somebody else still does. *ret_left_alone:
 * nobody needs it, its regions are no longer registered.
 */
static int find_uffd(struct live *l, bool *ret_left_alone, struct err *err)
{
	cleanup_fd int map = -1;
	struct pagemap_view view;

	if (live_open_map(l, &map, err) || pagemap_view(map, &view, err))
		return -1;
	*ret_left_alone = view.head.releasing;
	if (l->vmm < 0)
		return err_set(err, ERR_NOTFOUND, "the process whose memory it is is not known");
	if (fetch_uffd(l->vmm, (pid_t)l->rec.vmm_pid, map, &view, &l->uffd, err))
		return -1;
	notify_keep(l->rec.id, l->uffd);
	return 0;
}

static int find_learnt(uint32_t pid)
{
	int pidfd;
	struct err err;

	return pid && proc_pidfd((pid_t)pid, &pidfd, &err) == 0 ? pidfd : -1;
}

/*
 * Its worker may have met the VMM, and ended before it could tell: then the page map
 * knows. Nothing may be begun anew, for the guest may have run since. We may still have the
 * connection, and in it the uffd; else that its process is still the same one shows when
 * it is found to hold a uffd with these regions.
 */
static bool learn_vmm(struct live *l)
{
	struct pagemap_view view;
	struct chan_connected c;
	cleanup_fd int map = -1;
	int vmm = -1, uffd = -1;
	struct err err;

	if (l->rec.state != STATE_WAITING || live_view(l, &view, &err) ||
	    !view.head.connected)
		return false;
	c = (struct chan_connected){
		.pid = view.head.vmm_pid,
		.uid = view.head.vmm_uid,
		.gid = view.head.vmm_gid,
		.nregions = view.regions.n,
		.page_bytes = view.regions.page_bytes,
		.memory_bytes = regions_bytes(&view.regions),
	};
	if (live_open_map(l, &map, &err) ||
	    !door_find(&l->door, l->spec.peer_uid, map, &view, &vmm, &uffd))
		vmm = find_learnt(c.pid);
	/* What the page map says is the worker's word. */
	if (vmm >= 0 && !vmm_may_be(l, vmm, c.pid))
		close_fd(&vmm);
	live_connected(l, &c, vmm);
	if (uffd >= 0) {
		close_fd(&l->uffd);
		l->uffd = uffd;
		notify_keep(l->rec.id, uffd);
	}
	if (vmm >= 0 || l->uffd >= 0)
		vmm_watch(l, &vmm);
	return true;
}

/* Its worker had nobody to tell that it was complete. */
static void end_left_alone(struct live *l)
{
	struct pagemap_view view;
	struct err err;

	if (!l->rec.complete && live_view(l, &view, &err) == 0 && pagemap_view_complete(&view)) {
		l->rec.complete = true;
		l->rec.revision++;
		live_changed(l, "complete", NULL);
	}
	live_end(l, "released");
}

/* Has there been a VMM? Then nothing may be begun anew, and without a userfaultfd nothing go on. */
static bool has_begun(const struct live *l)
{
	return l->rec.state != STATE_WAITING;
}

static void on_no_end(evutil_socket_t fd, short what, void *arg)
{
	struct live *l = arg;

	(void)fd;
	(void)what;
	/* It has ended, and its pidfd just did not get its turn yet. */
	if (vmm_has_ended(l))
		return;
	give_up(l, "the worker died, and nobody has the userfaultfd for another: the VMM (pid %u) "
		"has no memory any more, and does not end", l->rec.vmm_pid);
}

/* Its pidfd will tell: its end, or that of its main thread alone, which tells nothing. */
static void await_end(struct live *l)
{
	const struct timeval by = {ENDING_MS / 1000, ENDING_MS % 1000 * 1000};
	struct json_object *data = json_object_new_object();

	if (!l->no_memory)
		l->no_memory = evtimer_new(l->host->base, on_no_end, l);
	evtimer_add(l->no_memory, &by);
	if (l->rec.state == STATE_SERVING)
		restore_move(&l->rec, STATE_RECOVERING, "", wall_ms());
	js_add_u64(data, "pid", l->rec.vmm_pid);
	live_changed(l, "vmm-ending", data);
}

/*
 * A VMM that only the page map knows, or a uffd that nobody of ours holds any
 * more. True: there is nothing (left) to go on with, and that has been told.
 */
static bool regain(struct live *l)
{
	bool left_alone = false;
	struct err err;

	if (learn_vmm(l) && (!live_has_vmm(l) || vmm_has_ended(l))) {
		live_end(l, "vmm-exited");
		return true;
	}
	if (!has_begun(l) || l->uffd >= 0 || find_uffd(l, &left_alone, &err) == 0)
		return false;
	if (err.sys == ESRCH)
		await_end(l);
	else if (left_alone)
		end_left_alone(l);
	else
		give_up(l, "the worker died, and nobody has the userfaultfd for another: %s",
			err.msg);
	return true;
}

/*
 * Is its VMM gone? Whoever has the uffd can tell, so ask @worker (its pidfd, or -1); where
 * nobody has it, that who connected is not there any more.
 */
static bool is_over(const struct live *l, int worker)
{
	if (l->uffd >= 0 || l->vmm >= 0)
		return vmm_has_ended(l);
	if (worker >= 0)
		return fetch_life(worker, (pid_t)l->rec.worker_pid) == UF_ENDED;
	return l->rec.vmm_pid || l->rec.state == STATE_FAILED;
}

void recover_worker(struct live *l, const char *how)
{
	bool dismissed = l->dismissed;

	l->dismissed = false;
	if (is_over(l, -1)) {
		live_end(l, "vmm-exited");
		return;
	}
	/* Its VMM is killed, or held without anybody. */
	if (l->hopeless || (l->rec.state == STATE_FAILED && l->spec.on_failure == FAILURE_KILL))
		return;
	if (regain(l))
		return;
	if (!dismissed && too_often(l)) {
		give_up(l, "its workers die again and again, the last by %s", how);
		return;
	}
	l->rec.worker_restarts++;
	if (l->rec.state == STATE_SERVING)
		restore_move(&l->rec, STATE_RECOVERING, "", wall_ms());
	else
		l->rec.revision++;
	log_notice("a worker died, another takes over", "id=%s restarts=%u how=%s", l->rec.id,
		   l->rec.worker_restarts, how);
	start_successor(l, how);
}

void recover_done(struct live *l)
{
	if (l->rec.state == STATE_RECOVERING)
		restore_move(&l->rec, STATE_SERVING, "", wall_ms());
	l->replacing = false;
	assign_presence(l);
	live_changed(l, "recovered", NULL);
	steer_go_on(l);
}

int recover_replace(struct live *l, struct err *err)
{
	if (!l->worker || !proto_state_live(l->rec.state) || l->creating)
		return err_set(err, ERR_STATE, "restore %s is %s: there is no worker to replace",
			       l->rec.id, proto_state_name(l->rec.state));
	if (proc_kill(l->worker->pidfd, err))
		return -1;
	l->replacing = l->dismissed = true;
	return 0;
}

/* ---- we are new ---- */

static void wait_on(struct live *l)
{
	const struct timeval by = {BACK_MS / 1000, BACK_MS % 1000 * 1000};

	event_add(l->back_by, &by);
}

static void on_old_worker(evutil_socket_t fd, short what, void *arg)
{
	struct live *l = arg;
	struct err err;
	char how[64];

	(void)fd;
	/*
	 * It may stand at our door: it may have died with its BACK, the socket and the uffd on the
	 * way to us, and who was kept waiting may be we.
	 */
	home_hear_all(l->host->home);
	if (l->worker)
		return;
	/* Nobody is let in: that is not its fault. */
	if (what & EV_TIMEOUT && !l->host->hooks->room(l->host->arg)) {
		wait_on(l);
		return;
	}
	if (what & EV_TIMEOUT) {
		/* Hung, or of a protocol that we do not speak. Two must not serve one guest. */
		proc_kill(l->old_worker, &err);
		event_add(l->back_by, NULL);
		return;
	}
	event_free(l->back_by);
	l->back_by = NULL;
	/* If it was our own child. */
	spawn_reap(l->old_worker, how, sizeof(how));
	close_fd(&l->old_worker);
	recover_worker(l, "found dead after a restart");
}

/* It comes back, or ends, or is made to end. */
static void wait_for_worker(struct live *l, int *pidfd)
{
	l->old_worker = steal_fd(pidfd);
	l->back_by = event_new(l->host->base, l->old_worker, EV_READ, on_old_worker, l);
	wait_on(l);
}

static void forget_channel(struct live *l)
{
	l->worker = NULL;
	l->ready = false;
	lessor_back(l->host->lessor, &l->claim);
	door_forget_told(&l->door);
}

void recover_cut(struct live *l, int *pidfd)
{
	log_warning("descriptors are short, a worker has to say all of it again", "id=%s worker=%u",
		    l->rec.id, l->rec.worker_pid);
	forget_channel(l);
	wait_for_worker(l, pidfd);
}

void recover_row(struct live *l)
{
	cleanup_fd int worker = find_process(l->rec.worker_pid, l->rec.worker_start);
	bool connected = l->rec.vmm_pid || has_begun(l), vmm = find_vmm(l);
	cleanup_fd int map = -1;
	char own[CONF_PATH_MAX + 1];
	int gone = -1;
	struct err err;

	/* Also for a worker that is still there: what nobody has taken is closed soon. */
	if (l->uffd < 0)
		l->uffd = notify_take(l->rec.id);
	if (connected && !vmm && l->uffd >= 0)
		vmm_watch(l, &gone);
	host_path(l->host, "uffd", l->rec.id, own);
	l->own_socket = l->rec.state == STATE_WAITING &&
			(strcmp(own, l->rec.socket_path) == 0 || l->rec.caller_uid == geteuid());
	/* Its files stay until it is released, whatever state it is in. */
	if (live_open_map(l, &map, &err)) {
		if (vmm || (l->uffd >= 0 && !vmm_has_ended(l)))
			give_up(l, "its page states are lost: %s", err.msg);
		else
			live_end(l, "vmm-exited");
		return;
	}
	if (connected && !vmm && is_over(l, worker)) {
		live_end(l, "vmm-exited");
		return;
	}
	/* Who failed it may have died before he did so. */
	if (l->rec.state == STATE_FAILED && l->spec.on_failure == FAILURE_KILL)
		vmm_end(l);
	if (worker >= 0)
		wait_for_worker(l, &worker);
	else
		recover_worker(l, "found dead after a restart");
}

bool recover_came_back(struct live *l, struct worker *w, int *listen_fd, size_t npeers)
{
	if (l->released || (uint32_t)w->pid != l->rec.worker_pid ||
	    w->start != l->rec.worker_start || (l->worker && !l->worker->closed))
		return false;
	/* It has lost its channel to us, for want of descriptors, and is not missed yet. */
	if (l->worker) {
		worker_leave(l->worker);
		forget_channel(l);
	}
	if (l->back_by)
		event_free(l->back_by);
	l->back_by = NULL;
	close_fd(&l->old_worker);
	l->worker = w;
	worker_own(w, l->host->worker_hooks, l);
	door_open(&l->door, listen_fd, npeers, l->rec.state == STATE_WAITING);
	if (l->rec.state == STATE_RECOVERING)
		restore_move(&l->rec, STATE_SERVING, "", wall_ms());
	l->ready = true;
	live_known(l);
	live_changed(l, "adopted", NULL);
	steer_go_on(l);
	return true;
}
