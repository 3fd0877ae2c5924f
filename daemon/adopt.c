#include "daemon/adopt.h"

#include <event2/event.h>
#include <string.h>

#include "common/proc.h"
#include "daemon/reconnect.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/recover.h"
#include "daemon/spawn.h"
#include "daemon/commands.h"
#include "daemon/timer.h"
#include "daemon/vmm.h"

/* After this time it is told that a worker has not found its new supervisor; long, for a busy host. */
#define BACK_MS 30000

/* ---- a worker that is awaited ---- */

static void wait_on(struct restore *r)
{
	timer_add(r->hold.back_by, BACK_MS * TIMER_MS);
}

/*
 * The worker may serve its guest all the same. Whether it does cannot be seen from here, and killing
 * it could cost the guest: so that is left to restart-worker.
 */
static void tell_missing(struct restore *r)
{
	struct json_object *data = json_object_new_object();

	log_warning("a worker that lives has not come back; restart-worker replaces it",
		    "id=%s tenant=%s worker=%u", r->rec.id, r->rec.tenant, r->rec.worker_pid);
	js_add_u64(data, "pid", r->rec.worker_pid);
	restore_changed(r, "worker-missing", data);
}

static void on_old_worker(evutil_socket_t fd, short what, void *arg)
{
	struct restore *r = arg;
	char how[64];

	(void)fd;
	/*
	 * The worker may have sent REATTACH, with the socket and the uffd, and died before it was
	 * accepted. Perhaps it was we who kept it waiting.
	 */
	reconnect_receive_all(r->host->reconnect);
	if (r->worker)
		return;
	/* While descriptors are short no worker is accepted: that is not the worker's fault. */
	if (what & EV_TIMEOUT && !r->host->hooks->room(r->host->arg)) {
		wait_on(r);
		return;
	}
	if (what & EV_TIMEOUT) {
		tell_missing(r);
		event_add(r->hold.back_by, NULL);
		return;
	}
	timer_drop(&r->hold.back_by);
	/* Only if the worker is our own child. */
	spawn_reap(r->hold.old_worker, how, sizeof(how));
	close_fd(&r->hold.old_worker);
	slot_event(&r->slot, SLOT_EXITED);
	recover_worker(r, "found dead after a restart", true);
}

/* The worker comes back, or exits, or is killed by recover_replace(). */
static void wait_for_worker(struct restore *r, int *pidfd)
{
	slot_event(&r->slot, SLOT_AWAIT);
	r->hold.old_worker = steal_fd(pidfd);
	r->hold.back_by = event_new(r->host->base, r->hold.old_worker, EV_READ, on_old_worker, r);
	wait_on(r);
}

static void forget_channel(struct restore *r)
{
	r->worker = NULL;
	lease_scheduler_back(r->host->leases, &r->claim);
	acceptor_forget_sent(&r->hold.acceptor);
}

void adopt_cut(struct restore *r, int *pidfd)
{
	log_warning("descriptors are short, a worker has to say all of it again",
		    "id=%s tenant=%s worker=%u", r->rec.id, r->rec.tenant, r->rec.worker_pid);
	forget_channel(r);
	wait_for_worker(r, pidfd);
}

/* ---- a row of a former run ---- */

/*
 * Returns the pidfd of that very process, or -1 if it has ended. The start time is read after the
 * pidfd was taken, so it belongs to the process behind the pidfd. A zombie still has its start
 * time, but its pidfd tells that it has ended.
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

static bool find_vmm(struct restore *r)
{
	int pidfd = find_process(r->rec.vmm_pid, r->rec.vmm_start);

	if (pidfd < 0)
		return false;
	vmm_watch(r, &pidfd);
	return true;
}

static void take_socket(struct restore *r)
{
	bool foreign = holdings_place_socket(&r->hold, r->host, r->rec.key, r->rec.socket_path);

	r->hold.own_socket = r->rec.state == STATE_WAITING &&
			     (!foreign || r->rec.caller_uid == geteuid());
}

/* Gathers what a former supervisor left, and what the kernel and systemd still have. */
static unsigned gather_row(struct restore *r, int worker, struct err *why)
{
	bool connected = r->rec.vmm_pid || recover_has_begun(r), vmm = find_vmm(r);
	cleanup_fd int map = -1;
	int gone = -1;

	/* Taken even if the worker lives: what is not taken is closed soon (notify_close). */
	if (r->hold.uffd < 0)
		r->hold.uffd = notify_take(r->rec.key);
	if (connected && !vmm && r->hold.uffd >= 0)
		vmm_watch(r, &gone);
	/* The map's file stays until the release, whatever state the restore is in. */
	if (restore_open_map(r, &map, why))
		return FACT(FACT_MAP_LOST) |
		       (vmm || (r->hold.uffd >= 0 && !vmm_has_ended(r)) ? FACT(FACT_GUEST) : 0);
	if (connected && !vmm && recover_is_over(r, worker))
		return FACT(FACT_OVER);
	return worker >= 0 ? FACT(FACT_WORKER) : 0;
}

void adopt_row(struct restore *r)
{
	cleanup_fd int worker = find_process(r->rec.worker_pid, r->rec.worker_start);
	struct err why;
	enum plan plan = plan_of(gather_row(r, worker, &why));

	take_socket(r);
	if (plan != PLAN_AWAIT_WORKER && plan != PLAN_SUCCEED) {
		recover_act(r, plan, "", &why);
		return;
	}
	/* The supervisor that failed the restore may have died before it killed the VMM. */
	if (r->rec.state == STATE_FAILED && r->spec.on_failure == FAILURE_KILL)
		vmm_end(r);
	if (plan == PLAN_AWAIT_WORKER)
		wait_for_worker(r, &worker);
	else
		recover_worker(r, "found dead after a restart", true);
}

/* ---- a worker that is back ---- */

bool adopt_back(struct restore *r, struct worker *w, int *listen_fd, size_t npeers)
{
	if (slot_is_released(&r->slot) || (uint32_t)w->pid != r->rec.worker_pid ||
	    w->start != r->rec.worker_start || (r->worker && !r->worker->closed))
		return false;
	/* The worker has lost its channel, for want of descriptors, and was not missed yet. */
	if (r->worker) {
		slot_event(&r->slot, SLOT_CUT);
		worker_leave(r->worker);
		forget_channel(r);
	}
	timer_drop(&r->hold.back_by);
	close_fd(&r->hold.old_worker);
	r->worker = w;
	worker_own(w, r->host->worker_hooks, r);
	restore_listen(r, listen_fd, npeers);
	restore_served(r);
	slot_event(&r->slot, SLOT_REATTACH);
	restore_known(r);
	restore_changed(r, "adopted", NULL);
	commands_resume_stop(r);
	return true;
}
