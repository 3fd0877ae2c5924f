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

/* How long a worker may take to find its new supervisor, on a host that is too busy to run it. */
#define BACK_MS 30000

/* ---- a worker that is awaited ---- */

static void wait_on(struct restore *l)
{
	timer_add(l->hold.back_by, BACK_MS * TIMER_MS);
}

static void on_old_worker(evutil_socket_t fd, short what, void *arg)
{
	struct restore *l = arg;
	struct err err;
	char how[64];

	(void)fd;
	/*
	 * It may wait to be let in: it may have died with its BACK, the socket and the uffd on the
	 * way to us, and who was kept waiting may be we.
	 */
	reconnect_hear_all(l->host->reconnect);
	if (l->worker)
		return;
	/* Nobody is let in: that is not its fault. */
	if (what & EV_TIMEOUT && !l->host->hooks->room(l->host->arg)) {
		wait_on(l);
		return;
	}
	if (what & EV_TIMEOUT) {
		/* Hung, or of a protocol that we do not speak. Two must not serve one guest. */
		proc_kill(l->hold.old_worker, &err);
		event_add(l->hold.back_by, NULL);
		return;
	}
	timer_drop(&l->hold.back_by);
	/* If it was our own child. */
	spawn_reap(l->hold.old_worker, how, sizeof(how));
	close_fd(&l->hold.old_worker);
	slot_event(&l->slot, SLOT_EXITED);
	recover_worker(l, "found dead after a restart", true);
}

/* It comes back, or ends, or is made to end. */
static void wait_for_worker(struct restore *l, int *pidfd)
{
	slot_event(&l->slot, SLOT_AWAIT);
	l->hold.old_worker = steal_fd(pidfd);
	l->hold.back_by = event_new(l->host->base, l->hold.old_worker, EV_READ, on_old_worker, l);
	wait_on(l);
}

static void forget_channel(struct restore *l)
{
	l->worker = NULL;
	lease_scheduler_back(l->host->leases, &l->claim);
	acceptor_forget_told(&l->hold.acceptor);
}

void adopt_cut(struct restore *l, int *pidfd)
{
	log_warning("descriptors are short, a worker has to say all of it again", "id=%s worker=%u",
		    l->rec.id, l->rec.worker_pid);
	forget_channel(l);
	wait_for_worker(l, pidfd);
}

/* ---- a row of a former run ---- */

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

static bool find_vmm(struct restore *l)
{
	int pidfd = find_process(l->rec.vmm_pid, l->rec.vmm_start);

	if (pidfd < 0)
		return false;
	vmm_watch(l, &pidfd);
	return true;
}

static bool owns_socket(const struct restore *l)
{
	char own[CONF_PATH_MAX + 1];

	host_path(l->host, "uffd", l->rec.id, own);
	return l->rec.state == STATE_WAITING &&
	       (strcmp(own, l->rec.socket_path) == 0 || l->rec.caller_uid == geteuid());
}

/* What a former supervisor left, and the kernel and systemd still have. */
static unsigned gather_row(struct restore *l, int worker, struct err *why)
{
	bool connected = l->rec.vmm_pid || recover_has_begun(l), vmm = find_vmm(l);
	cleanup_fd int map = -1;
	int gone = -1;

	/* Also for a worker that is still there: what nobody has taken is closed soon. */
	if (l->hold.uffd < 0)
		l->hold.uffd = notify_take(l->rec.id);
	if (connected && !vmm && l->hold.uffd >= 0)
		vmm_watch(l, &gone);
	/* Its files stay until it is released, whatever state it is in. */
	if (restore_open_map(l, &map, why))
		return FACT(FACT_MAP_LOST) |
		       (vmm || (l->hold.uffd >= 0 && !vmm_has_ended(l)) ? FACT(FACT_GUEST) : 0);
	if (connected && !vmm && recover_is_over(l, worker))
		return FACT(FACT_OVER);
	return worker >= 0 ? FACT(FACT_WORKER) : 0;
}

void adopt_row(struct restore *l)
{
	cleanup_fd int worker = find_process(l->rec.worker_pid, l->rec.worker_start);
	struct err why;
	enum plan plan = plan_of(gather_row(l, worker, &why));

	l->hold.own_socket = owns_socket(l);
	if (plan != PLAN_AWAIT_WORKER && plan != PLAN_SUCCEED) {
		recover_act(l, plan, "", &why);
		return;
	}
	/* Who failed it may have died before he did so. */
	if (l->rec.state == STATE_FAILED && l->spec.on_failure == FAILURE_KILL)
		vmm_end(l);
	if (plan == PLAN_AWAIT_WORKER)
		wait_for_worker(l, &worker);
	else
		recover_worker(l, "found dead after a restart", true);
}

/* ---- it is back ---- */

bool adopt_back(struct restore *l, struct worker *w, int *listen_fd, size_t npeers)
{
	if (slot_is_released(&l->slot) || (uint32_t)w->pid != l->rec.worker_pid ||
	    w->start != l->rec.worker_start || (l->worker && !l->worker->closed))
		return false;
	/* It has lost its channel to us, for want of descriptors, and is not missed yet. */
	if (l->worker) {
		slot_event(&l->slot, SLOT_CUT);
		worker_leave(l->worker);
		forget_channel(l);
	}
	timer_drop(&l->hold.back_by);
	close_fd(&l->hold.old_worker);
	l->worker = w;
	worker_own(w, l->host->worker_hooks, l);
	acceptor_open(&l->hold.acceptor, listen_fd, npeers, l->rec.state == STATE_WAITING);
	restore_served(l);
	slot_event(&l->slot, SLOT_BACK);
	restore_known(l);
	restore_changed(l, "adopted", NULL);
	commands_resume_stop(l);
	return true;
}
