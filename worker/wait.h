/*
 * wait - sleeps until one of a few descriptors is readable, or a time is over
 *
 * epoll, since what the kernel has to do for a fault's way through it does not
 * grow with the number of descriptors.
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

int wait_open(struct wait *w, struct err *err);
void wait_close(struct wait *w);

/* What stands for @which (below WAIT_MAX) from now on; -1: nothing. May have been closed before. */
int wait_set(struct wait *w, unsigned which, int fd, struct err *err);
/* Returns one bit, 1 << which, for each that is readable, has ended or is broken; 0: time is over. */
unsigned wait_sleep(struct wait *w, uint64_t us);

#endif
