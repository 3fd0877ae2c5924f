/*
 * pool - worker processes: a few stand ready, so that a restore never waits for exec
 *
 * The pool frees each struct worker once the worker has exited, unless worker_leave() did before.
 * A worker that was handed out belongs to its restore: messages and exit are reported by the hooks.
 */
#ifndef UFFDD_POOL_H
#define UFFDD_POOL_H

#include <sys/queue.h>

#include "common/chan.h"
#include "daemon/allowance.h"

struct event;
struct event_base;
struct pool;
struct worker;

/* The hooks of a worker's owner; arg is what worker_own() or pool_take() was given. */
struct worker_hooks {
	/*
	 * A message. @fds: CHAN_FDS_MAX descriptors or -1; take one by setting it to -1, the rest
	 * is closed.
	 */
	void (*message)(void *arg, const struct chan_msg *msg, int *fds);
	/* The worker broke the protocol, by @how: call worker_silence() or worker_abandon(). */
	void (*lied)(void *arg, const char *how);
	/* The worker has ended, by @how. Forget it: the pool frees it. */
	void (*exited)(void *arg, const char *how);
	/*
	 * A message was lost, for want of descriptors. True: the hook took @pidfd and has forgotten
	 * the worker, which is freed. Without its channel the worker comes back and sends
	 * everything again.
	 */
	bool (*cut)(void *arg, int *pidfd);
};

struct worker {
	pid_t pid;
	uint64_t start;                   /* start time: with the pid, its identity */
	int pidfd, chan;                  /* owned */
	bool closed;                      /* the worker has closed the channel; usually it ends */
	char release[32];                 /* the program's version, as HELLO or REATTACH says */
	struct pool *pool;                /* borrowed */
	struct event *on_exit, *on_chan;  /* owned */
	struct event *deadline;           /* owned; NULL, or: kills the worker when it fires */
	struct allowance allowance;       /* for what it may still send */
	bool greeted;                     /* HELLO or REATTACH has come */
	bool replays;                     /* came back by REATTACH: CONNECTED may come once more */
	bool silenced;                    /* see worker_silence() */
	char tenant[PROTO_ID_MAX + 1];    /* for whom an abandoned one had been; else "" */
	const struct worker_hooks *hooks; /* borrowed; NULL while idle */
	void *arg;
	TAILQ_ENTRY(worker) link; /* in the pool's list of idle or of ownerless workers */
};

/*
 * @base: borrowed. @path: the worker program. @size: idle workers to keep. 0, or -1 with ERR_PATH
 * (spawn.h). Workers are started from the event loop.
 */
int pool_new(struct event_base *base, const char *path, size_t size, struct pool **ret,
	     struct err *err);
/* Accepts NULL. Idle workers end, since their channels close; those handed out go on. */
void pool_free(struct pool *pool);

/* To be called now and then: reaps unknown children (spawn_reap_unknown). */
void pool_tidy(struct pool *pool);
/* Descriptors that the pool will still take until it is full. */
size_t pool_wanting(const struct pool *pool);

/* -1 with ERR_UNREADY: none stands ready, and the last one that was started could not, by @err. */
int pool_check(const struct pool *pool, struct err *err);

/*
 * Hands out an idle worker, or a new one. @hooks, @arg: borrowed. *ret stays the pool's. 0, or -1
 * where no worker can be started. The pool is refilled from the event loop.
 */
int pool_take(struct pool *pool, const struct worker_hooks *hooks, void *arg, struct worker **ret,
	      struct err *err);

/*
 * A worker of a former supervisor that came back. Takes @pidfd and @chan. The process is not our
 * child, so how it ends cannot be known. The caller then calls worker_own() or worker_leave().
 */
struct worker *pool_adopt(struct pool *pool, pid_t pid, int pidfd, int chan, const char *release);
/* Sets the owner of an adopted worker. @hooks, @arg: borrowed. */
void worker_own(struct worker *w, const struct worker_hooks *hooks, void *arg);

/*
 * Sends one message. @fds are duplicated and stay the caller's. 0, or -1: ERR_UNREADY when the
 * worker is gone or its queue is full.
 */
int worker_send(struct worker *w, enum chan_type type, struct chan_msg *msg, const int *fds,
		size_t nfds, struct err *err);
/* The worker should exit by itself now, and is killed after @ms. An earlier call prevails. */
void worker_expect_exit(struct worker *w, unsigned ms);
/* Kills the worker; of all that it has sent or sends only its exit is still reported. */
void worker_silence(struct worker *w);
/*
 * Kills the worker, and its owner hears no more: in the kernel the exit may take long. Until then
 * it is counted for @tenant.
 */
void worker_abandon(struct worker *w, const char *tenant);
/*
 * Counts a process, a worker of a former daemon, like one that was abandoned, until it has ended.
 * Takes @pidfd.
 */
void pool_count_former(struct pool *pool, pid_t pid, int *pidfd, const char *tenant);
/* A restore has that worker after all. Does nothing if no such process is counted. */
void pool_forget_former(struct pool *pool, pid_t pid);
/* Abandoned workers that have not ended; @tenant: NULL: of all. Accepts a pool that is NULL. */
size_t pool_abandoned(const struct pool *pool, const char *tenant);
/* Frees @w without ending the process: the supervisor leaves, and the guest does not notice. */
void worker_leave(struct worker *w);

#endif
