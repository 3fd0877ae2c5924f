#include "daemon/store.h"

#include <assert.h>
#include <string.h>

#include "daemon/database.h"

/* ID: a TEXT that is part of paths: proto_id_valid(). */
enum kind { ID, TEXT, OWNED_TEXT, STATE, PREFETCH, BOOL, U32, U64, I64 };

/* The spec is last: it may fill many pages, which reading other columns must not visit. */
/* clang-format off */
#define COLUMNS_BUT_ID(X)                                                                     \
	X(tenant, ID) X(state, STATE) X(reason, TEXT) X(revision, U64) X(boot_id, TEXT)     \
	X(socket_path, TEXT) X(caller_uid, U32) X(caller_gid, U32) X(caller_groups, TEXT)     \
	X(vmm_pid, U32)                                                                       \
	X(vmm_uid, U32) X(vmm_start, U64) X(worker_pid, U32) X(worker_restarts, U32)          \
	X(worker_start, U64) X(size_bytes, U64) X(page_bytes, U64) X(memory_bytes, U64)       \
	X(complete, BOOL) X(paused, BOOL) X(released, BOOL)                                   \
	X(prefetch, PREFETCH) X(prefetch_held, BOOL) X(rate_bytes_per_s, U64)                 \
	X(max_resident_bytes, U64)                                                            \
	X(wset_key, TEXT) X(recording, BOOL) X(wset_pages, U64)                               \
	X(stop_reason, TEXT) X(stop_by_us, U64)                                               \
	X(created_ms, I64) X(connected_ms, I64) X(ended_ms, I64)                              \
	X(spec, OWNED_TEXT)
/* clang-format on */

/* clang-format off */
static const struct column {
	const char *name;
	enum kind kind;
	size_t at, size; /* in struct restore_record */
} columns[] = {
#define X(field, kind)                                              \
	{#field, kind, offsetof(struct restore_record, field),      \
	 sizeof(((struct restore_record *)NULL)->field)},
	X(id, ID) COLUMNS_BUT_ID(X)
#undef X
};
/* clang-format on */

#define COMMA_NAME(field, kind) ", " #field
#define COMMA_MARK(field, kind) ", ?"
#define EVENTS "SELECT seq, time_ms, type, tenant, restore, data FROM events WHERE seq > ?1 AND "
#define IN_ORDER " ORDER BY seq LIMIT ?2"
#define NEWEST "(SELECT seq FROM sqlite_sequence WHERE name = 'events')"

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	PUT_RESTORE,
	PUT_EVENT,
	ALL_RESTORES,
	FORGET_RESTORES,
	EVENTS_ANY, /* of these four: + 1 with a tenant, + 2 with a restore */
	EVENTS_TENANT,
	EVENTS_RESTORE,
	EVENTS_BOTH,
	EVENT_RANGE,
	EVENT_SINCE,
	DROP_EVENTS,
	STATEMENT_COUNT
};

/* clang-format off */
static const char *const sql[STATEMENT_COUNT] = {
	/* Takes the lock at once: failing later could leave half of a transaction to undo. */
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[PUT_RESTORE] = "INSERT OR REPLACE INTO restores (id" COLUMNS_BUT_ID(COMMA_NAME)
			") VALUES (?" COLUMNS_BUT_ID(COMMA_MARK) ")",
	[PUT_EVENT] = "INSERT INTO events (time_ms, type, tenant, restore, data)"
		      " VALUES (?, ?, ?, ?, ?)",
	[ALL_RESTORES] = "SELECT id" COLUMNS_BUT_ID(COMMA_NAME) " FROM restores ORDER BY id",
	[FORGET_RESTORES] = "DELETE FROM restores WHERE released AND ended_ms < ?",
	[EVENTS_ANY] = EVENTS "1" IN_ORDER,
	[EVENTS_TENANT] = EVENTS "tenant = ?3" IN_ORDER,
	[EVENTS_RESTORE] = EVENTS "restore = ?4" IN_ORDER,
	/* The plus keeps the planner on the restore's index: fewer rows than a tenant's. */
	[EVENTS_BOTH] = EVENTS "restore = ?4 AND +tenant = ?3" IN_ORDER,
	[EVENT_RANGE] = "SELECT coalesce((SELECT min(seq) FROM events), " NEWEST " + 1, 0),"
			" coalesce(" NEWEST ", 0)",
	[EVENT_SINCE] = "SELECT seq FROM events WHERE time_ms >= ? ORDER BY seq LIMIT 1",
	[DROP_EVENTS] = "DELETE FROM events WHERE seq < ?",
};
/* clang-format on */

struct store {
	struct database d;
	sqlite3_stmt *stmts[STATEMENT_COUNT];
};

/* Bound values must last until done(): so no statement may be in use twice. */
static sqlite3_stmt *idle(struct store *s, enum statement id)
{
	assert(!sqlite3_stmt_busy(s->stmts[id]));
	return s->stmts[id];
}

