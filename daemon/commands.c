#include "daemon/commands.h"

#include <event2/event.h>
#include <string.h>

#include "common/js.h"
#include "daemon/log.h"
#include "daemon/timer.h"
#include "daemon/vmm.h"

#define STOPPED "stopped"
#define KILLED "killed"

static int tell_worker(struct restore *l, enum chan_type type, struct chan_msg *msg,
		       struct err *err)
{
	if (!l->worker)
		return err_set(err, ERR_STATE, "restore %s has no worker", l->rec.id);
	return worker_send(l->worker, type, msg, NULL, 0, err);
}

/* ---- stop ---- */

/*
 * The guest goes on without us, by the worker's hand. One that is not there, or dies over
 * it, has a successor, and commands_resume_stop() tells that one.
 */
static int stop_by_worker(struct restore *l)
{
	struct chan_msg msg = {.stop.how = CHAN_STOP_GUEST};
	struct err err;

	if (!l->worker || !slot_is_ready(&l->slot))
		return 0;
	worker_send(l->worker, CHAN_STOP, &msg, NULL, 0, &err);
	worker_expect_exit(l->worker, RESTORE_LEAVE_MS);
	return 0;
}

/* Nobody is there to be killed, but the memory lives: it is not to hang on us either. */
static int stop_unknown(struct restore *l, const struct err *why)
{
	vmm_kill_failed(l, why);
	snprintf(l->rec.stop_reason, sizeof(l->rec.stop_reason), "%s", STOPPED);
	return stop_by_worker(l);
}

static int stop_with_kill(struct restore *l, struct err *err)
{
	if (vmm_kill(l, err) == 0)
		return 0;
	if (err->code == ERR_NOTFOUND && l->rec.memory_bytes && l->slot.state != SLOT_LOST)
		return stop_unknown(l, err);
	return err_wrap(err, "restore %s", l->rec.id);
}

/* Its worker may be about to say so. */
static bool is_complete(const struct restore *l)
{
	struct pagemap_view view;
	struct err err;

	return l->rec.complete ||
	       (restore_view(l, &view, &err) == 0 && pagemap_view_complete(&view));
}

/* Of a VMM that was never served the worker keeps the descriptor, and can do no more. */
static bool leaves_by_worker(const struct restore *l)
{
	return l->slot.state != SLOT_LOST && (is_complete(l) || (l->spec.on_failure == FAILURE_POISON &&
						   l->rec.memory_bytes));
}

static int check_stop(const struct restore *l, bool kill, struct err *err)
{
	if (kill || l->spec.on_failure == FAILURE_KILL || leaves_by_worker(l))
		return 0;
	return err_set(err, ERR_STATE, "restore %s: the VMM (pid %u) lives and its guest still "
		       "needs pages; end it first, or stop with kill", l->rec.id, l->rec.vmm_pid);
}

static void forget_stop(struct restore *l, const struct err *why)
{
	struct json_object *data = json_object_new_object();

	log_warning("restore could not be stopped", "id=%s why=%s", l->rec.id, why->msg);
	l->rec.stop_reason[0] = '\0';
	l->rec.stop_by_us = 0;
	l->rec.revision++;
	js_add_string(data, "detail", why->msg);
	restore_changed(l, "stop-refused", data);
}

/* Now, whatever time there was. */
static int carry_out(struct restore *l, struct err *err)
{
	bool kill = strcmp(l->rec.stop_reason, KILLED) == 0;
	int rc = check_stop(l, kill, err);

	if (rc == 0 && !kill && leaves_by_worker(l))
		rc = stop_by_worker(l);
	else if (rc == 0)
		rc = stop_with_kill(l, err);
	if (rc)
		forget_stop(l, err);
	return rc;
}

static void start_grace(struct restore *l, uint64_t us);

static void on_grace(evutil_socket_t fd, short what, void *arg)
{
	struct restore *l = arg;
	uint64_t now = now_us();
	struct err err;

	(void)fd;
	(void)what;
	/* The loop's clock is that of its last turn: its timers may be some milliseconds early. */
	if (now < l->rec.stop_by_us)
		start_grace(l, l->rec.stop_by_us - now);
	else
		carry_out(l, &err);
}

static void start_grace(struct restore *l, uint64_t us)
{
	if (!l->hold.grace)
		l->hold.grace = evtimer_new(l->host->base, on_grace, l);
	timer_add(l->hold.grace, us);
}

