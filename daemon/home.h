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

struct home_hooks {
	/*
	 * A worker says that it serves restore @back->id. True: @w belongs to it from now
	 * on. @listen_fd may be taken.
	 */
	bool (*back)(void *arg, const struct chan_back *back, struct worker *w, int *listen_fd);
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
