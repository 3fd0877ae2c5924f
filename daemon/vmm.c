#include "daemon/vmm.h"

#include <event2/event.h>

#include "common/js.h"
#include "common/proc.h"
#include "daemon/assign.h"
#include "daemon/uffd_recover.h"
#include "daemon/log.h"
#include "daemon/timer.h"

static void ask_in(struct restore *r, uint64_t us)
{
	timer_add(r->hold.ask_vmm, us);
}

static bool is_roots(const struct restore *r)
{
	return worker_user_serves(&r->host->user, r->rec.caller_uid);
}

bool vmm_may_be(const struct restore *r, int pidfd, uint32_t pid, int uffd)
{
	uid_t real, saved, caller = r->rec.caller_uid;
	pid_t behind;

	if (proc_behind(pidfd, &behind, &real, &saved))
		return false;
	if (behind == 0)
		return true;
	if ((uint32_t)behind != pid)
		return false;
	if (acceptor_has_peer(&r->hold.acceptor, behind, r->spec.peer_uid))
		return true;
	if (is_roots(r))
		return uffd >= 0 && uffd_recover_holds(pidfd, behind, uffd);
	return caller == 0 || caller == geteuid() || real == caller || saved == caller;
}

bool vmm_check(const struct restore *r, int *pidfd, uint32_t pid, int uffd)
{
	if (vmm_may_be(r, *pidfd, pid, uffd))
		return true;
	if (!is_roots(r))
		return false;
	/* It may have closed its uffd since: a guest need not suffer from what cannot be shown. */
	close_fd(pidfd);
	return true;
}

/* With a userfaultfd, it alone decides. */
bool vmm_has_ended(const struct restore *r)
{
	if (r->hold.uffd >= 0)
		return uffd_life(r->hold.uffd) == UF_ENDED;
	return r->hold.vmm >= 0 && proc_ended(r->hold.vmm);
}

/* ---- the VMM is not the process that connected ---- */

/* Finds the process that has the memory. *ret_pidfd is owned by the caller; the record names it. */
static bool find_owner(struct restore *r, int *ret_pidfd)
{
	struct pagemap_view view;
	cleanup_fd int pidfd = -1;
	uid_t real, saved;
	struct err err;
	pid_t pid;

	if (r->hold.uffd < 0 || restore_view(r, &view, &err))
		return false;
	pidfd = uffd_recover_owner(r->hold.uffd, &view.regions, &pid);
	if (pidfd < 0 || !vmm_may_be(r, pidfd, (uint32_t)pid, r->hold.uffd) ||
	    proc_behind(pidfd, &pid, &real, &saved) || pid == 0)
		return false;
	r->rec.vmm_pid = (uint32_t)pid;
	r->rec.vmm_uid = real;
	r->rec.vmm_start = proc_start_time(pid);
	*ret_pidfd = steal_fd(&pidfd);
	return true;
}

static void publish_elsewhere(struct restore *r, uint32_t peer)
{
	struct json_object *data = json_object_new_object();

	log_warning("who connected is not the VMM", "id=%s tenant=%s pid=%u vmm=%u", r->rec.id,
		    r->rec.tenant, peer, r->rec.vmm_pid);
	js_add_u64(data, "pid", peer);
	if (r->rec.vmm_pid)
		js_add_u64(data, "vmm", r->rec.vmm_pid);
	else
		json_object_object_add(data, "vmm", NULL);
	r->rec.revision++;
	restore_changed(r, "vmm-elsewhere", data);
}

/* If another process has the memory, that one is the VMM from now on. False: none was found. */
static bool look_elsewhere(struct restore *r)
{
	uint32_t peer = r->rec.vmm_pid;
	int pidfd = -1;

	if (!find_owner(r, &pidfd))
		return false;
	holdings_forget_vmm(&r->hold);
	vmm_watch(r, &pidfd);
	/* Page states and cgroups are those of the new process from now on. */
	assign_presence(r);
	r->limits_sent_us = 0;
	publish_elsewhere(r, peer);
	return true;
}

static void on_elsewhere(struct restore *r)
{
	uint32_t peer = r->rec.vmm_pid;

	if (!look_elsewhere(r) && peer) {
		r->rec.vmm_pid = 0;
		r->rec.vmm_start = 0;
		publish_elsewhere(r, peer);
	}
	/* The kill has met the process that connected, not the VMM. */
	if (r->rec.state == STATE_FAILED && r->spec.on_failure == FAILURE_KILL)
		vmm_end(r);
	r->host->hooks->found(r->host->arg, r);
}

/* ---- the VMM's end ---- */

static void on_ask(evutil_socket_t fd, short what, void *arg)
{
	struct restore *r = arg;

	(void)fd;
	(void)what;
	if (r->hold.uffd < 0) {
		/*
		 * The worker has the uffd. It stays until the VMM's end, or brings the uffd when it
		 * comes back.
		 */
		if (!r->worker && r->slot.state != SLOT_AWAITED)
			restore_end(r, "vmm-exited");
		return;
	}
	switch (life_ask(&r->hold.life, r->hold.uffd, now_us())) {
	case LIFE_GONE:
		restore_end(r, "vmm-exited");
		return;
	case LIFE_ELSEWHERE:
		on_elsewhere(r);
		break;
	case LIFE_WAIT:
		break;
	}
	if (r->hold.life.since_us)
		ask_in(r, life_wait_us(&r->hold.life, now_us()));
}

static void begin_to_ask(struct restore *r)
{
	life_begin(&r->hold.life, now_us());
	if (!r->hold.ask_vmm)
		r->hold.ask_vmm = evtimer_new(r->host->base, on_ask, r);
	ask_in(r, life_wait_us(&r->hold.life, now_us()));
}

static void on_vmm(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	begin_to_ask(arg);
}

void vmm_watch(struct restore *r, int *pidfd)
{
	if (r->hold.vmm < 0 && *pidfd >= 0) {
		r->hold.vmm = steal_fd(pidfd);
		r->hold.on_vmm = event_new(r->host->base, r->hold.vmm, EV_READ, on_vmm, r);
		event_add(r->hold.on_vmm, NULL);
	} else if (r->hold.vmm < 0 || r->hold.life.since_us) {
		begin_to_ask(r);
	}
}

/* ---- killing the VMM ---- */

/* Does that process run without the regions? Then killing it would be of no use. */
static bool is_other(const struct restore *r)
{
	struct pagemap_view view;
	struct err err;

	return restore_view(r, &view, &err) == 0 && view.head.connected &&
	       uffd_recover_is_other((pid_t)r->rec.vmm_pid, &view.regions);
}

int vmm_kill(struct restore *r, struct err *err)
{
	if (vmm_has_ended(r))
		return 0;
	if (r->hold.vmm >= 0 && !proc_ended(r->hold.vmm) && !is_other(r))
		return proc_kill(r->hold.vmm, err);
	if (look_elsewhere(r))
		return proc_kill(r->hold.vmm, err);
	return err_set(err, ERR_NOTFOUND,
		       "the process whose memory it is is not known: end the "
		       "VMM yourself");
}

void vmm_kill_failed(struct restore *r, const struct err *why)
{
	struct json_object *data = json_object_new_object();

	log_error("the VMM could not be killed", "id=%s tenant=%s pid=%u why=%s", r->rec.id,
		  r->rec.tenant, r->rec.vmm_pid, why->msg);
	js_add_string(data, "detail", why->msg);
	restore_changed(r, "kill-failed", data);
}

void vmm_end(struct restore *r)
{
	struct err err;

	if (restore_has_vmm(r) && vmm_kill(r, &err))
		vmm_kill_failed(r, &err);
}
