#include "daemon/recover.h"

#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <string.h>

#include "common/js.h"
#include "common/proc.h"
#include "daemon/assign.h"
#include "daemon/uffd_recover.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/commands.h"
#include "daemon/timer.h"
#include "daemon/vmm.h"

/* How long a VMM may take to end once its memory and its descriptors are gone. */
#define ENDING_MS 10000

/* ---- what is still there ---- */

/*
 * Neither we nor the worker hold it any more: somebody else still does. *ret_left_alone:
 * nobody needs it, its regions are no longer registered.
 */
static int find_uffd(struct restore *l, bool *ret_left_alone, struct err *err)
{
	cleanup_fd int map = -1;
	struct pagemap_view view;

	if (restore_open_map(l, &map, err) || pagemap_view(map, &view, err))
		return -1;
	*ret_left_alone = view.head.releasing;
	if (l->hold.vmm < 0)
		return err_set(err, ERR_NOTFOUND, "the process whose memory it is is not known");
	if (uffd_recover_uffd(l->hold.vmm, (pid_t)l->rec.vmm_pid, map, &view, &l->hold.uffd, err))
		return -1;
	notify_keep(l->rec.id, l->hold.uffd);
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
static bool learn_vmm(struct restore *l)
{
	struct pagemap_view view;
	struct chan_connected c;
	cleanup_fd int map = -1;
	int vmm = -1, uffd = -1;
	struct err err;

	if (l->rec.state != STATE_WAITING || restore_view(l, &view, &err) ||
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
	if (restore_open_map(l, &map, &err) ||
	    !acceptor_find(&l->hold.acceptor, l->spec.peer_uid, map, &view, &vmm, &uffd))
		vmm = find_learnt(c.pid);
	/* What the page map says is the worker's word. */
	if (vmm >= 0 && !vmm_may_be(l, vmm, c.pid))
		close_fd(&vmm);
	restore_connected(l, &c, vmm);
	if (uffd >= 0) {
		close_fd(&l->hold.uffd);
		l->hold.uffd = uffd;
		notify_keep(l->rec.id, uffd);
	}
	if (vmm >= 0 || l->hold.uffd >= 0)
		vmm_watch(l, &vmm);
	return true;
}

bool recover_is_over(const struct restore *l, int worker)
{
	if (l->hold.uffd >= 0 || l->hold.vmm >= 0)
		return vmm_has_ended(l);
	if (worker >= 0)
		return uffd_recover_life(worker, (pid_t)l->rec.worker_pid) == UF_ENDED;
	return l->rec.vmm_pid || l->rec.state == STATE_FAILED;
}

bool recover_has_begun(const struct restore *l)
{
	return l->rec.state != STATE_WAITING;
}

static bool is_hopeless(const struct restore *l)
{
	return l->slot.state == SLOT_LOST ||
	       (l->rec.state == STATE_FAILED && l->spec.on_failure == FAILURE_KILL);
}

/* The userfaultfd, and if there is none, why. */
static unsigned look_for_uffd(struct restore *l, struct err *why)
{
	bool left_alone = false;

	if (!recover_has_begun(l))
		return 0;
	if (l->hold.uffd >= 0 || find_uffd(l, &left_alone, why) == 0)
		return FACT(FACT_BEGUN) | FACT(FACT_UFFD);
	if (why->sys == ESRCH)
		return FACT(FACT_BEGUN) | FACT(FACT_NO_MEMORY);
	return FACT(FACT_BEGUN) | (left_alone ? FACT(FACT_LEFT_ALONE) : 0);
}

/* All that must be known once a worker is dead. */
static unsigned gather(struct restore *l, bool counted, struct err *why)
{
	const struct conf *conf = &l->host->conf;
	unsigned facts;

	if (recover_is_over(l, -1))
		return FACT(FACT_OVER);
	if (is_hopeless(l))
		return FACT(FACT_HOPELESS);
	/* A VMM that only the page map knew. */
	if (learn_vmm(l) && (!restore_has_vmm(l) || vmm_has_ended(l)))
		return FACT(FACT_OVER);
	facts = look_for_uffd(l, why);
	if (counted && slot_died(&l->slot, now_us(), conf->worker_restart_window_ms * 1000,
				 conf->worker_restarts))
		facts |= FACT(FACT_TOO_OFTEN);
	return facts;
}

/* ---- what is done about it ---- */

static struct json_object *detail(const char *text)
{
	struct json_object *data = json_object_new_object();

	js_add_string(data, "detail", text);
	return data;
}

__attribute__((format(printf, 2, 3)))
static void give_up(struct restore *l, const char *fmt, ...)
{
	char reason[RESTORE_REASON_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	/* Poisoning takes a worker, and a guest must not hang unseen. */
	if (restore_fail(l, reason) && l->spec.on_failure != FAILURE_HOLD)
		vmm_end(l);
}

static void tell_death(struct restore *l, const char *how)
{
	struct json_object *data = detail(how);

	js_add_u64(data, "restarts", l->rec.worker_restarts);
	restore_changed(l, "worker-died", data);
}

static void start_successor(struct restore *l, const char *how)
{
	struct err err, ignored;
	int chosen = assign_choose(l, &err);

	tell_death(l, how);
	if (chosen == 0)
		slot_event(&l->slot, SLOT_ASSIGN);
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
	slot_event(&l->slot, SLOT_ABANDON);
	give_up(l, "no worker could take over: %s", err.msg);
}

static void succeed(struct restore *l, const char *how)
{
	l->rec.worker_restarts++;
	restore_unserved(l);
	log_notice("a worker died, another takes over", "id=%s restarts=%u how=%s", l->rec.id,
		   l->rec.worker_restarts, how);
	start_successor(l, how);
}

/* Its worker had nobody to tell that it was complete. */
static void end_left_alone(struct restore *l)
{
	struct pagemap_view view;
	struct err err;

	if (!l->rec.complete && restore_view(l, &view, &err) == 0 && pagemap_view_complete(&view)) {
		l->rec.complete = true;
		l->rec.revision++;
		restore_changed(l, "complete", NULL);
	}
	restore_end(l, "released");
}

static void on_no_end(evutil_socket_t fd, short what, void *arg)
{
	struct restore *l = arg;

	(void)fd;
	(void)what;
	/* It has ended, and its pidfd just did not get its turn yet. */
	if (vmm_has_ended(l))
		return;
	give_up(l, "the worker died, and nobody has the userfaultfd for another: the VMM (pid %u) "
		"has no memory any more, and does not end", l->rec.vmm_pid);
}

/* Its pidfd will tell: its end, or that of its main thread alone, which tells nothing. */
static void await_end(struct restore *l)
{
	struct json_object *data = json_object_new_object();

	if (!l->hold.no_memory)
		l->hold.no_memory = evtimer_new(l->host->base, on_no_end, l);
	timer_add(l->hold.no_memory, ENDING_MS * TIMER_MS);
	restore_unserved(l);
	js_add_u64(data, "pid", l->rec.vmm_pid);
	restore_changed(l, "vmm-ending", data);
}

void recover_act(struct restore *l, enum plan plan, const char *how, const struct err *why)
{
	switch (plan) {
	case PLAN_END_EXITED:
		restore_end(l, "vmm-exited");
		break;
	case PLAN_END_RELEASED:
		end_left_alone(l);
		break;
	case PLAN_FAIL_MAP:
		give_up(l, "its page states are lost: %s", why->msg);
		break;
	case PLAN_FAIL_UFFD:
		give_up(l, "the worker died, and nobody has the userfaultfd for another: %s",
			why->msg);
		break;
	case PLAN_FAIL_DEATHS:
		give_up(l, "its workers die again and again, the last by %s", how);
		break;
	case PLAN_AWAIT_END:
		await_end(l);
		break;
	case PLAN_SUCCEED:
		succeed(l, how);
		break;
	case PLAN_AWAIT_WORKER:
	case PLAN_LEAVE:
	case PLAN_COUNT:
		break;
	}
}

void recover_worker(struct restore *l, const char *how, bool counted)
{
	struct err why;
	enum plan plan = plan_of(gather(l, counted, &why));

	log_debug("a worker is missing", "id=%s how=%s plan=%s", l->rec.id, how, plan_name(plan));
	recover_act(l, plan, how, &why);
}

void recover_done(struct restore *l)
{
	restore_served(l);
	assign_presence(l);
	restore_changed(l, "recovered", NULL);
	commands_resume_stop(l);
}

int recover_replace(struct restore *l, struct err *err)
{
	if (!l->worker || !proto_state_live(l->rec.state) ||
	    (!slot_is_ready(&l->slot) && !slot_is_loading(&l->slot)))
		return err_set(err, ERR_STATE, "restore %s is %s: there is no worker to replace",
			       l->rec.id, proto_state_name(l->rec.state));
	if (proc_kill(l->worker->pidfd, err))
		return -1;
	slot_event(&l->slot, SLOT_REPLACE);
	return 0;
}
