/*
 * statements - the store's SQL: its statements, prepared once, and its transactions
 *
 * Part of the store; only its files include this. No statement may be in use twice: values that are
 * bound must last until statement_done().
 */
#ifndef UFFDD_STATEMENTS_H
#define UFFDD_STATEMENTS_H

#include "daemon/database.h"

/* X(member of struct restore_record, kind of the column: store.c) */
/* The spec is last: it may fill many pages, which reading other columns must not visit. */
/* clang-format off */
#define COLUMNS_BUT_REQUEST(X)                                                                    \
	X(id, ID) X(tenant, ID) X(state, STATE) X(reason, TEXT) X(revision, U64) X(boot_id, TEXT)     \
	X(socket_path, TEXT) X(caller_uid, U32) X(caller_gid, U32) X(caller_groups, TEXT)     \
	X(vmm_pid, U32)                                                                       \
	X(vmm_uid, U32) X(vmm_start, U64) X(worker_pid, U32) X(worker_restarts, U32)          \
	X(worker_start, U64) X(size_bytes, U64) X(page_bytes, U64) X(memory_bytes, U64)       \
	X(complete, BOOL) X(paused, BOOL) X(released, BOOL)                                   \
	X(prefetch, PREFETCH) X(prefetch_held, BOOL) X(rate_bytes_per_s, U64)                 \
	X(max_resident_bytes, U64) X(map_bytes, U64) X(extents, U64) X(files, U64)            \
	X(wset_key, TEXT) X(recording, BOOL) X(wset_pages, U64)                               \
	X(stop_reason, TEXT) X(stop_by_us, U64)                                               \
	X(created_ms, I64) X(connected_ms, I64) X(ended_ms, I64)
#define COLUMNS_BUT_KEY(X) COLUMNS_BUT_REQUEST(X) X(spec, OWNED_TEXT)
/* clang-format on */

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	PUT_RESTORE,
	PUT_EVENT,
	ALL_RESTORES,
	ONE_REQUEST,
	FORGET_RESTORE,
	EVENTS_ANY, /* of these four: + 1 with a tenant, + 2 with a restore */
	EVENTS_TENANT,
	EVENTS_RESTORE,
	EVENTS_BOTH,
	EVENT_RANGE, /* + 1 with a tenant */
	EVENT_RANGE_TENANT,
	EVENT_SINCE,
	EVENT_BEYOND,
	EVENT_COUNTS,
	DROP_EVENTS, /* + 1 with a tenant */
	DROP_EVENTS_TENANT,
	SET_EVENT_FLOOR,
	DROP_EVENT_FLOORS,
	PUT_TENANT,
	DROP_TENANT,
	ALL_TENANTS,
	STATEMENT_COUNT
};

struct store {
	struct database d;
	sqlite3_stmt *stmts[STATEMENT_COUNT];
};

/* Prepares all of them. 0, or -1 with ERR_SYSTEM; then some may be prepared. */
int statement_prepare_all(struct store *s, struct err *err);
/* A statement that is not in use, to be bound; it ends with statement_run() or statement_done(). */
sqlite3_stmt *statement_idle(struct store *s, enum statement id);
/* For a statement that was stepped by the caller. Repeats the error of the step; ignores it. */
void statement_done(sqlite3_stmt *st);
/*
 * Runs a statement that returns no rows. @what follows "cannot" in the error's text. 0, or -1 with
 * the error of database_fail(). statement_run_alone() does so in a transaction of its own.
 */
int statement_run(struct store *s, enum statement id, const char *what, struct err *err);
int statement_run_alone(struct store *s, enum statement id, const char *what, struct err *err);

/* 0, or -1 with the error of database_fail(). A commit that fails has rolled back. */
int transaction_begin(struct store *s, struct err *err);
int transaction_commit(struct store *s, struct err *err);
/* Rolls back and returns -1; the caller's error stays. */
int transaction_undo(struct store *s);

#endif
