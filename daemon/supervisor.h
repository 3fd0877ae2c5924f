/*
 * supervisor - the table of restores and what they share
 *
 * Single-threaded, one event base. Never parses a snapshot, never reads guest
 * data, never opens a path of a tenant.
 */
#ifndef UFFDD_SUPERVISOR_H
#define UFFDD_SUPERVISOR_H

#include "daemon/capacity.h"
#include "daemon/strays.h"
#include "daemon/sweep.h"

struct event_base;

struct observer {
	/* A restore's state or flags changed, or it was forgotten (@live then NULL). */
	void (*changed)(void *arg, struct restore *restore);
	/* There are new events. */
	void (*events)(void *arg);
};

struct supervisor {
	struct host host;            /* all but the base are owned */
	int run_fd;                  /* owned; the run directory, locked */
	struct store *store;         /* owned */
	struct table table;          /* owned, and the restores in it */
	TAILQ_HEAD(, restore) ended; /* oldest first */
	struct event *housekeeping;
	struct capacity capacity;
	struct sweep sweep;
	struct strays strays;
	const struct observer *observer;
	void *observer_arg;
};

/* Opens the store and directories, and takes up what former runs left (recover.h). */
int supervisor_new(struct event_base *base, const struct conf *conf, struct supervisor **ret,
		   struct err *err);
/* Accepts NULL. Restores go on without us: their workers wait for the next one. */
void supervisor_free(struct supervisor *sup);
void supervisor_observe(struct supervisor *sup, const struct observer *observer, void *arg);

/*
 * supervisor_create - a restore, or the one that is there already
 * @spec: parsed, not resolved; taken over in any case
 * @c: its done is called before or after this returns 0; never when it returns -1
 */
int supervisor_create(struct supervisor *sup, const char *id, struct spec *spec,
		      const struct sock_peer *peer, struct creator *c, struct err *err);
/* A creator that does not want to know any more. */
void supervisor_forget_creator(struct creator *c);

/* NULL: none of that id (or still being created). */
struct restore *supervisor_find(struct supervisor *sup, const char *id);
/* The first with an id greater than @after, or NULL; "" begins. */
struct restore *supervisor_next(struct supervisor *sup, const char *after);

/* -1 with ERR_UNREADY while nothing new can be created. */
int supervisor_ready(struct supervisor *sup, struct err *err);

#endif