static void done(sqlite3_stmt *st)
{
	sqlite3_reset(st); /* repeats the error of the step */
	sqlite3_clear_bindings(st);
}

/* Runs a statement that returns no rows. */
static int run(struct store *s, enum statement id, const char *what, struct err *err)
{
	sqlite3_stmt *st = s->stmts[id];
	int rc = sqlite3_step(st);
	int r = rc == SQLITE_DONE ? 0 : database_fail(&s->d, rc, what, err);

	done(st);
	return r;
}

static int begin(struct store *s, struct err *err)
{
	return run(s, BEGIN, "begin a transaction", err);
}

/* Rolls back and returns -1; the caller's @err stays. */
static int undo(struct store *s)
{
	struct err ignored;

	/* Some failures have rolled back by themselves. */
	if (!sqlite3_get_autocommit(s->d.db))
		run(s, ROLLBACK, "roll back", &ignored);
	return -1;
}

static int commit(struct store *s, struct err *err)
{
	return run(s, COMMIT, "commit", err) < 0 ? undo(s) : 0;
}

/* Runs one writing statement in a transaction of its own. */
static int run_alone(struct store *s, enum statement id, const char *what, struct err *err)
{
	if (begin(s, err) < 0) {
		done(s->stmts[id]);
		return -1;
	}
	if (run(s, id, what, err) < 0)
		return undo(s);
	return commit(s, err);
}

static int prepare(struct store *s, struct err *err)
{
	for (int i = 0; i < STATEMENT_COUNT; i++) {
		int rc = sqlite3_prepare_v3(s->d.db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
					    &s->stmts[i], NULL);

		if (rc != SQLITE_OK)
			return database_fail(&s->d, rc, "use its tables", err);
	}
	return 0;
}

int store_open(const char *path, struct store **ret, struct err *err)
{
	struct store *s = xcalloc(1, sizeof(*s));

	s->d.lock_fd = -1;
	if (database_open(path, &s->d, err) < 0 || prepare(s, err) < 0) {
		store_close(s);
		return -1;
	}
	*ret = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	for (int i = 0; i < STATEMENT_COUNT; i++)
		sqlite3_finalize(s->stmts[i]);
	database_close(&s->d);
	free(s);
}

/* ---- restores ---- */

static int bind(sqlite3_stmt *st, int i, const struct column *c, const struct restore_record *rec)
{
	const void *at = (const char *)rec + c->at;

	switch (c->kind) {
	case ID:
	case TEXT:
		return sqlite3_bind_text(st, i, at, -1, SQLITE_STATIC);
	case OWNED_TEXT:
		return sqlite3_bind_text(st, i, *(char *const *)at, -1, SQLITE_STATIC);
	case STATE:
		return sqlite3_bind_text(st, i, proto_state_name(*(const enum restore_state *)at),
					 -1, SQLITE_STATIC);
	case PREFETCH:
		return sqlite3_bind_text(st, i,
					 spec_prefetch_names[*(const enum spec_prefetch *)at], -1,
					 SQLITE_STATIC);
	case BOOL:
		return sqlite3_bind_int(st, i, *(const bool *)at);
	case U32:
		return sqlite3_bind_int64(st, i, *(const uint32_t *)at);
	case U64: /* values above INT64_MAX become negative, and come back as they were */
		return sqlite3_bind_int64(st, i, (int64_t)(*(const uint64_t *)at));
	case I64:
		return sqlite3_bind_int64(st, i, *(const int64_t *)at);
	}
	return SQLITE_MISUSE;
}

/* False: the column holds what the field cannot. */
static bool fetch_text(sqlite3_stmt *st, int i, const struct column *c, void *at)
{
	const char *text = (const char *)sqlite3_column_text(st, i);
	enum restore_state state;

	if (!text || strlen(text) != (size_t)sqlite3_column_bytes(st, i))
		return false;
	switch (c->kind) {
	case ID:
		return snprintf(at, c->size, "%s", text) < (int)c->size && proto_id_valid(text);
	case TEXT:
		return snprintf(at, c->size, "%s", text) < (int)c->size;
	case OWNED_TEXT:
		return (*(char **)at = strdup(text)) != NULL;
	case STATE:
		state = proto_state_from(text);
		*(enum restore_state *)at = state;
		return state != STATE_NONE;
	default:
		return spec_prefetch_parse(text, at) == 0;
	}
}

static bool fetch(sqlite3_stmt *st, int i, const struct column *c, struct restore_record *rec)
{
	void *at = (char *)rec + c->at;
	int64_t value = sqlite3_column_int64(st, i);

	switch (c->kind) {
	case BOOL:
		*(bool *)at = value;
		return value == 0 || value == 1;
	case U32:
		*(uint32_t *)at = (uint32_t)value;
		return value >= 0 && value <= UINT32_MAX;
	case U64:
		*(uint64_t *)at = (uint64_t)value;
		return true;
	case I64:
		*(int64_t *)at = value;
		return true;
	default:
		return fetch_text(st, i, c, at);
	}
}

