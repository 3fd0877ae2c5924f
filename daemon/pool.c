#include "daemon/pool.h"

#include <event2/event.h>
#include <string.h>

#include "common/foreign.h"
#include "common/proc.h"
#include "daemon/log.h"
#include "daemon/spawn.h"
#include "daemon/timer.h"

#define REAP_AGAIN_MS 20

TAILQ_HEAD(worker_list, worker);

struct pool {
	struct event_base *base; /* borrowed */
	struct spawn spawn;      /* owned */
	size_t size, idle;
	struct worker_list list;      /* idle workers */
	struct worker_list ownerless; /* without an owner, until they are reaped */
	struct event *refill;
	struct event *on_zygote; /* owned; fires when the zygote has died */
	bool failing;   /* the last worker that was to stand ready could not, for the reason why */
	struct err why; /* while failing */
};

static void schedule_refill(struct pool *pool, long ms)
{
	if (!evtimer_pending(pool->refill, NULL))
		timer_add(pool->refill, (uint64_t)ms * TIMER_MS);
}

static void greet(struct worker *w, const struct chan_hello *hello)
{
	memcpy(w->release, hello->release, sizeof(w->release));
	w->greeted = true;
	w->pool->failing = false;
}

static void note_failure(struct pool *pool, const struct err *why)
{
	pool->failing = true;
	pool->why = *why;
}

static void log_lie(struct worker *w, const char *how)
{
	if (w->hooks) {
		w->hooks->lied(w->arg, how);
		return;
	}
	log_error("an idle worker lies, and is ended", "pid=%d how=%s", (int)w->pid, how);
	worker_silence(w);
}

/* Reads one message. False: there is none (any more), or it was wrong. */
static bool read_message(struct worker *w, enum chan_step *ret_step, struct err *err)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;

	*ret_step = chan_recv(w->chan, &msg, fds, err);
	if (*ret_step == CHAN_BAD && err->code == ERR_PEER)
		log_lie(w, err->msg);
	if (*ret_step != CHAN_GOT)
		return false;
	if (msg.type == CHAN_HELLO && !w->greeted)
		greet(w, &msg.hello);
	else if (w->hooks)
		w->hooks->message(w->arg, &msg, fds);
	else
		log_lie(w, "it speaks before it is asked");
	chan_close_fds(fds);
	return true;
}

static void ignore_message(void *arg, const struct chan_msg *msg, int *fds)
{
	(void)arg;
	(void)msg;
	(void)fds;
}

static void ignore_end(void *arg, const char *how)
{
	(void)arg;
	(void)how;
}

static bool never_cut(void *arg, int *pidfd)
{
	(void)arg;
	(void)pidfd;
	return false;
}

static const struct worker_hooks nobody = {ignore_message, ignore_end, ignore_end, never_cut};

static void disown(struct worker *w)
{
	if (w->hooks != &nobody)
		TAILQ_INSERT_TAIL(&w->pool->ownerless, w, link);
	w->hooks = &nobody;
	w->arg = NULL;
}

static void worker_free(struct worker *w)
{
	if (w->hooks == &nobody)
		TAILQ_REMOVE(&w->pool->ownerless, w, link);
	timer_drop(&w->on_exit);
	timer_drop(&w->on_chan);
	timer_drop(&w->deadline);
	foreign_close(&w->chan);
	close_fd(&w->pidfd);
	free(w);
}

static void on_reap_again(evutil_socket_t fd, short what, void *arg);

/* The pidfd stays readable, so waiting for it again would spin. */
static void reap_later(struct worker *w)
{
	event_free(w->on_exit);
	w->on_exit = evtimer_new(w->pool->base, on_reap_again, w);
	timer_add(w->on_exit, REAP_AGAIN_MS * TIMER_MS);
}

static void on_reap_again(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	char how[64];

	(void)fd;
	(void)what;
	if (spawn_reap(w->pidfd, how, sizeof(how)))
		worker_free(w);
	else
		reap_later(w);
}

static void log_exit(struct worker *w, const char *how)
{
	struct err why;

	if (w->hooks) {
		w->hooks->exited(w->arg, how);
	} else {
		err_set(&why, ERR_UNREADY, "a worker ended before it was ready: %s", how);
		if (!w->greeted)
			note_failure(w->pool, &why);
		log_warning("an idle worker died", "pid=%d how=%s", (int)w->pid, how);
		TAILQ_REMOVE(&w->pool->list, w, link);
		w->pool->idle--;
		/* Not at once: a worker program that cannot start must not make us spin. */
		schedule_refill(w->pool, 1000);
	}
	disown(w);
}