/* In the store before anything is done: who dies over it must do it again. */
static void remember_stop(struct restore *l, const char *reason, uint64_t grace_ms)
{
	struct json_object *data;

	if (strcmp(l->rec.stop_reason, reason) == 0 && !grace_ms && !l->rec.stop_by_us)
		return;
	snprintf(l->rec.stop_reason, sizeof(l->rec.stop_reason), "%s", reason);
	l->rec.stop_by_us = grace_ms ? now_us() + grace_ms * 1000 : 0;
	l->rec.revision++;
	data = json_object_new_object();
	js_add_string(data, "reason", reason);
	js_add_u64(data, "grace_ms", grace_ms);
	restore_changed(l, "stopping", data);
}

static int stop_guest(struct restore *l, uint64_t grace_ms, bool kill, struct err *err)
{
	if (!grace_ms && check_stop(l, kill, err))
		return -1;
	remember_stop(l, kill ? KILLED : STOPPED, grace_ms);
	if (l->hold.grace)
		evtimer_del(l->hold.grace);
	if (!grace_ms)
		return carry_out(l, err);
	start_grace(l, grace_ms * 1000);
	return 0;
}

void commands_resume_stop(struct restore *l)
{
	uint64_t now = now_us();
	struct err err;

	if (!l->rec.stop_reason[0] || slot_is_released(&l->slot))
		return;
	if (l->rec.stop_by_us > now)
		start_grace(l, l->rec.stop_by_us - now);
	else
		carry_out(l, &err);
}

int commands_stop(struct restore *l, uint64_t grace_ms, bool kill, struct err *err)
{
	if (slot_is_released(&l->slot))
		return 0;
	if (l->slot.state == SLOT_DEFERRED)
		return err_set(err, ERR_UNREADY, "restore %s: the daemon has no descriptors for it "
			       "yet, raise its limit of open files (LimitNOFILE=, ulimit -Hn)",
			       l->rec.id);
	switch (l->rec.state) {
	case STATE_WAITING:
		restore_end(l, STOPPED);
		return 0;
	case STATE_FAILED:
		/* Its VMM hangs on; there is nothing to give it time for. */
		return stop_guest(l, 0, kill, err);
	default:
		/* Somebody reads page states, or the guest's memory: it must not be poisoned now. */
		if (l->rec.paused && !kill)
			return err_set(err, ERR_PAUSED, "restore %s is paused: resume it first",
				       l->rec.id);
		return stop_guest(l, kill ? 0 : grace_ms, kill, err);
	}
}

/* ---- the rest ---- */

static int check_serving(const struct restore *l, struct err *err)
{
	if (l->rec.state == STATE_SERVING)
		return 0;
	return err_set(err, ERR_STATE, "restore %s is %s, not serving", l->rec.id,
		       proto_state_name(l->rec.state));
}

int commands_prefetch(struct restore *l, const struct chan_prefetch *want, struct err *err)
{
	struct chan_msg msg = {.prefetch = *want};
	struct json_object *data;

	if (l->rec.paused)
		return err_set(err, ERR_PAUSED, "restore %s is paused: resume it first", l->rec.id);
	if (!proto_state_live(l->rec.state))
		return check_serving(l, err);
	if (tell_worker(l, CHAN_PREFETCH, &msg, err))
		return -1;
	l->rec.prefetch = (enum spec_prefetch)want->mode;
	l->rec.prefetch_held = want->paused;
	l->rec.rate_bytes_per_s = want->rate_bytes_per_s;
	l->rec.max_resident_bytes = want->max_resident_bytes;
	l->rec.revision++;
	data = json_object_new_object();
	js_add_string(data, "mode", spec_prefetch_names[want->mode]);
	js_add_bool(data, "paused", want->paused);
	js_add_u64(data, "rate_bytes_per_s", want->rate_bytes_per_s);
	js_add_u64(data, "max_resident_bytes", want->max_resident_bytes);
	restore_changed(l, "prefetch", data);
	return 0;
}

int commands_pause(struct restore *l, struct err *err)
{
	struct chan_msg msg = {0};

	if (check_serving(l, err))
		return -1;
	if (l->rec.stop_reason[0])
		return err_set(err, ERR_STATE, "restore %s is being stopped", l->rec.id);
	return l->rec.paused ? 0 : tell_worker(l, CHAN_PAUSE, &msg, err);
}

int commands_resume(struct restore *l, struct err *err)
{
	struct chan_msg msg = {0};

	if (check_serving(l, err))
		return -1;
	if (!l->rec.paused)
		return 0;
	if (tell_worker(l, CHAN_RESUME, &msg, err))
		return -1;
	l->rec.paused = false;
	l->rec.revision++;
	restore_changed(l, "resumed", NULL);
	return 0;
}
