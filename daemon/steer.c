#include "daemon/steer.h"

#include <event2/event.h>

#include "common/js.h"
#include "common/log.h"
#include "common/proc.h"

static int tell_worker(struct live *l, enum chan_type type, struct chan_msg *msg,
		       struct err *err)
{
	if (!l->worker)
		return err_set(err, ERR_STATE, "restore %s has no worker", l->rec.id);
	return worker_send(l->worker, type, msg, NULL, 0, err);
}

/* The guest goes on without us, by the worker's hand. */
static int stop_by_worker(struct live *l, struct err *err)
{
	struct chan_msg msg = {.stop.how = CHAN_STOP_GUEST};

	if (tell_worker(l, CHAN_STOP, &msg, err))
		return -1;
	worker_expect_exit(l->worker, LIVE_LEAVE_MS);
	return 0;
}

static int stop_with_kill(struct live *l, struct err *err)
{
	if (proc_kill(l->vmm, err))
		return err_wrap(err, "restore %s", l->rec.id);
	return 0;
}

static int stop_guest(struct live *l, struct err *err)
{
	/* Of a VMM that was never served the worker keeps the descriptor, and can do no more. */
	if (l->rec.complete || (l->spec.on_failure == FAILURE_POISON && l->uffd >= 0))
		return stop_by_worker(l, err);
	if (l->spec.on_failure == FAILURE_KILL)
		return stop_with_kill(l, err);
	return err_set(err, ERR_STATE, "restore %s: the VMM (pid %u) lives and its guest still "
		       "needs pages; end it first, or stop with kill", l->rec.id, l->rec.vmm_pid);
}

static void on_grace(evutil_socket_t fd, short what, void *arg)
{
	struct live *l = arg;
	struct err err;

	(void)fd;
	(void)what;
	if (stop_guest(l, &err) == 0)
		return;
	l->stop_reason[0] = '\0';
	log_warning("restore could not be stopped", "id=%s why=%s", l->rec.id, err.msg);
	l->host->hooks->changed(l->host->arg, l);
}

static int start_grace(struct live *l, uint64_t grace_ms)
{
	const struct timeval tv = {(time_t)(grace_ms / 1000), (suseconds_t)(grace_ms % 1000) * 1000};

	if (!l->grace)
		l->grace = evtimer_new(l->host->base, on_grace, l);
	evtimer_add(l->grace, &tv);
	return 0;
}

static int stop_serving(struct live *l, uint64_t grace_ms, bool kill, struct err *err)
{
	int rc;

	/* Somebody reads page states, or the guest's memory: it must not be poisoned now. */
	if (l->rec.paused && !kill)
		return err_set(err, ERR_PAUSED, "restore %s is paused: resume it first", l->rec.id);
	snprintf(l->stop_reason, sizeof(l->stop_reason), "%s", kill ? "killed" : "stopped");
	if (kill)
		rc = stop_with_kill(l, err);
	else if (grace_ms)
		rc = start_grace(l, grace_ms);
	else
		rc = stop_guest(l, err);
	if (rc)
		l->stop_reason[0] = '\0';
	return rc;
}

/* Failed, and its VMM hangs on. */
static int stop_failed(struct live *l, bool kill, struct err *err)
{
	return kill ? stop_with_kill(l, err) : stop_guest(l, err);
}

int steer_stop(struct live *l, uint64_t grace_ms, bool kill, struct err *err)
{
	if (l->released)
		return 0;
	switch (l->rec.state) {
	case STATE_WAITING:
		live_end(l, "stopped");
		return 0;
	case STATE_FAILED:
		return stop_failed(l, kill, err);
	default:
		return stop_serving(l, grace_ms, kill, err);
	}
}

static int check_serving(const struct live *l, struct err *err)
{
	if (l->rec.state == STATE_SERVING)
		return 0;
	return err_set(err, ERR_STATE, "restore %s is %s, not serving", l->rec.id,
		       proto_state_name(l->rec.state));
}

int steer_prefetch(struct live *l, enum spec_prefetch mode, bool held, uint64_t rate,
		  struct err *err)
{
	struct chan_msg msg = {.prefetch = {mode, held, rate}};
	struct json_object *data;

	if (l->rec.paused)
		return err_set(err, ERR_PAUSED, "restore %s is paused: resume it first", l->rec.id);
	if (!proto_state_live(l->rec.state))
		return check_serving(l, err);
	if (tell_worker(l, CHAN_PREFETCH, &msg, err))
		return -1;
	l->rec.prefetch = mode;
	l->rec.prefetch_held = held;
	l->rec.rate_bytes_per_s = rate;
	l->rec.revision++;
	data = json_object_new_object();
	js_add_string(data, "mode", spec_prefetch_names[mode]);
	js_add_bool(data, "paused", held);
	js_add_u64(data, "rate_bytes_per_s", rate);
	live_changed(l, "prefetch", data);
	return 0;
}

int steer_pause(struct live *l, struct err *err)
{
	struct chan_msg msg = {0};

	if (check_serving(l, err))
		return -1;
	if (l->stop_reason[0])
		return err_set(err, ERR_STATE, "restore %s is being stopped", l->rec.id);
	return l->rec.paused ? 0 : tell_worker(l, CHAN_PAUSE, &msg, err);
}

int steer_resume(struct live *l, struct err *err)
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
	live_changed(l, "resumed", NULL);
	return 0;
}