/* The owner hears of the exit at once, even while a tracer keeps us from reaping the worker. */
static void on_exit_cb(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	enum chan_step step;
	struct err err;
	char how[64];
	bool reaped;

	(void)fd;
	(void)what;
	/*
	 * The last messages count, whichever event came first. Another process may still have the
	 * channel and go on sending: then its allowance ends.
	 */
	while (!w->silenced && read_message(w, &step, &err))
		;
	reaped = spawn_reap(w->pidfd, how, sizeof(how));
	log_exit(w, reaped ? how : "killed while traced");
	if (reaped) {
		worker_free(w);
		return;
	}
	event_del(w->on_chan);
	reap_later(w);
}

static void on_chan_cb(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	enum chan_step step;
	struct err err;

	(void)fd;
	(void)what;
	/* One message a turn, so that no worker keeps the others waiting. */
	if (read_message(w, &step, &err) || step == CHAN_AGAIN || w->silenced)
		return;
	if (step == CHAN_LOST && w->hooks && w->hooks->cut(w->arg, &w->pidfd)) {
		worker_free(w);
		return;
	}
	if (step == CHAN_BAD)
		log_error("a worker cannot be understood", "pid=%d why=%s", (int)w->pid, err.msg);
	/* The exit follows and tells the rest; or the worker could not send, and comes back. */
	w->closed = step == CHAN_CLOSED;
	event_del(w->on_chan);
	worker_expect_exit(w, 5000);
}

static void listen_to(struct worker *w)
{
	w->start = proc_start_time(w->pid);
	allowance_init(&w->allowance, now_us());
	w->on_exit = event_new(w->pool->base, w->pidfd, EV_READ, on_exit_cb, w);
	w->on_chan = event_new(w->pool->base, w->chan, EV_READ | EV_PERSIST, on_chan_cb, w);
	event_add(w->on_exit, NULL);
	event_add(w->on_chan, NULL);
}

static void unwatch_zygote(struct pool *pool)
{
	timer_drop(&pool->on_zygote);
}

static void on_zygote_exit(evutil_socket_t fd, short what, void *arg)
{
	struct pool *pool = arg;
	char how[64];

	(void)fd;
	(void)what;
	spawn_reap(pool->spawn.zygote_pidfd, how, sizeof(how));
	log_warning("the zygote died, another one takes its place", "how=%s", how);
	unwatch_zygote(pool);
	spawn_zygote_lost(&pool->spawn);
}

static void watch_zygote(struct pool *pool)
{
	int pidfd = pool->spawn.zygote_pidfd;

	if (pidfd < 0)
		return;
	pool->on_zygote = event_new(pool->base, pidfd, EV_READ, on_zygote_exit, pool);
	event_add(pool->on_zygote, NULL);
}

static int worker_new(struct pool *pool, struct worker **ret, struct err *err)
{
	struct worker *w = xcalloc(1, sizeof(*w));
	int rc;

	w->pool = pool;
	w->pidfd = w->chan = -1;
	/* spawn_worker() may replace the zygote. */
	unwatch_zygote(pool);
	rc = spawn_worker(&pool->spawn, &w->pid, &w->pidfd, &w->chan, err);
	watch_zygote(pool);
	if (rc) {
		worker_free(w);
		return -1;
	}
	listen_to(w);
	*ret = w;
	return 0;
}

struct worker *pool_adopt(struct pool *pool, pid_t pid, int pidfd, int chan, const char *release)
{
	struct worker *w = xcalloc(1, sizeof(*w));

	w->pool = pool;
	w->pid = pid;
	w->pidfd = pidfd;
	w->chan = chan;
	w->greeted = w->replays = true;
	snprintf(w->release, sizeof(w->release), "%s", release);
	listen_to(w);
	return w;
}

void worker_own(struct worker *w, const struct worker_hooks *hooks, void *arg)
{
	w->hooks = hooks;
	w->arg = arg;
}

static void on_refill(evutil_socket_t fd, short what, void *arg)
{
	struct pool *pool = arg;
	struct worker *w;
	struct err err;

	(void)fd;
	(void)what;
	if (pool->idle >= pool->size)
		return;
	if (worker_new(pool, &w, &err)) {
		log_error("no worker could be started", "why=%s", err.msg);
		note_failure(pool, &err);
		schedule_refill(pool, 1000);
		return;
	}
	TAILQ_INSERT_TAIL(&pool->list, w, link);
	if (++pool->idle < pool->size)
		schedule_refill(pool, 0);
}

int pool_new(struct event_base *base, const char *path, size_t size, struct pool **ret,
	     struct err *err)
{
	struct pool *pool = xcalloc(1, sizeof(*pool));

	pool->base = base;
	pool->size = size;
	pool->spawn = (struct spawn){-1, -1, -1};
	TAILQ_INIT(&pool->list);
	TAILQ_INIT(&pool->ownerless);
	pool->refill = evtimer_new(base, on_refill, pool);
	if (spawn_open(path, &pool->spawn, err)) {
		pool_free(pool);
		return -1;
	}
	schedule_refill(pool, 0);
	*ret = pool;
	return 0;
}

