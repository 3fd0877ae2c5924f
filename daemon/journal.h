/*
 * journal - writes every change to the store, in order; while the disk refuses, changes wait
 *
 * Guests are served without a disk, so a full disk must not fail their restores. Only a create is
 * refused then, since nothing of it has begun. Changes wait in memory: at most JOURNAL_WAITING_MAX
 * events, and the rows of the restores that have changed. Beyond that the oldest events are lost,
 * and so is an event that the store can never take, since it would keep the others waiting. No row
 * is lost: it is written as it is then. An event ("events-lost") tells how many were.
 */
#ifndef UFFDD_JOURNAL_H
#define UFFDD_JOURNAL_H

#include <json-c/json.h>

#include "daemon/store.h"

#define JOURNAL_WAITING_MAX 4096

struct event_base;
struct journal;

struct journal_hooks {
	/* The record with that key as it is now, borrowed; NULL: forgotten. */
	const struct restore_record *(*record)(void *arg, const char *key);
	/* The store has new events. */
	void (*written)(void *arg);
};

/* All arguments are borrowed. Never fails. */
struct journal *journal_new(struct event_base *base, struct store *store,
			    const struct journal_hooks *hooks, void *arg);
/* Accepts NULL. Tries once more to write the changes that wait. */
void journal_free(struct journal *j);

/*
 * journal_add - stores a change, now or as soon as the store takes it
 * @rec: the restore that has changed, or NULL; borrowed. A change that waits is written with the
 * record as it is then
 * @type: of the event; copied. NULL: the row alone, without an event
 * @data: of the event, taken over; NULL for {}
 */
void journal_add(struct journal *j, const struct restore_record *rec, const char *type,
		 struct json_object *data);
/*
 * The same for a create, which must not begin unless it is stored: 0, or -1 with the store's error
 * (store_write) and nothing is stored. @data is taken over in any case.
 */
int journal_add_now(struct journal *j, const struct restore_record *rec, const char *type,
		    struct json_object *data, struct err *err);

/* -1 with ERR_UNREADY and the store's reason while changes wait. */
int journal_check(const struct journal *j, struct err *err);

#endif
