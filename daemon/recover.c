#include "daemon/recover.h"

#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <string.h>

#include "common/foreign.h"
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

/* ---- facts ---- */

/*
 * Gets the uffd out of the VMM, since neither supervisor nor worker holds it any more.
 * *ret_left_alone: no uffd is needed, for the worker was unregistering the regions.
 */
static int find_uffd(struct restore *r, bool *ret_left_alone, struct err *err)
{
	cleanup_fd int map = -1;
	struct pagemap_view view;

	if (restore_open_map(r, &map, err) || pagemap_view(map, &view, err))
		return -1;
	*ret_left_alone = view.head.releasing;
	if (r->hold.vmm < 0)
		return err_set(err, ERR_NOTFOUND, "the process whose memory it is is not known");
	if (uffd_recover_uffd(r->hold.vmm, (pid_t)r->rec.vmm_pid, map, &view, &r->hold.uffd, err))
		return -1;
	notify_keep(r->rec.key, r->hold.uffd);
	return 0;
}

static int find_learnt(uint32_t pid)
{
	int pidfd;
	struct err err;

	return pid && proc_pidfd((pid_t)pid, &pidfd, &err) == 0 ? pidfd : -1;
}

/*
 * The page map is written by the worker, which is not trusted. For root's, a process is shown to be
 * the VMM when it is found to hold a uffd with these regions.
 */
static bool is_shown(const struct restore *r, int vmm, int map, const struct pagemap_view *view,
		     int *uffd)
{
	uint32_t pid = view->head.vmm_pid;
	struct err err;

	if (vmm_may_be(r, vmm, pid, -1))
		return true;
	if (!worker_user_serves(&r->host->user, r->rec.caller_uid) || *uffd >= 0)
		return false;
	return uffd_recover_uffd(vmm, (pid_t)pid, map, view, uffd, &err) == 0;
}

/*
 * A worker may have met the VMM and died before it sent CONNECTED. Then the page map names the VMM,
 * and nothing may be begun anew, for the guest may have run since. The acceptor may still have the
 * connection, and in it the uffd. Otherwise the process of that pid is shown to be the VMM when it
 * is found to hold a uffd with these regions.
 */
static bool learn_vmm(struct restore *r)
{
	struct pagemap_view view;
	struct chan_connected c;
	cleanup_fd int map = -1;
	int vmm = -1, uffd = -1;
	struct err err;

	if (r->rec.state != STATE_WAITING || restore_view(r, &view, &err) || !view.head.connected)
		return false;
	c = (struct chan_connected){
		.pid = view.head.vmm_pid,
		.uid = view.head.vmm_uid,
		.gid = view.head.vmm_gid,
		.nregions = view.regions.n,
		.page_bytes = view.regions.page_bytes,
		.memory_bytes = regions_bytes(&view.regions),
	};
	if (restore_open_map(r, &map, &err) ||
	    !acceptor_find(&r->hold.acceptor, r->spec.peer_uid, map, &view, &vmm, &uffd))
		vmm = find_learnt(c.pid);
	if (vmm >= 0 && !is_shown(r, vmm, map, &view, &uffd))
		close_fd(&vmm);
	restore_connected(r, &c, vmm);
	if (uffd >= 0) {
		foreign_close(&r->hold.uffd);
		r->hold.uffd = uffd;
		notify_keep(r->rec.key, uffd);
	}
	if (vmm >= 0 || r->hold.uffd >= 0)
		vmm_watch(r, &vmm);
	return true;
}

bool recover_is_over(const struct restore *r, int worker)
{
	if (r->hold.uffd >= 0 || r->hold.vmm >= 0)
		return vmm_has_ended(r);
	if (worker >= 0)
		return uffd_recover_life(worker, (pid_t)r->rec.worker_pid) == UF_ENDED;
	return r->rec.vmm_pid || r->rec.state == STATE_FAILED;
}

bool recover_has_begun(const struct restore *r)
{
	return r->rec.state != STATE_WAITING;
}

static bool is_unrecoverable(const struct restore *r)
{
	return r->slot.state == SLOT_LOST ||
	       (r->rec.state == STATE_FAILED && r->spec.on_failure == FAILURE_KILL);
}

/* Gets the userfaultfd; where that fails, @why is filled. */
static unsigned look_for_uffd(struct restore *r, struct err *why)
{
	bool left_alone = false;

	if (!recover_has_begun(r))
		return 0;
	if (r->hold.uffd >= 0 || find_uffd(r, &left_alone, why) == 0)
		return FACT(FACT_BEGUN) | FACT(FACT_UFFD);
	if (why->sys == ESRCH)
		return FACT(FACT_BEGUN) | FACT(FACT_NO_MEMORY);
	return FACT(FACT_BEGUN) | (left_alone ? FACT(FACT_LEFT_ALONE) : 0);
}

/* The facts after a worker's death. @why: see look_for_uffd(). */
static unsigned gather(struct restore *r, bool counted, struct err *why)
{
	const struct conf *conf = &r->host->conf;
	unsigned facts;

	if (recover_is_over(r, -1))
		return FACT(FACT_OVER);
	if (is_unrecoverable(r))
		return FACT(FACT_UNRECOVERABLE);
	/* A VMM that only the page map knew. */
	if (learn_vmm(r) && (!restore_has_vmm(r) || vmm_has_ended(r)))
		return FACT(FACT_OVER);
	facts = look_for_uffd(r, why);
	if (counted && slot_died(&r->slot, now_us(), conf->worker_restart_window_ms * 1000,
				 conf->worker_restarts))
		facts |= FACT(FACT_TOO_OFTEN);
	return facts;
}