static int put_restore(struct store *s, const struct restore_record *rec, struct err *err)
{
	sqlite3_stmt *st = idle(s, PUT_RESTORE);
	int rc = SQLITE_OK;

	for (size_t i = 0; rc == SQLITE_OK && i < ARRAY_LEN(columns); i++)
		rc = bind(st, (int)i + 1, &columns[i], rec);
	if (rc != SQLITE_OK) {
		database_fail(&s->d, rc, "write a restore", err);
		done(st);
		return -1;
	}
	return run(s, PUT_RESTORE, "write a restore", err);
}

static int get_restore(struct store *s, sqlite3_stmt *st, struct restore_record *rec,
		       struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(columns); i++)
		if (!fetch(st, (int)i, &columns[i], rec))
			return err_set(err, ERR_SYSTEM,
				       "database %s is damaged (restore \"%s\" has a bad %s): move "
				       "it away, or put a copy of it back",
				       s->d.path, rec->id, columns[i].name);
	return 0;
}

int store_restores(struct store *s, store_visit_restore visit, void *arg, struct err *err)
{
	sqlite3_stmt *st = idle(s, ALL_RESTORES);
	int r = 0;
	int rc;

	while (r == 0 && (rc = sqlite3_step(st)) != SQLITE_DONE) {
		struct restore_record rec = {0};

		if (rc != SQLITE_ROW)
			r = database_fail(&s->d, rc, "read restores", err);
		else if (get_restore(s, st, &rec, err) < 0 || visit(arg, &rec, err) < 0)
			r = -1;
		record_fini(&rec);
	}
	done(st);
	return r;
}

int store_forget(struct store *s, int64_t before_ms, struct err *err)
{
	sqlite3_bind_int64(idle(s, FORGET_RESTORES), 1, before_ms);
	return run_alone(s, FORGET_RESTORES, "forget restores", err);
}

/* ---- events ---- */

static int put_event(struct store *s, const struct store_event *e, struct err *err)
{
	const char *const texts[] = {e->type, e->tenant, e->restore, e->data ? e->data : "{}"};
	sqlite3_stmt *st = idle(s, PUT_EVENT);
	int rc = sqlite3_bind_int64(st, 1, e->time_ms);

	for (size_t i = 0; rc == SQLITE_OK && i < ARRAY_LEN(texts); i++)
		rc = sqlite3_bind_text(st, (int)i + 2, texts[i], -1, SQLITE_STATIC);
	if (rc != SQLITE_OK) {
		database_fail(&s->d, rc, "write an event", err);
		done(st);
		return -1;
	}
	return run(s, PUT_EVENT, "write an event", err);
}

int store_write(struct store *s, const struct restore_record *rec, const struct store_event *event,
		uint64_t *ret_seq, struct err *err)
{
	uint64_t seq = 0;

	if (begin(s, err) < 0)
		return -1;
	if (rec && put_restore(s, rec, err) < 0)
		return undo(s);
	if (event) {
		if (put_event(s, event, err) < 0)
			return undo(s);
		seq = (uint64_t)sqlite3_last_insert_rowid(s->d.db);
	}
	if (commit(s, err) < 0)
		return -1;
	if (event && ret_seq)
		*ret_seq = seq;
	return 0;
}

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
	sqlite3_stmt *st = idle(s, EVENTS_ANY + (tenant ? 1u : 0) + (restore ? 2u : 0));
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
	done(st);
	return r;
}

int store_event_range(struct store *s, uint64_t *ret_oldest, uint64_t *ret_newest, struct err *err)
{
	sqlite3_stmt *st = idle(s, EVENT_RANGE);
	int rc = sqlite3_step(st);
	int r = 0;

	if (rc == SQLITE_ROW) {
		*ret_oldest = (uint64_t)sqlite3_column_int64(st, 0);
		*ret_newest = (uint64_t)sqlite3_column_int64(st, 1);
	} else {
		r = database_fail(&s->d, rc, "read the range of events", err);
	}
	done(st);
	return r;
}

/* The seq of the first event that is not older than @before_ms; @none if all are older. */
static int event_since(struct store *s, int64_t before_ms, uint64_t none, uint64_t *ret,
		       struct err *err)
{
	sqlite3_stmt *st = idle(s, EVENT_SINCE);
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
	done(st);
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
	sqlite3_bind_int64(idle(s, DROP_EVENTS), 1, (int64_t)first);
	return run_alone(s, DROP_EVENTS, "drop events", err);
}

const char *store_engine(void)
{
	return sqlite3_libversion();
}
