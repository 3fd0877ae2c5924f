/*
 * home - where workers come back to after their supervisor has died
 *
 * <run_dir>/workers.sock. Anybody may connect; only the process that the store
 * names as a restore's worker (pid and start time, from the kernel) is believed.
 */
#ifndef UFFDD_HOME_H
#define UFFDD_HOME_H

#include "common/err.h"
#include "daemon/pool.h"

#define HOME_VISITORS_MAX 4096

struct home;

enum home_answer {
	HOME_TAKEN,   /* the worker belongs to its restore from now on */
	HOME_LATER,   /* there is no room for it yet: it will try again */
	HOME_STRANGE, /* it is not the worker of that restore */
};

struct home_hooks {
	/* A worker says that it serves restore @back->id. @listen_fd may be taken. */
	enum home_answer (*back)(void *arg, const struct chan_back *back, struct worker *w,
				 int *listen_fd);
	/* Are there descriptors for whoever just comes? A few are let in anyway. */
	bool (*room)(void *arg);
};

int home_open(struct event_base *base, const char *path, struct pool *pool,
	      const struct home_hooks *hooks, void *arg, struct home **ret, struct err *err);
void home_close(struct home *home);

#endif
