/*
 * supervisor - the table of restores and what they share
 *
 * Single-threaded, one event base. Never parses a snapshot, never reads guest
 * data, never opens a path of a tenant.
 */
#ifndef UFFDD_SUPERVISOR_H
#define UFFDD_SUPERVISOR_H

#include "daemon/conf.h"
#include "daemon/journal.h"
#include "daemon/live.h"

struct event_base;

struct observer {
	/* A restore's state or flags changed, or it was forgotten (@live then NULL). */
	void (*changed)(void *arg, struct live *live);
	/* There are new events. */
	void (*events)(void *arg);
};

struct supervisor {
	struct event_base *base;   /* borrowed */
	struct conf conf;
	struct store *store;       /* owned */
	struct journal *journal;   /* owned */
	struct pool *pool;         /* owned */
	struct live **table;       /* owned, sorted by id */
	size_t n, cap;
	TAILQ_HEAD(, live) ended;  /* oldest first */
	struct event *housekeeping;
	const struct observer *observer;
	void *observer_arg;
	char boot_id[37];
};

/* Opens the store and directories, closes the rows of former runs. */
int supervisor_new(struct event_base *base, const struct conf *conf, struct supervisor **ret,
		   struct err *err);
/* Accepts NULL. Waiting restores end; guests that are being served go on without us. */
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
struct live *supervisor_find(struct supervisor *sup, const char *id);
/* The first with an id greater than @after, or NULL; "" begins. */
struct live *supervisor_next(struct supervisor *sup, const char *after);

/* -1 with ERR_UNREADY while nothing new can be created. */
int supervisor_ready(struct supervisor *sup, struct err *err);

/* For live.c: a change of @live, to be written, published and waited for. */
void supervisor_changed(struct live *live, const char *type, struct json_object *data);
/* The restore has ended: keep its record for the retention time. */
void supervisor_ended(struct live *live);
/* It could not be created: remove it. */
void supervisor_remove(struct live *live);

/* <run>/<what>/<id>; @ret has room for CONF_PATH_MAX + 1. */
void supervisor_path(const struct supervisor *sup, const char *what, const char *id, char *ret);

#endif
