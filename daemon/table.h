/*
 * table - all restores of this host, by id
 *
 * Pointers only: the caller that inserted a restore frees it, after its removal. Never blocks.
 */
#ifndef UFFDD_TABLE_H
#define UFFDD_TABLE_H

#include "daemon/restore.h"

struct table {              /* all zero: empty */
	struct restore **v; /* owned array of borrowed restores, sorted by id */
	size_t n, cap;
};

/* NULL: no such id. Finds also a restore that is being created. */
struct restore *table_find(const struct table *t, const char *id);
/* The restore with the first id greater than @after ("" begins), or NULL. */
struct restore *table_next(const struct table *t, const char *after);
/* The restore whose row names that process as its worker (pid and start time), or NULL. */
struct restore *table_of_worker(const struct table *t, pid_t pid, uint64_t start);
/* @r->rec.id must not be in the table yet. */
void table_insert(struct table *t, struct restore *r);
/* Does nothing if @r is not in the table. */
void table_remove(struct table *t, const struct restore *r);
/* Frees the array, not the restores. */
void table_fini(struct table *t);

#endif
