/*
 * spawn - starts worker processes: the only exec of the supervisor
 *
 * The worker program is executed from a descriptor that was opened at start, so that an upgrade of
 * the package on disk never mixes versions. The child begins with default signal handlers, with
 * nothing but its channel (descriptor 3) and stderr, and with no memory of ours. One such child,
 * the zygote, forks the workers (worker/zygote.h), which execute the program again.
 */
#ifndef UFFDD_SPAWN_H
#define UFFDD_SPAWN_H

#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"

struct spawn {
	int exec_fd;      /* owned: the worker program */
	int zygote;       /* owned: channel to the zygote; -1: no zygote (any more) */
	int zygote_pidfd; /* owned; -1: no zygote */
	pid_t unreaped;   /* a child that had ended at the last look; 0: none */
};

/*
 * Opens the worker program; no process is started yet. -1 with ERR_PATH that names the program and
 * the option that says where it is.
 */
int spawn_open(const char *path, struct spawn *ret, struct err *err);
/* Ends the zygote; workers do not notice. Accepts a struct of -1s. */
void spawn_close(struct spawn *s);
/* The zygote has died (its pidfd is readable): reaps it; the next worker gets another zygote. */
void spawn_zygote_lost(struct spawn *s);

/*
 * spawn_worker - forks a worker in the zygote or, if that fails, executes the program
 * @ret_pidfd, @ret_chan: owned by the caller; the channel is non-blocking
 *
 * Starts a zygote if there is none; may replace it. Waits for the zygote's answer, at most about a
 * second. 0, or -1 with the error. Reap the worker by spawn_reap() once the pidfd is readable.
 */
int spawn_worker(struct spawn *s, pid_t *ret_pid, int *ret_pidfd, int *ret_chan, struct err *err);

/*
 * Reaps a child that has ended. @ret: how, in words: "exit 3", "signal 9 (Killed)", or "gone" if it
 * is not ours to reap. False: it runs, or cannot be reaped yet, because another process traces it.
 */
bool spawn_reap(int pidfd, char *ret, size_t len);
/*
 * A zygote that is killed between its fork and its answer leaves a worker that the supervisor does
 * not know. That worker ends by itself. It is reaped when it is found for the second time, since
 * children that are known are reaped long before. To be called now and then.
 */
void spawn_reap_unknown(struct spawn *s);

#endif
