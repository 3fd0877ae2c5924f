/*
 * recording - a restore and the working sets of its snapshot
 *
 *   READY ──► the stored sets go to its worker ──► … ──► WSET_MADE ──► the new one is stored
 */
#ifndef UFFDD_RECORDING_H
#define UFFDD_RECORDING_H

#include "daemon/live.h"

/* Its worker says whose sets are its own. Also one that took over: then nothing is recorded. */
void recording_ready(struct live *l, const struct wset_key *key);
/* What is stored goes to its worker. */
void recording_give(struct live *l);
/* The worker is through; @fd: what came of it, or -1. It stays the caller's. */
void recording_made(struct live *l, int fd);

/* "recording", "recorded" or "off": for the API. */
const char *recording_state(const struct live *l);
/* The set as it is stored now, owned by the caller. -1 with ERR_NOTFOUND that says when. */
int recording_read(const struct live *l, void **ret_bytes, size_t *ret_len, struct err *err);

#endif
