/*
 * wset_store - the stored working sets
 *
 *   <state>/working-sets/<tenant>/<key>-4k, <key>-2m
 *
 * Tenants never share sets. A set is replaced whole, by a rename, and never synced: a set that a
 * power failure tore is caught by its checksum and recorded anew. A worker's set is not trusted: it
 * must be within bounds, of the right snapshot, and whole. Its runs are parsed only by the next
 * worker.
 */
#ifndef UFFDD_WSET_STORE_H
#define UFFDD_WSET_STORE_H

#include "common/wset_file.h"

struct wset_store;

/* Which set; borrowed texts, valid as file names. */
struct wset_store_name {
	const char *tenant;
	const char *key;     /* of wset_key_text() */
	uint64_t page_bytes; /* of the guest's pages: 4 KiB or 2 MiB */
};

/*
 * wset_store_open - opens <state_dir>/working-sets, and makes it if it is missing
 * @state_dir: must exist
 * @file_bytes: the largest file
 * @tenant_bytes: all files of a tenant, each counted in whole blocks of 4 KiB
 */
int wset_store_open(const char *state_dir, uint64_t file_bytes, uint64_t tenant_bytes,
		    struct wset_store **ret, struct err *err);
/* Accepts NULL. */
void wset_store_close(struct wset_store *w);

/* A descriptor to read the set by, owned by the caller; -1: no such set. The set is not checked. */
int wset_store_find(struct wset_store *w, const struct wset_store_name *name);
/*
 * wset_store_read - the bytes of a set, checked
 * @ret_bytes: owned by the caller
 *
 * 0, or -1 with ERR_NOTFOUND: no such set, or it is damaged.
 */
int wset_store_read(struct wset_store *w, const struct wset_store_name *name, void **ret_bytes,
		    size_t *ret_len, struct err *err);
/*
 * wset_store_put - replaces a set by the one that a worker sent
 * @span_bytes: memory of the snapshot, in whole pages of 4 KiB
 * @fd: borrowed; must be a sealed memfd, so that reading cannot block and the bytes cannot change
 * @ret: the head of the new set
 *
 * Removes the tenant's oldest sets if there is no room. 0, or -1 with ERR_INVALID, ERR_NOSPACE or
 * ERR_SYSTEM, and the set is as it was.
 */
int wset_store_put(struct wset_store *w, const struct wset_store_name *name, uint64_t span_bytes,
		   int fd, struct wset_head *ret, struct err *err);

#endif
