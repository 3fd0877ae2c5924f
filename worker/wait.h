/*
 * wait - sleeps until one of a few descriptors is readable, or a time is over
 *
 * Uses epoll, because the kernel's work for each fault then does not grow with the number of
 * descriptors.
 */
#ifndef UFFDD_WAIT_H
#define UFFDD_WAIT_H

#include "common/base.h"
#include "common/err.h"

#define WAIT_NEVER UINT64_MAX
#define WAIT_MAX 8

struct wait {
	int epoll;         /* owned */
	int fds[WAIT_MAX]; /* borrowed; -1: none */
};

/* Returns 0, or -1 with ERR_SYSTEM. @w is closed by wait_close() in any case. */
int wait_open(struct wait *w, struct err *err);
void wait_close(struct wait *w);

/*
 * Sets the descriptor at place @which (below WAIT_MAX), borrowed; -1: none. The one before may have
 * been closed already. Returns 0, or -1 with ERR_SYSTEM.
 */
int wait_set(struct wait *w, unsigned which, int fd, struct err *err);
/*
 * Sleeps at most @us microseconds. Returns one bit, 1 << which, for each descriptor that is
 * readable, has ended or is broken; 0: the time is over.
 */
unsigned wait_sleep(struct wait *w, uint64_t us);

#endif
