#include "daemon/statements.h"

#include <assert.h>
#include <stddef.h>

#define COMMA_NAME(field, kind) ", " #field
#define COMMA_MARK(field, kind) ", ?"
#define COMMA_NEW(field, kind) ", " #field " = excluded." #field
#define EVENTS "SELECT seq, time_ms, type, tenant, restore, data FROM events WHERE seq > ?1 AND "
#define IN_ORDER " ORDER BY seq LIMIT ?2"
#define NEWEST "(SELECT seq FROM sqlite_sequence WHERE name = 'events')"

/* clang-format off */
static const char *const sql[STATEMENT_COUNT] = {
	/* Takes the lock at once: failing later could leave half of a transaction to undo. */
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[PUT_RESTORE] = "INSERT INTO restores (key" COLUMNS_BUT_KEY(COMMA_NAME)
			") VALUES (?" COLUMNS_BUT_KEY(COMMA_MARK) ")"
			" ON CONFLICT (key) DO UPDATE SET key = key" COLUMNS_BUT_REQUEST(COMMA_NEW)
			/* A record without its request: the row keeps what it has. */
			", spec = CASE excluded.spec WHEN '' THEN spec ELSE excluded.spec END",
	[PUT_EVENT] = "INSERT INTO events (time_ms, type, tenant, restore, data)"
		      " VALUES (?, ?, ?, ?, ?)",
	[ALL_RESTORES] = "SELECT key" COLUMNS_BUT_KEY(COMMA_NAME) " FROM restores ORDER BY id, tenant",
	[ONE_REQUEST] = "SELECT spec FROM restores WHERE key = ?",
	[FORGET_RESTORE] = "DELETE FROM restores WHERE key = ?",
	[EVENTS_ANY] = EVENTS "1" IN_ORDER,
	[EVENTS_TENANT] = EVENTS "tenant = ?3" IN_ORDER,
	[EVENTS_RESTORE] = EVENTS "restore = ?4" IN_ORDER,
	/* The plus keeps the planner on the restore's index: fewer rows than a tenant's. */
	[EVENTS_BOTH] = EVENTS "restore = ?4 AND +tenant = ?3" IN_ORDER,
	[EVENT_RANGE] = "SELECT max(seq), coalesce(" NEWEST ", 0) FROM event_floors",
	[EVENT_RANGE_TENANT] = "SELECT max(seq), coalesce(" NEWEST ", 0) FROM event_floors"
			       " WHERE tenant IN ('*', ?)",
	[EVENT_SINCE] = "SELECT seq FROM events WHERE time_ms >= ? ORDER BY seq LIMIT 1",
	[EVENT_BEYOND] = "SELECT seq FROM events WHERE tenant = ? ORDER BY seq DESC LIMIT 1 OFFSET ?",
	[EVENT_COUNTS] = "SELECT tenant, count(*) FROM events GROUP BY tenant ORDER BY tenant",
	[DROP_EVENTS] = "DELETE FROM events WHERE seq <= ?",
	[DROP_EVENTS_TENANT] = "DELETE FROM events WHERE seq <= ? AND tenant = ?",
	[SET_EVENT_FLOOR] = "INSERT OR REPLACE INTO event_floors (seq, tenant) VALUES (?, ?)",
	/* Those below the floor of all say nothing any more. */
	[DROP_EVENT_FLOORS] = "DELETE FROM event_floors WHERE tenant <> '*' AND seq <= ?",
	[PUT_TENANT] = "INSERT OR REPLACE INTO tenants (name, definition) VALUES (?, ?)",
	[DROP_TENANT] = "DELETE FROM tenants WHERE name = ?",
	[ALL_TENANTS] = "SELECT name, definition FROM tenants ORDER BY name",
};
/* clang-format on */

/* Bound values must last until statement_done(): so no statement may be in use twice. */
sqlite3_stmt *statement_idle(struct store *s, enum statement id)
{
	assert(!sqlite3_stmt_busy(s->stmts[id]));
	return s->stmts[id];
}

void statement_done(sqlite3_stmt *st)
{
	sqlite3_reset(st); /* repeats the error of the step */
	sqlite3_clear_bindings(st);
}

/* Runs a statement that returns no rows. */
int statement_run(struct store *s, enum statement id, const char *what, struct err *err)
{
	sqlite3_stmt *st = s->stmts[id];
	int rc = sqlite3_step(st);
	int r = rc == SQLITE_DONE ? 0 : database_fail(&s->d, rc, what, err);

	statement_done(st);
	return r;
}

int transaction_begin(struct store *s, struct err *err)
{
	return statement_run(s, BEGIN, "begin a transaction", err);
}

/* Rolls back and returns -1; the caller's @err stays. */
int transaction_undo(struct store *s)
{
	struct err ignored;

	/* Some failures have rolled back by themselves. */
	if (!sqlite3_get_autocommit(s->d.db))
		statement_run(s, ROLLBACK, "roll back", &ignored);
	return -1;
}

int transaction_commit(struct store *s, struct err *err)
{
	return statement_run(s, COMMIT, "commit", err) < 0 ? transaction_undo(s) : 0;
}

/* Runs one writing statement in a transaction of its own. */
int statement_run_alone(struct store *s, enum statement id, const char *what, struct err *err)
{
	if (transaction_begin(s, err) < 0) {
		statement_done(s->stmts[id]);
		return -1;
	}
	if (statement_run(s, id, what, err) < 0)
		return transaction_undo(s);
	return transaction_commit(s, err);
}

int statement_prepare_all(struct store *s, struct err *err)
{
	for (int i = 0; i < STATEMENT_COUNT; i++) {
		int rc = sqlite3_prepare_v3(s->d.db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
					    &s->stmts[i], NULL);

		if (rc != SQLITE_OK)
			return database_fail(&s->d, rc, "use its tables", err);
	}
	return 0;
}
