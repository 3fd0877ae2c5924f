/*
 * journal - every change goes to the store, in order; while the disk refuses,
 * it waits in memory
 *
 * Guests are served without a disk, so a full one must not fail their restores.
 * Only what has not begun yet (a create) is refused then. The wait is bounded:
 * beyond it the oldest events are dropped, and so is what the store can never take, which
 * must not keep the others waiting. An event says how many.
 */
#ifndef UFFDD_JOURNAL_H
#define UFFDD_JOURNAL_H

#include <json-c/json.h>

#include "daemon/store.h"

#define JOURNAL_WAITING_MAX 4096

struct event_base;
struct journal;

struct journal_hooks {
	/* The record of a restore as it is now, or NULL if it is forgotten. */
	const struct restore_record *(*record)(void *arg, const char *id);
	/* There are new events in the store. */
	void (*written)(void *arg);
};

/* @store is borrowed. */
struct journal *journal_new(struct event_base *base, struct store *store,
			    const struct journal_hooks *hooks, void *arg);
/* Tries once more to write what waits. Accepts NULL. */
void journal_free(struct journal *j);

/*
 * journal_add - a change happened
 * @rec: the restore it happened to, or NULL
 * @data: taken over; NULL for {}
 */
void journal_add(struct journal *j, const struct restore_record *rec, const char *type,
		 struct json_object *data);
/* The same for what must not begin unless it is written: 0, or -1 and nothing happened. */
int journal_add_now(struct journal *j, const struct restore_record *rec, const char *type,
		    struct json_object *data, struct err *err);

/* -1 with the reason while changes wait. */
int journal_check(const struct journal *j, struct err *err);

#endif
