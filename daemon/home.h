/*
 * home - where workers come back to after their supervisor has died
 *
 * <run_dir>/workers.sock. Anybody may connect; only the process that the store
 * names as a restore's worker (pid and start time, from the kernel) is believed, and
 * where the store knows no such restore, one that proves that it was its worker.
 */
#ifndef UFFDD_HOME_H
#define UFFDD_HOME_H

#include "common/err.h"
#include "common/sock.h"
#include "daemon/pool.h"

#define HOME_VISITORS_MAX 4096

struct home;

enum home_answer {
	HOME_TAKEN,   /* the worker belongs to its restore from now on */
	HOME_LATER,   /* there is no room for it yet: it will try again */
	HOME_STRANGE, /* it is not the worker of that restore */
};

struct home_guest {
	const struct chan_back *back;
	const struct chan_proof *proof; /* NULL: none */
	const struct sock_peer *who;    /* as the kernel says */
	struct worker *worker;
	int *listen_fd, *fds; /* those of BACK, and of PROOF; may be taken */
};

struct home_hooks {
	/* Is there such a restore? Then no proof is waited for. */
	bool (*knows)(void *arg, const char *id);
	/* A worker says that it serves restore back->id. HOME_STRANGE: @err says why not. */
	enum home_answer (*back)(void *arg, const struct home_guest *guest, struct err *err);
	/* Are there descriptors for whoever just comes? A few are let in anyway. */
	bool (*room)(void *arg);
};

int home_open(struct event_base *base, const char *path, struct pool *pool,
	      const struct home_hooks *hooks, void *arg, struct home **ret, struct err *err);
/*
 * Everybody who has come by now is let in, and what each said first is heard: after a
 * worker's death there is nothing more of it to wait for.
 */
void home_hear_all(struct home *home);
void home_close(struct home *home);

#endif
