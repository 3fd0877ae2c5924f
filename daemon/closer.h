/*
 * closer - closes descriptors that another process chose, without waiting for it
 *
 * close() of a file on a tenant's FUSE is a request to the tenant's process. The last close() of a
 * socket may linger, and also closes what lies unread in its queue. So whatever came from a worker
 * or a peer, and every connection of theirs, is closed here: by threads, which may hang in place of
 * the event loop. Descriptors wait while all threads hang; they are still open then, and count as
 * such.
 *
 * One closer per process; from the main thread only. No thread runs before the first call.
 */
#ifndef UFFDD_CLOSER_H
#define UFFDD_CLOSER_H

#include "common/base.h"

/* How many may hang at once. */
#define CLOSER_THREADS_MAX 32

/* Takes *@fd and sets it to -1; nothing happens if it is negative. Never blocks. */
void closer_close(int *fd);
/* Descriptors that were taken and are not closed yet. */
size_t closer_waiting(void);
/*
 * closer_settle - to be called before a fork
 *
 * A child has what is open here, and must close it before its program begins: it would hang in our
 * place. True: nothing that was taken is open any more, as a rule within microseconds; whether
 * threads hang does not matter. False: too many of them do.
 */
bool closer_settle(void);
/* Before the process ends: nothing more is closed, and the threads that do not hang have ended. */
void closer_stop(void);

#endif