void pool_free(struct pool *pool)
{
	struct worker *w;

	if (!pool)
		return;
	while ((w = TAILQ_FIRST(&pool->list))) {
		TAILQ_REMOVE(&pool->list, w, link);
		worker_free(w);
	}
	while ((w = TAILQ_FIRST(&pool->ownerless)))
		worker_free(w);
	event_free(pool->refill);
	unwatch_zygote(pool);
	spawn_close(&pool->spawn);
	free(pool);
}

void pool_tidy(struct pool *pool)
{
	spawn_reap_unknown(&pool->spawn);
}

size_t pool_wanting(const struct pool *pool)
{
	/* Channel and pidfd of each. */
	return 2 * (pool->size - pool->idle) + 2 * (pool->spawn.zygote < 0);
}

/* A worker that has just died, was silenced, or has hung up is left to on_exit_cb(). */
static struct worker *take_idle(struct pool *pool)
{
	struct worker *w;

	TAILQ_FOREACH(w, &pool->list, link)
	{
		if (w->silenced || w->deadline || proc_ended(w->pidfd))
			continue;
		TAILQ_REMOVE(&pool->list, w, link);
		pool->idle--;
		return w;
	}
	return NULL;
}

int pool_check(const struct pool *pool, struct err *err)
{
	const struct worker *w;

	TAILQ_FOREACH(w, &pool->list, link)
	if (w->greeted && !w->silenced)
		return 0;
	if (!pool->failing)
		return 0;
	*err = pool->why;
	err->code = ERR_UNREADY;
	return err_wrap(err, "no worker can be started");
}

int pool_take(struct pool *pool, const struct worker_hooks *hooks, void *arg, struct worker **ret,
	      struct err *err)
{
	struct worker *w = take_idle(pool);

	if (!w && worker_new(pool, &w, err))
		return -1;
	w->hooks = hooks;
	w->arg = arg;
	schedule_refill(pool, 0);
	*ret = w;
	return 0;
}

int worker_send(struct worker *w, enum chan_type type, struct chan_msg *msg, const int *fds,
		size_t nfds, struct err *err)
{
	if (chan_send(w->chan, type, msg, fds, nfds, err))
		return -1;
	/* A grant earns nothing: a worker could earn as much as it likes by asking for leases. */
	if (type != CHAN_LEASE_GRANT)
		allowance_earn(&w->allowance, ALLOWANCE_ANSWERS);
	return 0;
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	struct err err;

	(void)fd;
	(void)what;
	log_warning("a worker did not end in time and is killed", "pid=%d", (int)w->pid);
	proc_kill(w->pidfd, &err);
}

void worker_expect_exit(struct worker *w, unsigned ms)
{
	if (w->deadline)
		return;
	w->deadline = evtimer_new(w->pool->base, on_deadline, w);
	timer_add(w->deadline, (uint64_t)ms * TIMER_MS);
}

void worker_silence(struct worker *w)
{
	struct err err;

	w->silenced = true;
	event_del(w->on_chan);
	if (proc_kill(w->pidfd, &err))
		log_error("a worker could not be killed", "pid=%d why=%s", (int)w->pid, err.msg);
}

void worker_abandon(struct worker *w, const char *tenant)
{
	snprintf(w->tenant, sizeof(w->tenant), "%s", tenant);
	disown(w);
	worker_silence(w);
}

void pool_count_former(struct pool *pool, pid_t pid, int *pidfd, const char *tenant)
{
	struct worker *w = xcalloc(1, sizeof(*w));

	w->pool = pool;
	w->pid = pid;
	w->pidfd = steal_fd(pidfd);
	w->chan = -1;
	w->silenced = true;
	snprintf(w->tenant, sizeof(w->tenant), "%s", tenant);
	disown(w);
	w->on_exit = event_new(pool->base, w->pidfd, EV_READ, on_reap_again, w);
	event_add(w->on_exit, NULL);
}

void pool_forget_former(struct pool *pool, pid_t pid)
{
	struct worker *w;

	TAILQ_FOREACH(w, &pool->ownerless, link)
	if (w->pid == pid && w->chan < 0)
		break;
	if (w)
		worker_free(w);
}

size_t pool_abandoned(const struct pool *pool, const char *tenant)
{
	const struct worker *w;
	size_t n = 0;

	if (!pool)
		return 0;
	TAILQ_FOREACH(w, &pool->ownerless, link)
	n += w->tenant[0] && (!tenant || strcmp(w->tenant, tenant) == 0);
	return n;
}

void worker_leave(struct worker *w)
{
	worker_free(w);
}
