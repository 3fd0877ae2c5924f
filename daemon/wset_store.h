/*
 * wset_store - the stored working sets
 *
 *   <state>/working-sets/<tenant>/<key>-4k, <key>-2m
 *
 * Tenants never share sets. A set is replaced whole by a rename, and never synced:
 * one that a power failure tore is caught by its checksum, and recorded anew. What
 * comes from a worker is not believed: bounded, of the right snapshot, whole; its
 * runs are left to the next worker to parse.
 */
#ifndef UFFDD_WSET_STORE_H
#define UFFDD_WSET_STORE_H

#include "common/wset_file.h"

struct wset_store;

/* Which set: borrowed texts, safe as file names. */
struct wset_store_name {
	const char *tenant;
	const char *key; /* wset_key_text() */
	uint64_t page_bytes;
};

/*
 * wset_store_open - @state_dir exists; the directory below it is made
 * @file_bytes: the largest file; @tenant_bytes: all of a tenant's, on whole blocks of 4 KiB
 */
int wset_store_open(const char *state_dir, uint64_t file_bytes, uint64_t tenant_bytes,
		    struct wset_store **ret, struct err *err);
/* Accepts NULL. */
void wset_store_close(struct wset_store *w);

/* A descriptor to read it by, owned by the caller; -1: there is none. Not checked. */
int wset_store_find(struct wset_store *w, const struct wset_store_name *name);
/*
 * wset_store_read - its bytes, whole and of that name, owned by the caller
 * -1 with ERR_NOTFOUND: there is none, or it is damaged.
 */
int wset_store_read(struct wset_store *w, const struct wset_store_name *name, void **ret_bytes,
		    size_t *ret_len, struct err *err);
/*
 * wset_store_put - replace it by what a worker sent
 * @fd: borrowed; must be a sealed memfd, so that reading cannot block, nor it change
 *
 * The tenant's oldest sets go when there is no room. -1 with ERR_INVALID,
 * ERR_NOSPACE or ERR_SYSTEM: what was there before is still there.
 */
int wset_store_put(struct wset_store *w, const struct wset_store_name *name, uint64_t span_bytes,
		   int fd, struct wset_head *ret, struct err *err);

#endif
