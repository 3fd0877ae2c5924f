/*
 * store - restores and events in SQLite
 *
 * With database.c the only user of <sqlite3.h>. One connection, one thread. STRICT
 * tables, WAL, migrations by user_version; a database from a newer program, or a
 * damaged one, is refused with a clear text and never overwritten.
 *
 * Events are durable and numbered without gaps being reused: seq only grows.
 */
#ifndef UFFDD_STORE_H
#define UFFDD_STORE_H

#include "daemon/record.h"

struct store;

struct store_event {
	uint64_t seq; /* set by the store */
	int64_t time_ms;
	const char *type;    /* "created", "connected", … lower case, [a-z-] */
	const char *tenant;  /* "" = of the daemon itself */
	const char *restore; /* id, or "" */
	const char *data;    /* JSON object text, or NULL for {} */
};

/*
 * store_open - open or create @path and bring its schema up to date
 *
 * Holds "<path>.lock" while open: a second daemon is refused, with the first one's
 * pid. So are a damaged file, another program's, and a newer schema; none of them
 * is written to. Returns 0, or -1 with ERR_PATH, ERR_NOSPACE or ERR_SYSTEM.
 */
int store_open(const char *path, struct store **ret, struct err *err);
/* Checkpoints. Accepts NULL. */
void store_close(struct store *store);

/*
 * store_write - a restore's row (insert or replace) and an event, in one transaction
 * @rec, @event: either may be NULL; the event's seq is returned in *ret_seq
 *
 * Returns 0, or -1 with ERR_NOSPACE (disk full), ERR_SYSTEM, or ERR_INVALID where trying
 * again is of no use; then neither is written.
 */
int store_write(struct store *store, const struct restore_record *rec,
		const struct store_event *event, uint64_t *ret_seq, struct err *err);

/* Remove the rows of restores that ended before @before_ms. */
int store_forget(struct store *store, int64_t before_ms, struct err *err);

/* Every row, in order of id. @rec is lent; the visitor may take rec->spec (set it NULL). */
typedef int (*store_visit_restore)(void *arg, struct restore_record *rec, struct err *err);
int store_restores(struct store *store, store_visit_restore visit, void *arg, struct err *err);

/* Which events; NULL or "" for any. */
struct store_filter {
	const char *tenant, *restore;
};
typedef int (*store_visit_event)(void *arg, const struct store_event *event, struct err *err);
/* Events with seq > @after in order, at most @max. */
int store_events(struct store *store, uint64_t after, const struct store_filter *filter, size_t max,
		 store_visit_event visit, void *arg, struct err *err);
/*
 * Of all events ever: 0, 0 when there was none. *ret_oldest is of those still kept,
 * and one more than *ret_newest when all are gone.
 */
int store_event_range(struct store *store, uint64_t *ret_oldest, uint64_t *ret_newest,
		      struct err *err);
/*
 * Drop events older than @before_ms, and all but the newest @keep. Only from the
 * oldest on: what is kept has no holes, even where the clock was set back.
 */
int store_trim_events(struct store *store, int64_t before_ms, uint64_t keep, struct err *err);

/* SQLite's version. */
const char *store_engine(void);

#endif
