/*
 * workerside - what the tests of a worker's channel share: the worker of restorekit's restore is
 * a process that only stays, and the test speaks and hears in its place
 */
#ifndef UFFDD_TESTS_WORKERSIDE_H
#define UFFDD_TESTS_WORKERSIDE_H

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "common/proc.h"
#include "tests/support/restorekit.h"

struct workerside {
	struct restorekit *k; /* borrowed */
	pid_t pid;
	int chan; /* owned: the worker's end */
};

/* A process that stays until it is killed. */
static inline pid_t workerside_fork(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	while (pid == 0)
		pause();
	return pid;
}

/* Where a successor is asked for, the pool has one that ends at once. */
static inline void workerside_open(struct workerside *w, struct restorekit *k,
				   const struct worker_hooks *hooks)
{
	struct err err = {.msg = ""};
	int ends[2], pidfd;

	*w = (struct workerside){.k = k, .pid = workerside_fork()};
	ck_assert_msg(chan_pair(ends, &err) == 0 && proc_pidfd(w->pid, &pidfd, &err) == 0 &&
			      pool_new(k->host.base, "/bin/true", 0, &k->host.pool, &err) == 0,
		      "%s", err.msg);
	w->chan = ends[1];
	k->host.worker_hooks = hooks;
	k->r->worker = pool_adopt(k->host.pool, w->pid, pidfd, ends[0], "a release");
	k->r->worker->replays = false;
	k->r->rec.worker_pid = (uint32_t)w->pid;
	worker_own(k->r->worker, hooks, k->r);
}

static inline bool workerside_is_reaped(void *arg)
{
	struct workerside *w = arg;

	event_base_loop(w->k->host.base, EVLOOP_NONBLOCK);
	return kill(w->pid, 0) < 0 && errno == ESRCH;
}

/* With the restore: workerside_close() stands before restorekit_close(). */
static inline void workerside_close(struct workerside *w)
{
	if (w->k->r && w->k->r->worker && w->k->r->worker->pid == w->pid) {
		worker_abandon(w->k->r->worker, "t");
		w->k->r->worker = NULL;
	}
	ck_assert(harness_wait(workerside_is_reaped, w, HARNESS_MS));
	pool_free(w->k->host.pool);
	close_fd(&w->chan);
}

/* One turn of the loop, in which the supervisor hears one message. */
static inline void workerside_turn(const struct workerside *w)
{
	event_base_loop(w->k->host.base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}

/* Said by the worker, and heard; @fds stay the caller's. */
static inline void workerside_say(const struct workerside *w, enum chan_type type,
				  struct chan_msg *msg, const int *fds, size_t nfds)
{
	struct err err = {.msg = ""};

	ck_assert_msg(chan_send(w->chan, type, msg, fds, nfds, &err) == 0, "%s", err.msg);
	workerside_turn(w);
}

/* The next that the worker was told: CHAN_NONE when there is nothing (any more). */
static inline enum chan_type workerside_hear(const struct workerside *w, struct chan_msg *ret)
{
	int fds[CHAN_FDS_MAX];
	struct err err;

	if (chan_recv(w->chan, ret, fds, &err) != CHAN_GOT)
		return CHAN_NONE;
	chan_close_fds(fds);
	return ret->type;
}

/* The names of all that the worker was told, each with a space behind it. Static storage. */
static inline const char *workerside_told(const struct workerside *w)
{
	static char text[256];
	struct chan_msg msg;
	size_t len = 0;

	text[0] = '\0';
	for (enum chan_type type; (type = workerside_hear(w, &msg)) != CHAN_NONE;)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s ",
					chan_type_name(type));
	return text;
}

static inline bool workerside_has_ended(void *arg)
{
	const pid_t *pid = arg;
	siginfo_t how = {0};

	return waitid(P_PID, (id_t)*pid, &how, WEXITED | WNOWAIT | WNOHANG) == 0 && how.si_pid;
}

/* Waits for the end of a child of ours, and leaves it to be reaped. */
static inline bool workerside_was_killed(pid_t pid)
{
	siginfo_t how = {0};

	return harness_wait(workerside_has_ended, &pid, HARNESS_MS) &&
	       waitid(P_PID, (id_t)pid, &how, WEXITED | WNOWAIT) == 0 &&
	       how.si_code == CLD_KILLED && how.si_status == SIGKILL;
}

#endif
