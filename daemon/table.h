/*
 * table - all restores of this host, by id and by key
 *
 * Restores of different tenants may have one id. Pointers only: the caller that inserted a restore
 * frees it, after its removal. Never blocks.
 */
#ifndef UFFDD_TABLE_H
#define UFFDD_TABLE_H

#include "daemon/restore.h"

/* Owned arrays of borrowed restores, @n of them in each. */
struct table {                   /* all zero: empty */
	struct restore **v;      /* sorted by id, those of one id by tenant */
	struct restore **by_key; /* sorted by key */
	size_t n, cap;
};

/*
 * NULL: there is none. @tenant: NULL: of any tenant; of several restores with one id, the first by
 * tenant. Finds also a restore that is being created.
 */
struct restore *table_find(const struct table *t, const char *id, const char *tenant);
struct restore *table_of_key(const struct table *t, const char *key);
/* The first restore behind (@id, @tenant) in the order of both, or NULL. ("", "") begins. */
struct restore *table_next(const struct table *t, const char *id, const char *tenant);
/* The restore whose row names that process as its worker (pid and start time), or NULL. */
struct restore *table_of_worker(const struct table *t, pid_t pid, uint64_t start);
/* Neither @r's key nor its id with its tenant must be in the table yet. */
void table_insert(struct table *t, struct restore *r);
/* Does nothing if @r is not in the table. */
void table_remove(struct table *t, const struct restore *r);
/* Frees the arrays, not the restores. */
void table_fini(struct table *t);

#endif
