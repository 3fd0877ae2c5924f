/*
 * database - opens the store's file: locked, checked to be ours and whole, of today's schema
 *
 * Part of the store; no other file includes it. Everything here happens once, at start. A file that
 * is refused has not been written to:
 *
 *   lock file held by another daemon    not a regular file    not SQLite
 *   another program's application id    a newer schema        damaged
 */
#ifndef UFFDD_DATABASE_H
#define UFFDD_DATABASE_H

#include <sqlite3.h>

#include "common/err.h"

struct database {
	sqlite3 *db; /* owned; the caller finalizes its statements before database_close() */
	char *path;  /* owned; absolute, no symbolic links */
	int lock_fd; /* owned; "<path>.lock", never removed */
};

/*
 * database_open - opens or creates @path and brings its schema up to date
 * @ret: filled on success only
 *
 * May block on disk. A file of up to 32 MiB is checked for damage whole; of a larger one only the
 * restores. Returns 0, or -1 with ERR_PATH, ERR_NOSPACE or ERR_SYSTEM.
 */
int database_open(const char *path, struct database *ret, struct err *err);
/*
 * Moves the write-ahead log into the file. Accepts a struct that is zeroed but for lock_fd = -1;
 * safe to repeat.
 */
void database_close(struct database *d);

/*
 * database_fail - turns the SQLite result @rc into @err; returns -1
 * @what: follows "cannot" in the error text
 *
 * ERR_INVALID: the data can never be written. ERR_NOSPACE, ERR_SYSTEM: may pass. Call it before
 * anything else uses the connection, which has the reason.
 */
int database_fail(const struct database *d, int rc, const char *what, struct err *err);

#endif
