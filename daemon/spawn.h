/*
 * spawn - the only fork and exec of the supervisor
 *
 * The worker program is executed from a descriptor opened at start, so that an
 * upgraded package on disk never mixes versions. The child begins with default
 * signal handlers, nothing but its channel (descriptor 3) and stderr, and no memory
 * of ours. One such child, the zygote, forks the workers (worker/zygote.h).
 */
#ifndef UFFDD_SPAWN_H
#define UFFDD_SPAWN_H

#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"

struct spawn {
	int exec_fd;      /* owned: the worker program */
	int zygote;       /* owned: its channel; -1: none (any more) */
	int zygote_pidfd; /* owned; -1: none */
	pid_t unreaped;   /* a child that had ended at the last look; 0: none had */
};

/* ERR_PATH that names the program and the option that says where it is. */
int spawn_open(const char *path, struct spawn *ret, struct err *err);
/* The zygote ends; workers do not notice. */
void spawn_close(struct spawn *s);
/* The zygote has died (its pidfd is readable): the next worker gets another one. */
void spawn_bury(struct spawn *s);

/*
 * spawn_worker - out of the zygote or, where that fails, by executing the program
 * @ret_pidfd, @ret_chan: owned by the caller; the channel is non-blocking.
 *
 * The child must be reaped with waitid(P_PIDFD) once the pidfd is readable.
 */
int spawn_worker(struct spawn *s, pid_t *ret_pid, int *ret_pidfd, int *ret_chan, struct err *err);

/*
 * How it ended, in words: "exit 3", "signal 9 (Killed)". For an unreaped child only.
 * False: it has ended, but cannot be reaped yet, because somebody traces it.
 */
bool spawn_reap(int pidfd, char *ret, size_t len);
/*
 * A zygote that is killed between its fork and its answer leaves a worker that nobody knows.
 * It ends by itself, and is reaped when it is found for the second time: whoever is known
 * is reaped long before. Call it now and then.
 */
void spawn_reap_unknown(struct spawn *s);

#endif