/* ---- actions ---- */

static struct json_object *detail(const char *text)
{
	struct json_object *data = json_object_new_object();

	js_add_string(data, "detail", text);
	return data;
}

__attribute__((format(printf, 2, 3))) static void give_up(struct restore *r, const char *fmt, ...)
{
	char reason[RESTORE_REASON_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	/* Poisoning takes a worker, and a guest must not hang unseen: so poison kills, too. */
	if (restore_fail(r, reason) && r->spec.on_failure != FAILURE_HOLD)
		vmm_end(r);
}

static void publish_death(struct restore *r, const char *how)
{
	struct json_object *data = detail(how);

	js_add_u64(data, "restarts", r->rec.worker_restarts);
	restore_changed(r, "worker-died", data);
}

static void start_successor(struct restore *r, const char *how)
{
	struct err err, ignored;
	int chosen = assign_choose(r, &err);

	publish_death(r, how);
	if (chosen == 0)
		slot_event(&r->slot, SLOT_ASSIGN);
	if (chosen == 0 && assign_successor(r, &err) == 0)
		return;
	/*
	 * The worker was dying when it was chosen: its exit counts as one more death and leads here
	 * again.
	 */
	if (chosen == 0 && err.code == ERR_UNREADY) {
		proc_kill(r->worker->pidfd, &ignored);
		return;
	}
	if (r->worker)
		worker_abandon(r->worker, r->rec.tenant);
	r->worker = NULL;
	slot_event(&r->slot, SLOT_ABANDON);
	give_up(r, "no worker could take over: %s", err.msg);
}

static void succeed(struct restore *r, const char *how)
{
	r->rec.worker_restarts++;
	restore_unserved(r);
	log_notice("a worker died, another takes over", "id=%s tenant=%s restarts=%u how=%s",
		   r->rec.id, r->rec.tenant, r->rec.worker_restarts, how);
	start_successor(r, how);
}

/* The last worker had no supervisor to send COMPLETE to. */
static void end_left_alone(struct restore *r)
{
	struct pagemap_view view;
	struct err err;

	if (!r->rec.complete && restore_view(r, &view, &err) == 0 && pagemap_view_complete(&view)) {
		r->rec.complete = true;
		r->rec.revision++;
		restore_changed(r, "complete", NULL);
	}
	restore_end(r, "released");
}

static void on_no_end(evutil_socket_t fd, short what, void *arg)
{
	struct restore *r = arg;

	(void)fd;
	(void)what;
	/* The VMM has ended; its pidfd has not had its turn in the loop yet. */
	if (vmm_has_ended(r))
		return;
	give_up(r,
		"the worker died, and nobody has the userfaultfd for another: the VMM (pid %u) "
		"has no memory any more, and does not end",
		r->rec.vmm_pid);
}

/*
 * The VMM's pidfd tells its end. But it may be readable for the end of the main thread alone, which
 * says nothing; so there is a deadline.
 */
static void await_end(struct restore *r)
{
	struct json_object *data = json_object_new_object();

	if (!r->hold.no_memory)
		r->hold.no_memory = evtimer_new(r->host->base, on_no_end, r);
	timer_add(r->hold.no_memory, ENDING_MS * TIMER_MS);
	restore_unserved(r);
	js_add_u64(data, "pid", r->rec.vmm_pid);
	restore_changed(r, "vmm-ending", data);
}

void recover_act(struct restore *r, enum plan plan, const char *how, const struct err *why)
{
	switch (plan) {
	case PLAN_END_EXITED:
		restore_end(r, "vmm-exited");
		break;
	case PLAN_END_RELEASED:
		end_left_alone(r);
		break;
	case PLAN_FAIL_MAP:
		give_up(r, "its page states are lost: %s", why->msg);
		break;
	case PLAN_FAIL_UFFD:
		give_up(r, "the worker died, and nobody has the userfaultfd for another: %s",
			why->msg);
		break;
	case PLAN_FAIL_DEATHS:
		give_up(r, "its workers die again and again, the last by %s", how);
		break;
	case PLAN_AWAIT_END:
		await_end(r);
		break;
	case PLAN_SUCCEED:
		succeed(r, how);
		break;
	case PLAN_AWAIT_WORKER:
	case PLAN_LEAVE:
	case PLAN_COUNT:
		break;
	}
}

void recover_worker(struct restore *r, const char *how, bool counted)
{
	struct err why;
	enum plan plan = plan_of(gather(r, counted, &why));

	log_debug("a worker is missing", "id=%s tenant=%s how=%s plan=%s", r->rec.id, r->rec.tenant,
		  how, plan_name(plan));
	recover_act(r, plan, how, &why);
}

void recover_done(struct restore *r)
{
	restore_served(r);
	assign_presence(r);
	restore_changed(r, "recovered", NULL);
	commands_resume_stop(r);
}

int recover_replace(struct restore *r, struct err *err)
{
	if (r->slot.state == SLOT_AWAITED)
		return proc_kill(r->hold.old_worker, err);
	if (!r->worker || !proto_state_live(r->rec.state) ||
	    (!slot_is_ready(&r->slot) && !slot_is_loading(&r->slot)))
		return err_set(err, ERR_STATE, "restore %s is %s: there is no worker to replace",
			       r->rec.id, proto_state_name(r->rec.state));
	if (proc_kill(r->worker->pidfd, err))
		return -1;
	slot_event(&r->slot, SLOT_REPLACE);
	return 0;
}
