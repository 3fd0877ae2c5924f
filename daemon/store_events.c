#include "daemon/store.h"

#include "daemon/statements.h"

static int get_event(struct store *s, sqlite3_stmt *st, struct store_event *ret, struct err *err)
{
	const char **const texts[] = {&ret->type, &ret->tenant, &ret->restore, &ret->data};

	ret->seq = (uint64_t)sqlite3_column_int64(st, 0);
	ret->time_ms = sqlite3_column_int64(st, 1);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		*texts[i] = (const char *)sqlite3_column_text(st, (int)i + 2);
		if (!*texts[i])
			return database_fail(&s->d, SQLITE_NOMEM, "read an event", err);
	}
	return 0;
}

int store_events(struct store *s, const struct store_filter *filter, size_t max,
		 store_visit_event visit, void *arg, struct err *err)
{
	static const struct store_filter all;
	const struct store_filter *f = filter ? filter : &all;
	bool tenant = f->tenant && f->tenant[0];
	bool restore = f->restore && f->restore[0];
	sqlite3_stmt *st = statement_idle(s, EVENTS_ANY + (tenant ? 1u : 0) + (restore ? 2u : 0));
	int r = 0;
	int rc;

	sqlite3_bind_int64(st, 1, (int64_t)min_u64(f->after, INT64_MAX));
	sqlite3_bind_int64(st, 2, (int64_t)min_u64(max, INT64_MAX));
	if (tenant)
		sqlite3_bind_text(st, 3, f->tenant, -1, SQLITE_STATIC);
	if (restore)
		sqlite3_bind_text(st, 4, f->restore, -1, SQLITE_STATIC);
	while (r == 0 && (rc = sqlite3_step(st)) != SQLITE_DONE) {
		struct store_event event;

		if (rc != SQLITE_ROW)
			r = database_fail(&s->d, rc, "read events", err);
		else if (get_event(s, st, &event, err) < 0 || visit(arg, &event, err) < 0)
			r = -1;
	}
	statement_done(st);
	return r;
}

/* ---- what is kept ---- */

static void bind_text(sqlite3_stmt *st, int i, const char *text)
{
	if (text)
		sqlite3_bind_text(st, i, text, -1, SQLITE_STATIC);
}

int store_event_range(struct store *s, const char *tenant, uint64_t *ret_oldest,
		      uint64_t *ret_newest, struct err *err)
{
	sqlite3_stmt *st = statement_idle(s, tenant ? EVENT_RANGE_TENANT : EVENT_RANGE);
	int r = 0;
	int rc;

	bind_text(st, 1, tenant);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		*ret_oldest = (uint64_t)sqlite3_column_int64(st, 0) + 1;
		*ret_newest = (uint64_t)sqlite3_column_int64(st, 1);
	} else {
		r = database_fail(&s->d, rc, "read the range of events", err);
	}
	statement_done(st);
	return r;
}

int store_event_counts(struct store *s, store_visit_count visit, void *arg, struct err *err)
{
	sqlite3_stmt *st = statement_idle(s, EVENT_COUNTS);
	int r = 0;
	int rc;

	while (r == 0 && (rc = sqlite3_step(st)) != SQLITE_DONE) {
		const char *tenant = (const char *)sqlite3_column_text(st, 0);

		if (rc != SQLITE_ROW || !tenant)
			r = database_fail(&s->d, rc == SQLITE_ROW ? SQLITE_NOMEM : rc,
					  "count events", err);
		else
			r = visit(arg, tenant, (uint64_t)sqlite3_column_int64(st, 1), err);
	}
	statement_done(st);
	return r;
}

/* The one number that a statement asks for; @none without a row. Its values are bound. */
static int ask_seq(struct store *s, enum statement id, uint64_t none, uint64_t *ret,
		   struct err *err)
{
	sqlite3_stmt *st = s->stmts[id];
	int rc = sqlite3_step(st);
	int r = 0;

	if (rc == SQLITE_ROW)
		*ret = (uint64_t)sqlite3_column_int64(st, 0);
	else if (rc == SQLITE_DONE)
		*ret = none;
	else
		r = database_fail(&s->d, rc, "read events", err);
	statement_done(st);
	return r;
}

/* Readers must be told: so events go together with the note that they have gone. */
static int drop(struct store *s, const char *tenant, uint64_t last, struct err *err)
{
	enum statement drop_events = tenant ? DROP_EVENTS_TENANT : DROP_EVENTS;

	if (transaction_begin(s, err))
		return -1;
	sqlite3_bind_int64(statement_idle(s, drop_events), 1, (int64_t)last);
	bind_text(s->stmts[drop_events], 2, tenant);
	sqlite3_bind_int64(statement_idle(s, SET_EVENT_FLOOR), 1, (int64_t)last);
	bind_text(s->stmts[SET_EVENT_FLOOR], 2, tenant ? tenant : "*");
	sqlite3_bind_int64(statement_idle(s, DROP_EVENT_FLOORS), 1, tenant ? -1 : (int64_t)last);
	if (statement_run(s, drop_events, "drop events", err) ||
	    statement_run(s, SET_EVENT_FLOOR, "drop events", err) ||
	    statement_run(s, DROP_EVENT_FLOORS, "drop events", err)) {
		statement_done(s->stmts[SET_EVENT_FLOOR]);
		statement_done(s->stmts[DROP_EVENT_FLOORS]);
		return transaction_undo(s);
	}
	return transaction_commit(s, err);
}

/* Only from the oldest on: by time alone, a clock that was set back would leave gaps. */
int store_trim_events(struct store *s, int64_t before_ms, struct err *err)
{
	uint64_t oldest, newest, first = 0;

	if (store_event_range(s, "*", &oldest, &newest, err))
		return -1;
	sqlite3_bind_int64(statement_idle(s, EVENT_SINCE), 1, before_ms);
	if (ask_seq(s, EVENT_SINCE, newest + 1, &first, err))
		return -1;
	return first <= oldest ? 0 : drop(s, NULL, first - 1, err);
}

int store_trim_tenant(struct store *s, const char *tenant, uint64_t keep, struct err *err)
{
	sqlite3_stmt *st = statement_idle(s, EVENT_BEYOND);
	uint64_t last = 0;

	bind_text(st, 1, tenant);
	sqlite3_bind_int64(st, 2, (int64_t)min_u64(keep, INT64_MAX));
	if (ask_seq(s, EVENT_BEYOND, 0, &last, err))
		return -1;
	return last ? drop(s, tenant, last, err) : 0;
}
