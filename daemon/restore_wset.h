/*
 * restore_wset - a restore and the working sets of its snapshot
 *
 *   READY ──► the stored sets go to its worker ──► … ──► WSET_MADE ──► the new one is stored
 */
#ifndef UFFDD_RESTORE_WSET_H
#define UFFDD_RESTORE_WSET_H

#include "daemon/restore.h"

/* Its worker says whose sets are its own. Also one that took over: then nothing is recorded. */
void restore_wset_ready(struct restore *r, const struct wset_key *key);
/* What is stored goes to its worker. */
void restore_wset_give(struct restore *r);
/* The worker is through; @fd: what came of it, or -1. It stays the caller's. */
void restore_wset_made(struct restore *r, int fd);

/* "recording", "recorded" or "off": for the API. */
const char *restore_wset_state(const struct restore *r);
/* The set as it is stored now, owned by the caller. -1 with ERR_NOTFOUND that says when. */
int restore_wset_read(const struct restore *r, void **ret_bytes, size_t *ret_len, struct err *err);

#endif
