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

int store_event_range(struct store *s, uint64_t *ret_oldest, uint64_t *ret_newest, struct err *err)
{
	sqlite3_stmt *st = statement_idle(s, EVENT_RANGE);
	int rc = sqlite3_step(st);
	int r = 0;

	if (rc == SQLITE_ROW) {
		*ret_oldest = (uint64_t)sqlite3_column_int64(st, 0);
		*ret_newest = (uint64_t)sqlite3_column_int64(st, 1);
	} else {
		r = database_fail(&s->d, rc, "read the range of events", err);
	}
	statement_done(st);
	return r;
}

/* The seq of the first event that is not older than @before_ms; @none if all are older. */
static int event_since(struct store *s, int64_t before_ms, uint64_t none, uint64_t *ret,
		       struct err *err)
{
	sqlite3_stmt *st = statement_idle(s, EVENT_SINCE);
	int r = 0;
	int rc;

	sqlite3_bind_int64(st, 1, before_ms);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*ret = (uint64_t)sqlite3_column_int64(st, 0);
	else if (rc == SQLITE_DONE)
		*ret = none;
	else
		r = database_fail(&s->d, rc, "read events", err);
	statement_done(st);
	return r;
}

/* Only from the oldest on: by time alone, a clock that was set back would leave gaps. */
int store_trim_events(struct store *s, int64_t before_ms, uint64_t keep, struct err *err)
{
	uint64_t oldest, newest, first = 0;

	if (store_event_range(s, &oldest, &newest, err) < 0 ||
	    event_since(s, before_ms, newest + 1, &first, err) < 0)
		return -1;
	if (newest >= keep)
		first = max_u64(first, newest - keep + 1);
	if (first <= oldest)
		return 0;
	sqlite3_bind_int64(statement_idle(s, DROP_EVENTS), 1, (int64_t)first);
	return statement_run_alone(s, DROP_EVENTS, "drop events", err);
}
