/*
 * store - restores, events and tenants in SQLite
 *
 * Only the store's files (store*.c, statements.c, database.c) use <sqlite3.h>. One connection, one thread. STRICT tables, WAL,
 * migrations by user_version. A database of a newer program, or a damaged one, is refused with a
 * clear text and never overwritten.
 *
 * Events are durable and numbered: seq only grows, and no number is used twice.
 */
#ifndef UFFDD_STORE_H
#define UFFDD_STORE_H

#include "daemon/record.h"

struct store;

struct store_event {
	uint64_t seq;        /* set by the store */
	int64_t time_ms;     /* wall clock */
	const char *type;    /* "created", "connected", …: lower case, [a-z-] */
	const char *tenant;  /* "" = of the daemon itself */
	const char *restore; /* id, or "" */
	const char *data;    /* JSON object text; NULL: {} */
};

/*
 * store_open - opens or creates @path and brings its schema up to date
 *
 * Holds "<path>.lock" while open: a second daemon is refused, with the first one's pid in the
 * error. A damaged file, another program's file and a newer schema are refused, too. What is
 * refused is not written to. Returns 0, or -1 with ERR_PATH, ERR_NOSPACE or ERR_SYSTEM.
 */
int store_open(const char *path, struct store **ret, struct err *err);
/* Accepts NULL. Moves the write-ahead log into the database. */
void store_close(struct store *store);

/*
 * store_write - writes a restore's row (insert or replace) and an event, in one transaction
 *
 * The row replaces the one with its key; without rec->spec that one's request stays. Two restores of a tenant never have one id (ERR_INVALID).
 *
 * @rec, @event: either may be NULL; borrowed
 * @ret_seq: the event's seq; may be NULL
 *
 * Returns 0, or -1 and neither is written: ERR_NOSPACE (disk full), ERR_SYSTEM, or ERR_INVALID,
 * where trying again is of no use.
 */
int store_write(struct store *store, const struct restore_record *rec,
		const struct store_event *event, uint64_t *ret_seq, struct err *err);

/*
 * The request in the row of the restore with that key; *ret is owned by the caller. 0, or -1 with
 * ERR_NOTFOUND or ERR_SYSTEM.
 */
int store_request(struct store *store, const char *key, char **ret, struct err *err);
/* Removes the row of the restore with that key; 0, too, if there is none. */
int store_forget(struct store *store, const char *key, struct err *err);

/*
 * Visits every row, in order of id and tenant. @rec is borrowed; the visitor may take rec->spec by setting it
 * to NULL. A visitor that returns -1 stops the visits, and store_restores() returns -1 with its
 * error.
 */
typedef int (*store_visit_restore)(void *arg, struct restore_record *rec, struct err *err);
int store_restores(struct store *store, store_visit_restore visit, void *arg, struct err *err);

/* Which events. */
struct store_filter {
	const char *tenant, *restore; /* NULL or "": any */
	uint64_t after;               /* seq is greater than this */
};
typedef int (*store_visit_event)(void *arg, const struct store_event *event, struct err *err);
/*
 * Visits at most @max events in the order of seq. @event is borrowed. A visitor that returns -1
 * stops the visits, as above. @filter may be NULL: all events.
 */
int store_events(struct store *store, const struct store_filter *filter, size_t max,
		 store_visit_event visit, void *arg, struct err *err);
/*
 * store_event_range - which events a reader can have had, and which it can still have
 * @tenant: whose events are read; NULL: all of them
 * @ret_oldest: from this seq on no event was removed
 * @ret_newest: of the newest event ever, whose it is does not matter; 0: there was never one
 */
int store_event_range(struct store *store, const char *tenant, uint64_t *ret_oldest,
		      uint64_t *ret_newest, struct err *err);
/*
 * Removes events older than @before_ms (wall clock). Only from the oldest on: the events that are
 * kept have no gaps, even where the clock was set back.
 */
int store_trim_events(struct store *store, int64_t before_ms, struct err *err);
/* Removes all but the newest @keep events of @tenant ("": of the daemon itself). */
int store_trim_tenant(struct store *store, const char *tenant, uint64_t keep, struct err *err);
/* Visits every tenant that has events, in order of name. O(events). */
typedef int (*store_visit_count)(void *arg, const char *tenant, uint64_t events, struct err *err);
int store_event_counts(struct store *store, store_visit_count visit, void *arg, struct err *err);

/* Writes a tenant's row (insert or replace). @definition: JSON text. Errors: as store_write(). */
int store_put_tenant(struct store *store, const char *name, const char *definition,
		     struct err *err);
/* Removes it; 0, too, if there is none. */
int store_drop_tenant(struct store *store, const char *name, struct err *err);
/* Visits every tenant, in order of name. Texts are borrowed. A visitor stops it as above. */
typedef int (*store_visit_tenant)(void *arg, const char *name, const char *definition,
				  struct err *err);
int store_tenants(struct store *store, store_visit_tenant visit, void *arg, struct err *err);

/* SQLite's version; a static string. */
const char *store_engine(void);

#endif
