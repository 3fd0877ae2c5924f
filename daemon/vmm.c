#include "daemon/vmm.h"

#include <event2/event.h>

#include "common/js.h"
#include "common/proc.h"
#include "daemon/assign.h"
#include "daemon/uffd_recover.h"
#include "daemon/log.h"
#include "daemon/timer.h"

static void ask_in(struct restore *l, uint64_t us)
{
	timer_add(l->hold.ask_vmm, us);
}

bool vmm_may_be(const struct restore *l, int pidfd, uint32_t pid)
{
	uid_t real, saved, caller = l->rec.caller_uid;
	pid_t behind;

	if (proc_behind(pidfd, &behind, &real, &saved))
		return false;
	if (behind == 0)
		return true;
	if ((uint32_t)behind != pid)
		return false;
	return acceptor_knows(&l->hold.acceptor, behind, l->spec.peer_uid) || caller == 0 || caller == geteuid() || real == caller ||
	       saved == caller;
}

/* With a userfaultfd in hand it alone decides. */
bool vmm_has_ended(const struct restore *l)
{
	if (l->hold.uffd >= 0)
		return uffd_life(l->hold.uffd) == UF_ENDED;
	return l->hold.vmm >= 0 && proc_ended(l->hold.vmm);
}

/* ---- it is not who connected ---- */

/* Who else it is: *ret_pidfd, owned by the caller, and into the record. */
static bool find_owner(struct restore *l, int *ret_pidfd)
{
	struct pagemap_view view;
	cleanup_fd int pidfd = -1;
	uid_t real, saved;
	struct err err;
	pid_t pid;

	if (l->hold.uffd < 0 || restore_view(l, &view, &err))
		return false;
	pidfd = uffd_recover_owner(l->hold.uffd, &view.regions, &pid);
	if (pidfd < 0 || !vmm_may_be(l, pidfd, (uint32_t)pid) ||
	    proc_behind(pidfd, &pid, &real, &saved) || pid == 0)
		return false;
	l->rec.vmm_pid = (uint32_t)pid;
	l->rec.vmm_uid = real;
	l->rec.vmm_start = proc_start_time(pid);
	*ret_pidfd = steal_fd(&pidfd);
	return true;
}

static void tell_elsewhere(struct restore *l, uint32_t peer)
{
	struct json_object *data = json_object_new_object();

	log_warning("who connected is not the VMM", "id=%s pid=%u vmm=%u", l->rec.id, peer,
		    l->rec.vmm_pid);
	js_add_u64(data, "pid", peer);
	if (l->rec.vmm_pid)
		js_add_u64(data, "vmm", l->rec.vmm_pid);
	else
		json_object_object_add(data, "vmm", NULL);
	l->rec.revision++;
	restore_changed(l, "vmm-elsewhere", data);
}

/* From now on the process that is found is the VMM; true if there is one. */
static bool look_elsewhere(struct restore *l)
{
	uint32_t peer = l->rec.vmm_pid;
	int pidfd = -1;

	if (!find_owner(l, &pidfd))
		return false;
	holdings_forget_vmm(&l->hold);
	vmm_watch(l, &pidfd);
	/* Its pages, and its cgroups, are to be looked at from now on. */
	assign_presence(l);
	l->limits_told_us = 0;
	tell_elsewhere(l, peer);
	return true;
}

static void on_elsewhere(struct restore *l)
{
	uint32_t peer = l->rec.vmm_pid;

	if (!look_elsewhere(l) && peer) {
		l->rec.vmm_pid = 0;
		l->rec.vmm_start = 0;
		tell_elsewhere(l, peer);
	}
	/* What was meant for it has met another one. */
	if (l->rec.state == STATE_FAILED && l->spec.on_failure == FAILURE_KILL)
		vmm_end(l);
	l->host->hooks->found(l->host->arg, l);
}

/* ---- its end ---- */

static void on_ask(evutil_socket_t fd, short what, void *arg)
{
	struct restore *l = arg;

	(void)fd;
	(void)what;
	if (l->hold.uffd < 0) {
		/* Its worker has it, and stays until the end, or brings it. */
		if (!l->worker && l->slot.state != SLOT_AWAITED)
			restore_end(l, "vmm-exited");
		return;
	}
	switch (life_ask(&l->hold.life, l->hold.uffd, now_us())) {
	case LIFE_GONE:
		restore_end(l, "vmm-exited");
		return;
	case LIFE_ELSEWHERE:
		on_elsewhere(l);
		break;
	case LIFE_WAIT:
		break;
	}
	if (l->hold.life.since_us)
		ask_in(l, life_wait_us(&l->hold.life, now_us()));
}

static void begin_to_ask(struct restore *l)
{
	life_begin(&l->hold.life, now_us());
	if (!l->hold.ask_vmm)
		l->hold.ask_vmm = evtimer_new(l->host->base, on_ask, l);
	ask_in(l, life_wait_us(&l->hold.life, now_us()));
}

static void on_vmm(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	begin_to_ask(arg);
}

void vmm_watch(struct restore *l, int *pidfd)
{
	if (l->hold.vmm < 0 && *pidfd >= 0) {
		l->hold.vmm = steal_fd(pidfd);
		l->hold.on_vmm = event_new(l->host->base, l->hold.vmm, EV_READ, on_vmm, l);
		event_add(l->hold.on_vmm, NULL);
	} else if (l->hold.vmm < 0 || l->hold.life.since_us) {
		begin_to_ask(l);
	}
}

/* ---- its death ---- */

/* It runs, but the memory is another's: killing it would help nobody. */
static bool is_other(const struct restore *l)
{
	struct pagemap_view view;
	struct err err;

	return restore_view(l, &view, &err) == 0 && view.head.connected &&
	       uffd_recover_is_other((pid_t)l->rec.vmm_pid, &view.regions);
}

int vmm_kill(struct restore *l, struct err *err)
{
	if (vmm_has_ended(l))
		return 0;
	if (l->hold.vmm >= 0 && !proc_ended(l->hold.vmm) && !is_other(l))
		return proc_kill(l->hold.vmm, err);
	if (look_elsewhere(l))
		return proc_kill(l->hold.vmm, err);
	return err_set(err, ERR_NOTFOUND, "the process whose memory it is is not known: end the "
		       "VMM yourself");
}

void vmm_kill_failed(struct restore *l, const struct err *why)
{
	struct json_object *data = json_object_new_object();

	log_error("the VMM could not be killed", "id=%s pid=%u why=%s", l->rec.id,
		  l->rec.vmm_pid, why->msg);
	js_add_string(data, "detail", why->msg);
	restore_changed(l, "kill-failed", data);
}

void vmm_end(struct restore *l)
{
	struct err err;

	if (restore_has_vmm(l) && vmm_kill(l, &err))
		vmm_kill_failed(l, &err);
}
