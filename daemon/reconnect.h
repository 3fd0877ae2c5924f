/*
 * reconnect - the socket to which workers come back after their supervisor has died
 *
 * <run_dir>/workers.sock. Any process may connect. But only two kinds are let in, before anything
 * is read: the process that the store names as a restore's worker (pid and start time, from the
 * kernel); and a process that has a page map of ours open, which may be the worker of a restore
 * that the store does not know. A worker begins with REATTACH, and the latter then proves what it
 * was (orphan.h).
 */
#ifndef UFFDD_RECONNECT_H
#define UFFDD_RECONNECT_H

#include "common/err.h"
#include "common/sock.h"
#include "daemon/pool.h"

#define RECONNECT_VISITORS_MAX 4096

struct reconnect;

enum reconnect_answer {
	RECONNECT_TAKEN,   /* the worker belongs to its restore from now on */
	RECONNECT_LATER,   /* no descriptors yet: the worker will try again */
	RECONNECT_STRANGE, /* not the worker of that restore */
};

/* A worker that came back, for the hook. All but the worker is borrowed until the hook returns. */
struct reconnect_guest {
	const struct chan_reattach *reattach;
	const struct chan_proof *proof; /* NULL: none */
	const struct sock_peer *who;    /* from the kernel */
	struct worker *worker;          /* without an owner yet */
	int *listen_fd, *fds; /* from REATTACH (or -1), and CHAN_FDS_MAX from PROOF; may be taken */
};

struct reconnect_hooks {
	/* May process @who be a worker? Otherwise nothing is read from it. */
	bool (*expects)(void *arg, const struct sock_peer *who);
	/* Does the table have the restore with @key? Then no proof is waited for. */
	bool (*knows)(void *arg, const char *key);
	/*
	 * The worker says that it serves the restore with guest->reattach->key. TAKEN: the hook has called
	 * worker_own(). Otherwise the channel is closed. STRANGE: @err says why.
	 */
	enum reconnect_answer (*back)(void *arg, const struct reconnect_guest *guest,
				      struct err *err);
	/* Are descriptors left for a connection accepted now? A few are accepted without. */
	bool (*room)(void *arg);
};

/* All borrowed, and there until reconnect_close(). */
struct reconnect_parts {
	struct event_base *base;
	struct pool *pool; /* adopts each worker that comes back */
	const struct reconnect_hooks *hooks;
	void *arg; /* the hooks' */
};

/* Listens at @path. @parts: copied. 0, or -1 with ERR_PATH or ERR_SYSTEM. */
int reconnect_open(const char *path, const struct reconnect_parts *parts, struct reconnect **ret,
		   struct err *err);
/*
 * Accepts all who have connected by now, and reads what each sent first. After a worker's death
 * nothing more of it can be expected. Calls the hooks.
 */
void reconnect_receive_all(struct reconnect *reconnect);
/* Accepts NULL. Unlinks the socket, and hangs up on those who are not yet taken. */
void reconnect_close(struct reconnect *reconnect);

#endif
