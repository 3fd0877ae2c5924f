/*
 * supervisor - creates, finds and keeps the restores, and owns what they share
 *
 * Single-threaded, one event base. Never parses a snapshot, never reads guest data, never opens a
 * path that a tenant named.
 */
#ifndef UFFDD_SUPERVISOR_H
#define UFFDD_SUPERVISOR_H

#include "daemon/capacity.h"
#include "daemon/event_retention.h"
#include "daemon/pace.h"
#include "daemon/retention.h"
#include "daemon/strays.h"
#include "daemon/sweep.h"

struct event_base;

/* So often a second it is looked whether a process of the same user may be a worker of no row. */
#define SUPERVISOR_LOOKS_PER_S 100

/* Told of what happens; both are called from within supervisor functions and the event loop. */
struct observer {
	/* The state or a flag of @restore has changed. @restore is borrowed and never NULL. */
	void (*changed)(void *arg, struct restore *restore);
	/* There are new events in the store. */
	void (*events)(void *arg);
};

struct supervisor {
	struct host host;           /* owned, all but the base */
	int run_fd;                 /* owned; the run directory, locked */
	struct table table;         /* owned, and the restores in it */
	struct retention retention; /* of what has ended */
	struct event_retention events;
	struct event *housekeeping; /* owned */
	struct capacity capacity;
	struct sweep sweep;
	struct strays strays;
	struct pace looks;               /* at strangers, of each user */
	const struct observer *observer; /* borrowed; never NULL */
	void *observer_arg;
};

/*
 * Opens directories and store, and takes up what former runs left (adopt.h). @base is borrowed,
 * @conf is copied. 0, or -1 with the error and nothing is left open.
 */
int supervisor_new(struct event_base *base, const struct conf *conf, struct supervisor **ret,
		   struct err *err);
/* Accepts NULL. Restores go on: their workers wait for the next supervisor. */
void supervisor_free(struct supervisor *sup);
/* One observer at a time, borrowed; NULL: none. */
void supervisor_observe(struct supervisor *sup, const struct observer *observer, void *arg);

/*
 * supervisor_create - begins a restore, or joins one that exists with the same request
 * @spec: parsed and resolved, for a tenant that the caller may act for; taken over and freed in any
 *	case
 * @peer: the caller, as the kernel says
 * @c: owned by the caller, until done was called or supervisor_forget_creator()
 *
 * 0: c->done is called, before or after this returns. -1: it is not, and @err is one of
 * ERR_INVALID, ERR_DENIED, ERR_CONFLICT (the id is taken by a different request), ERR_QUOTA,
 * ERR_UNREADY, or why the worker could not be assigned.
 */
int supervisor_create(struct supervisor *sup, const char *id, struct spec *spec,
		      const struct sock_peer *peer, struct creator *c, struct err *err);
/* c->done is not called any more. Safe to repeat, and after done. */
void supervisor_forget_creator(struct creator *c);

/*
 * Borrowed. NULL: no such restore, or it is still being created. @tenant: NULL: of any tenant; of
 * several restores with one id, the first by tenant.
 */
struct restore *supervisor_find(struct supervisor *sup, const char *id, const char *tenant);
/* The first restore behind (@id, @tenant) in the order of both, or NULL. ("", "") begins. */
struct restore *supervisor_next(struct supervisor *sup, const char *id, const char *tenant);

/* -1 with ERR_UNREADY while nothing new can be created, and why (admission_ready). */
int supervisor_ready(struct supervisor *sup, struct err *err);

#endif
