/*
 * reconnect - where workers come back to after their supervisor has died
 *
 * <run_dir>/workers.sock. Anybody may connect; only the process that the store
 * names as a restore's worker (pid and start time, from the kernel) is believed, and
 * where the store knows no such restore, one that proves that it was its worker.
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
	RECONNECT_LATER,   /* there is no room for it yet: it will try again */
	RECONNECT_STRANGE, /* it is not the worker of that restore */
};

struct reconnect_guest {
	const struct chan_reattach *reattach;
	const struct chan_proof *proof; /* NULL: none */
	const struct sock_peer *who;    /* as the kernel says */
	struct worker *worker;
	int *listen_fd, *fds; /* those of REATTACH, and of PROOF; may be taken */
};

struct reconnect_hooks {
	/* Is there such a restore? Then no proof is waited for. */
	bool (*knows)(void *arg, const char *id);
	/* A worker says that it serves restore back->id. RECONNECT_STRANGE: @err says why not. */
	enum reconnect_answer (*back)(void *arg, const struct reconnect_guest *guest,
				      struct err *err);
	/* Are there descriptors for whoever just comes? A few are let in anyway. */
	bool (*room)(void *arg);
};

int reconnect_open(struct event_base *base, const char *path, struct pool *pool,
		   const struct reconnect_hooks *hooks, void *arg, struct reconnect **ret,
		   struct err *err);
/*
 * Everybody who has come by now is let in, and what each said first is heard: after a
 * worker's death there is nothing more of it to wait for.
 */
void reconnect_receive_all(struct reconnect *reconnect);
void reconnect_close(struct reconnect *reconnect);

#endif
