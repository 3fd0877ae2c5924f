/*
 * request - what a restore was asked for, in memory or in the store
 *
 * A restore that is there has its request in memory. Of one that is over only the store has it:
 * those are many, and few are looked at.
 */
#ifndef UFFDD_REQUEST_H
#define UFFDD_REQUEST_H

#include "daemon/restore.h"

struct request {
	const char *text;        /* canonical JSON; borrowed, like spec, until request_close() */
	const struct spec *spec; /* what it says */
	char *read;              /* owned, like parsed; NULL: text and spec are the restore's own */
	struct spec parsed;
};

/*
 * Reads @r's request. @ret: filled on success only; closed by request_close(). 0, or -1 with the
 * error of store_request() or ERR_SYSTEM.
 */
int request_open(const struct restore *r, struct request *ret, struct err *err);
void request_close(struct request *q);

/* Of the text, wherever that is. */
size_t request_bytes(const struct restore *r);
/* Frees @r's request. To be called once @r is over and the store has all changes. */
void request_leave_to_store(struct restore *r);

#endif
