#include "daemon/store.h"

#include <string.h>

#include "daemon/statements.h"

/* ID: a TEXT that is part of paths: proto_id_valid(). */
enum kind { ID, TEXT, OWNED_TEXT, STATE, PREFETCH, BOOL, U32, U64, I64 };

/* clang-format off */
static const struct column {
	const char *name;
	enum kind kind;
	size_t at, size; /* in struct restore_record */
} columns[] = {
#define X(field, kind)                                              \
	{#field, kind, offsetof(struct restore_record, field),      \
	 sizeof(((struct restore_record *)NULL)->field)},
	X(key, ID) COLUMNS_BUT_KEY(X)
#undef X
};
/* clang-format on */

int store_open(const char *path, struct store **ret, struct err *err)
{
	struct store *s = xcalloc(1, sizeof(*s));

	s->d.lock_fd = -1;
	if (database_open(path, &s->d, err) < 0 || statement_prepare_all(s, err) < 0) {
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
		return sqlite3_bind_text(st, i, *(char *const *)at ? *(char *const *)at : "", -1,
					 SQLITE_STATIC);
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
	sqlite3_stmt *st = statement_idle(s, PUT_RESTORE);
	int rc = SQLITE_OK;

	for (size_t i = 0; rc == SQLITE_OK && i < ARRAY_LEN(columns); i++)
		rc = bind(st, (int)i + 1, &columns[i], rec);
	if (rc != SQLITE_OK) {
		database_fail(&s->d, rc, "write a restore", err);
		statement_done(st);
		return -1;
	}
	return statement_run(s, PUT_RESTORE, "write a restore", err);
}

static int get_restore(struct store *s, sqlite3_stmt *st, struct restore_record *rec,
		       struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(columns); i++)
		if (!fetch(st, (int)i, &columns[i], rec))
			return err_set(err, ERR_SYSTEM,
				       "database %s is damaged (restore \"%s\" has a bad %s): move "
				       "it away, or put a copy of it back",
				       s->d.path, rec->id[0] ? rec->id : rec->key, columns[i].name);
	return 0;
}

int store_restores(struct store *s, store_visit_restore visit, void *arg, struct err *err)
{
	sqlite3_stmt *st = statement_idle(s, ALL_RESTORES);
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
	statement_done(st);
	return r;
}

int store_request(struct store *s, const char *key, char **ret, struct err *err)
{
	sqlite3_stmt *st = statement_idle(s, ONE_REQUEST);
	int rc = sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
	const char *text = NULL;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		text = (const char *)sqlite3_column_text(st, 0);
	if (rc == SQLITE_DONE)
		err_set(err, ERR_NOTFOUND, "database %s has no request of that key", s->d.path);
	else if (!text)
		database_fail(&s->d, rc == SQLITE_ROW ? SQLITE_NOMEM : rc, "read a request", err);
	*ret = text ? strdup(text) : NULL;
	statement_done(st);
	return *ret ? 0 : -1;
}

int store_forget(struct store *s, const char *key, struct err *err)
{
	sqlite3_bind_text(statement_idle(s, FORGET_RESTORE), 1, key, -1, SQLITE_STATIC);
	return statement_run_alone(s, FORGET_RESTORE, "forget a restore", err);
}

/* ---- events ---- */

static int put_event(struct store *s, const struct store_event *e, struct err *err)
{
	const char *const texts[] = {e->type, e->tenant, e->restore, e->data ? e->data : "{}"};
	sqlite3_stmt *st = statement_idle(s, PUT_EVENT);
	int rc = sqlite3_bind_int64(st, 1, e->time_ms);

	for (size_t i = 0; rc == SQLITE_OK && i < ARRAY_LEN(texts); i++)
		rc = sqlite3_bind_text(st, (int)i + 2, texts[i], -1, SQLITE_STATIC);
	if (rc != SQLITE_OK) {
		database_fail(&s->d, rc, "write an event", err);
		statement_done(st);
		return -1;
	}
	return statement_run(s, PUT_EVENT, "write an event", err);
}

int store_write(struct store *s, const struct restore_record *rec, const struct store_event *event,
		uint64_t *ret_seq, struct err *err)
{
	uint64_t seq = 0;

	if (transaction_begin(s, err) < 0)
		return -1;
	if (rec && put_restore(s, rec, err) < 0)
		return transaction_undo(s);
	if (event) {
		if (put_event(s, event, err) < 0)
			return transaction_undo(s);
		seq = (uint64_t)sqlite3_last_insert_rowid(s->d.db);
	}
	if (transaction_commit(s, err) < 0)
		return -1;
	if (event && ret_seq)
		*ret_seq = seq;
	return 0;
}

const char *store_engine(void)
{
	return sqlite3_libversion();
}
