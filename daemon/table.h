/*
 * table - all restores of this host, by id
 *
 * Pointers only: who inserts a restore frees it, after it was removed.
 */
#ifndef UFFDD_TABLE_H
#define UFFDD_TABLE_H

#include "daemon/restore.h"

struct table {              /* all zero: empty */
	struct restore **v; /* owned array of borrowed restores, sorted by id */
	size_t n, cap;
};

/* NULL: none. Also one that is still being created. */
struct restore *table_find(const struct table *t, const char *id);
/* The first with an id greater than @after, or NULL; "" begins. */
struct restore *table_next(const struct table *t, const char *after);
/* Its id is not in the table. */
void table_insert(struct table *t, struct restore *r);
/* Nothing happens when it is not in the table. */
void table_remove(struct table *t, const struct restore *r);
void table_fini(struct table *t);

#endif
