#include "daemon/commands.h"

#include <event2/event.h>
#include <string.h>

#include "common/js.h"
#include "daemon/log.h"
#include "daemon/timer.h"
#include "daemon/vmm.h"

#define STOPPED "stopped"
#define KILLED "killed"

static int send_to_worker(struct restore *r, enum chan_type type, struct chan_msg *msg,
			  struct err *err)
{
	if (!r->worker)
		return err_set(err, ERR_STATE, "restore %s has no worker", r->rec.id);
	return worker_send(r->worker, type, msg, NULL, 0, err);
}

/* ---- stop ---- */

/*
 * The worker releases the guest. If there is no worker, or the worker dies over it, the successor
 * is told by commands_resume_stop().
 */
static int stop_by_worker(struct restore *r)
{
	struct chan_msg msg = {.stop.how = CHAN_STOP_GUEST};
	struct err err;

	if (!r->worker || !slot_is_ready(&r->slot))
		return 0;
	worker_send(r->worker, CHAN_STOP, &msg, NULL, 0, &err);
	worker_expect_exit(r->worker, RESTORE_LEAVE_MS);
	return 0;
}

/* No process is known to be killed, but the memory lives: the guest must not wait for us either. */
static int stop_unknown(struct restore *r, const struct err *why)
{
	vmm_kill_failed(r, why);
	snprintf(r->rec.stop_reason, sizeof(r->rec.stop_reason), "%s", STOPPED);
	return stop_by_worker(r);
}

static int stop_with_kill(struct restore *r, struct err *err)
{
	if (vmm_kill(r, err) == 0)
		return 0;
	if (err->code == ERR_NOTFOUND && r->rec.memory_bytes && r->slot.state != SLOT_LOST)
		return stop_unknown(r, err);
	return err_wrap(err, "restore %s", r->rec.id);
}

/* The page map may know before the worker has sent COMPLETE. */
static bool is_complete(const struct restore *r)
{
	struct pagemap_view view;
	struct err err;

	return r->rec.complete ||
	       (restore_view(r, &view, &err) == 0 && pagemap_view_complete(&view));
}

/* For a VMM that was never served the worker only keeps the descriptor, and can do no more. */
static bool leaves_by_worker(const struct restore *r)
{
	return r->slot.state != SLOT_LOST &&
	       (is_complete(r) || (r->spec.on_failure == FAILURE_POISON && r->rec.memory_bytes));
}

static int check_stop(const struct restore *r, bool kill, struct err *err)
{
	if (kill || r->spec.on_failure == FAILURE_KILL || leaves_by_worker(r))
		return 0;
	return err_set(err, ERR_STATE,
		       "restore %s: the VMM (pid %u) lives and its guest still "
		       "needs pages; end it first, or stop with kill",
		       r->rec.id, r->rec.vmm_pid);
}

static void forget_stop(struct restore *r, const struct err *why)
{
	struct json_object *data = json_object_new_object();

	log_warning("restore could not be stopped", "id=%s tenant=%s why=%s", r->rec.id,
		    r->rec.tenant, why->msg);
	r->rec.stop_reason[0] = '\0';
	r->rec.stop_by_us = 0;
	r->rec.revision++;
	js_add_string(data, "detail", why->msg);
	restore_changed(r, "stop-refused", data);
}

/* Stops now, whatever is left of the grace. */
static int carry_out(struct restore *r, struct err *err)
{
	bool kill = strcmp(r->rec.stop_reason, KILLED) == 0;
	int rc = check_stop(r, kill, err);

	if (rc == 0 && !kill && leaves_by_worker(r))
		rc = stop_by_worker(r);
	else if (rc == 0)
		rc = stop_with_kill(r, err);
	if (rc)
		forget_stop(r, err);
	return rc;
}

static void on_grace(evutil_socket_t fd, short what, void *arg)
{
	struct err err;

	(void)fd;
	(void)what;
	carry_out(arg, &err);
}

static void start_grace(struct restore *r, uint64_t us)
{
	if (!r->hold.grace)
		r->hold.grace = evtimer_new(r->host->base, on_grace, r);
	timer_add(r->hold.grace, us);
}

/* Stored before anything is done: after a death the stop must be repeated. */
static void remember_stop(struct restore *r, const char *reason, uint64_t grace_ms)
{
	struct json_object *data;

	if (strcmp(r->rec.stop_reason, reason) == 0 && !grace_ms && !r->rec.stop_by_us)
		return;
	snprintf(r->rec.stop_reason, sizeof(r->rec.stop_reason), "%s", reason);
	r->rec.stop_by_us = grace_ms ? now_us() + grace_ms * 1000 : 0;
	r->rec.revision++;
	data = json_object_new_object();
	js_add_string(data, "reason", reason);
	js_add_u64(data, "grace_ms", grace_ms);
	restore_changed(r, "stopping", data);
}

