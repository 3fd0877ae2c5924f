/*
 * pool - worker processes: a few idle ones stand ready, so that a restore never
 * waits for exec
 *
 * A worker handed out belongs to its restore until it has exited. Both its
 * channel and its end are reported through the hooks of its owner.
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

struct worker_hooks {
	/* @fds: CHAN_FDS_MAX; take what is wanted and set it to -1, the rest is closed. */
	void (*message)(void *arg, const struct chan_msg *msg, int *fds);
	/* It does not keep to the protocol. */
	void (*lied)(void *arg, const char *how);
	/* It has ended (reaped); the worker is freed when this returns. */
	void (*exited)(void *arg, const char *how);
	/*
	 * Something that it said is lost, for want of descriptors. True: @pidfd is taken, and the
	 * worker freed; without its channel it comes back and says all of it again.
	 */
	bool (*cut)(void *arg, int *pidfd);
};

struct worker {
	pid_t pid;
	uint64_t start;   /* start time, with the pid its identity */
	int pidfd, chan;  /* owned */
	bool closed;      /* it has closed the channel, and mostly ends */
	char release[32]; /* what it says that it is */
	struct pool *pool;
	struct event *on_exit, *on_chan;
	struct event *deadline;     /* NULL, or: it is killed when this fires */
	struct allowance allowance; /* how much it may say */
	bool greeted;               /* it has said HELLO, or REATTACH */
	bool replays;               /* it has said REATTACH, and CONNECTED may follow once more */
	bool silenced;              /* see worker_silence() */
	const struct worker_hooks *hooks; /* NULL while idle */
	void *arg;
	TAILQ_ENTRY(worker) link; /* in the pool's idle list */
};

/* @path: the worker program. @size: idle workers to keep. */
int pool_new(struct event_base *base, const char *path, size_t size, struct pool **ret,
	     struct err *err);
/* Idle workers leave, since their channel closes. Those handed out go on. */
void pool_free(struct pool *pool);

/* Now and then: children that nobody knows, see spawn_reap_unknown(). */
void pool_tidy(struct pool *pool);
/* Descriptors that it may still take to be full. */
size_t pool_wanting(const struct pool *pool);

/* An idle worker, or a new one; the pool fills up again a little later. */
int pool_take(struct pool *pool, const struct worker_hooks *hooks, void *arg, struct worker **ret,
	      struct err *err);

/*
 * A worker of a former supervisor, which came back: pidfd and channel are taken
 * over. It is not our child; how it ended cannot be told.
 */
struct worker *pool_adopt(struct pool *pool, pid_t pid, int pidfd, int chan, const char *release);
/* Its owner, for one that was adopted. */
void worker_own(struct worker *w, const struct worker_hooks *hooks, void *arg);

int worker_send(struct worker *w, enum chan_type type, struct chan_msg *msg, const int *fds,
		size_t nfds, struct err *err);
/* It should end by itself now; it is killed if it has not within @ms. */
void worker_expect_exit(struct worker *w, unsigned ms);
/* Kill it; of all that it has said or will say only its end is heard. */
void worker_silence(struct worker *w);
/* Kill it; its owner hears no more of it. (A worker may hang in the kernel for long.) */
void worker_abandon(struct worker *w);
/* Forget it without ending it: the supervisor leaves, the guest does not notice. */
void worker_leave(struct worker *w);

#endif
