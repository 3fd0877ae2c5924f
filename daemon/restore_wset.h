/*
 * restore_wset - a restore and the working sets of its snapshot
 *
 *   READY ──► the stored sets go to its worker ──► … ──► WSET_MADE ──► the new one is stored
 */
#ifndef UFFDD_RESTORE_WSET_H
#define UFFDD_RESTORE_WSET_H

#include "daemon/restore.h"

/*
 * READY or PROOF has come: takes the key of the snapshot's sets into the record. A key of a kind that
 * this release does not know is not taken. If a VMM has connected already, a recording would lack
 * the beginning, so nothing is recorded.
 */
void restore_wset_ready(struct restore *r, const struct wset_key *key);
/* Sends the sets that are stored to the worker, if there is one. Failures are logged. */
void restore_wset_give(struct restore *r);
/*
 * The recording is over. Stores the set, with an event that says so or why the store refuses; only
 * the first time for each restore. Does nothing while @r is being created. @fd: the set, borrowed;
 * -1: none was made, and there is no event.
 */
void restore_wset_made(struct restore *r, int fd);

/* For the API: "recording", "recorded" or "off"; static strings. */
const char *restore_wset_state(const struct restore *r);
/*
 * The set as it is stored now; *ret_bytes is owned by the caller. -1 with ERR_NOTFOUND, which says
 * when there will be one.
 */
int restore_wset_read(const struct restore *r, void **ret_bytes, size_t *ret_len, struct err *err);

#endif