static int stop_guest(struct restore *r, uint64_t grace_ms, bool kill, struct err *err)
{
	if (!grace_ms && check_stop(r, kill, err))
		return -1;
	remember_stop(r, kill ? KILLED : STOPPED, grace_ms);
	if (r->hold.grace)
		evtimer_del(r->hold.grace);
	if (!grace_ms)
		return carry_out(r, err);
	start_grace(r, grace_ms * 1000);
	return 0;
}

void commands_resume_stop(struct restore *r)
{
	uint64_t now = now_us();
	struct err err;

	if (!r->rec.stop_reason[0] || slot_is_released(&r->slot))
		return;
	if (r->rec.stop_by_us > now)
		start_grace(r, r->rec.stop_by_us - now);
	else
		carry_out(r, &err);
}

int commands_stop(struct restore *r, uint64_t grace_ms, bool kill, struct err *err)
{
	if (slot_is_released(&r->slot))
		return 0;
	if (r->slot.state == SLOT_DEFERRED)
		return err_set(err, ERR_UNREADY,
			       "restore %s: the daemon has no descriptors for it "
			       "yet, raise its limit of open files (LimitNOFILE=, ulimit -Hn)",
			       r->rec.id);
	switch (r->rec.state) {
	case STATE_WAITING:
		restore_end(r, STOPPED);
		return 0;
	case STATE_FAILED:
		/* A failed restore's guest waits in vain: a grace would be of no use. */
		return stop_guest(r, 0, kill, err);
	default:
		/* Page states or guest memory may be read now: poison nothing. */
		if (r->rec.paused && !kill)
			return err_set(err, ERR_PAUSED, "restore %s is paused: resume it first",
				       r->rec.id);
		return stop_guest(r, kill ? 0 : grace_ms, kill, err);
	}
}

/* ---- prefetch, pause, resume ---- */

static int check_serving(const struct restore *r, struct err *err)
{
	if (r->rec.state == STATE_SERVING)
		return 0;
	return err_set(err, ERR_STATE, "restore %s is %s, not serving", r->rec.id,
		       proto_state_name(r->rec.state));
}

static bool is_set(const struct restore_record *rec, const struct chan_prefetch *want)
{
	return rec->prefetch == (enum spec_prefetch)want->mode &&
	       rec->prefetch_held == (want->paused != 0) &&
	       rec->rate_bytes_per_s == want->rate_bytes_per_s &&
	       rec->max_resident_bytes == want->max_resident_bytes;
}

/* The worker hears of it in any case: a prefetch that has given up begins again. */
int commands_prefetch(struct restore *r, const struct chan_prefetch *want, struct err *err)
{
	struct chan_msg msg = {.prefetch = *want};
	struct json_object *data;

	if (r->rec.paused)
		return err_set(err, ERR_PAUSED, "restore %s is paused: resume it first", r->rec.id);
	if (!proto_state_live(r->rec.state))
		return check_serving(r, err);
	if (send_to_worker(r, CHAN_PREFETCH, &msg, err))
		return -1;
	if (is_set(&r->rec, want))
		return 0;
	r->rec.prefetch = (enum spec_prefetch)want->mode;
	r->rec.prefetch_held = want->paused;
	r->rec.rate_bytes_per_s = want->rate_bytes_per_s;
	r->rec.max_resident_bytes = want->max_resident_bytes;
	r->rec.revision++;
	data = json_object_new_object();
	js_add_string(data, "mode", spec_prefetch_names[want->mode]);
	js_add_bool(data, "paused", want->paused);
	js_add_u64(data, "rate_bytes_per_s", want->rate_bytes_per_s);
	js_add_u64(data, "max_resident_bytes", want->max_resident_bytes);
	restore_changed(r, "prefetch", data);
	return 0;
}

int commands_pause(struct restore *r, struct err *err)
{
	struct chan_msg msg = {0};

	if (check_serving(r, err))
		return -1;
	if (r->rec.stop_reason[0])
		return err_set(err, ERR_STATE, "restore %s is being stopped", r->rec.id);
	return r->rec.paused ? 0 : send_to_worker(r, CHAN_PAUSE, &msg, err);
}

int commands_resume(struct restore *r, struct err *err)
{
	struct chan_msg msg = {0};

	if (check_serving(r, err))
		return -1;
	if (!r->rec.paused)
		return 0;
	if (send_to_worker(r, CHAN_RESUME, &msg, err))
		return -1;
	r->rec.paused = false;
	r->rec.revision++;
	restore_changed(r, "resumed", NULL);
	return 0;
}
