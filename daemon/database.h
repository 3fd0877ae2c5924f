/*
 * database - the store's file: opened, alone, known to be ours, whole, and of today's schema
 *
 * Part of the store, nobody else includes it. Everything here happens once, at
 * start. A file that is refused has not been written to:
 *
 *   lock file held by another daemon    not a regular file    not SQLite
 *   another program's application id    a newer schema        damaged
 */
#ifndef UFFDD_DATABASE_H
#define UFFDD_DATABASE_H

#include <sqlite3.h>

#include "common/err.h"

struct database {
	sqlite3 *db; /* owned; for statements of the caller's, all finalized before the close */
	char *path;  /* owned; absolute, without symbolic links */
	int lock_fd; /* owned; "<path>.lock", never removed */
};

/*
 * database_open - open or create @path and bring its schema up to date
 *
 * May block on disk; the check for damage reads at most 32 MiB and the restores.
 * Returns 0, or -1 with ERR_PATH, ERR_NOSPACE or ERR_SYSTEM.
 */
int database_open(const char *path, struct database *ret, struct err *err);
/* Checkpoints. Accepts one that is zeroed but for lock_fd = -1; safe to repeat. */
void database_close(struct database *d);

/*
 * database_fail - what an SQLite result means; returns -1
 * @what: "cannot <what>"
 *
 * ERR_INVALID: what was to be written can never be. Anything else may pass.
 *
 * Call it before anything else touches the connection, which holds the reason.
 */
int database_fail(const struct database *d, int rc, const char *what, struct err *err);

#endif
