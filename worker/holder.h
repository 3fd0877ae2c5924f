/*
 * holder - a process that keeps the files of a restore open, while workers come and go
 *
 * A snapshot may be deleted while it is served, and a worker may die all the same. The
 * supervisor cannot keep the files for the next one: chains have thousands, and even to
 * close one may take as long as a tenant's file system likes. So each worker is born with a
 * process beside it that does nothing else. It runs with the caller's rights and fewer
 * system calls, and survives worker and supervisor.
 *
 *   idle ──ASSIGN──► taking ──FILES, KNOWN──► keeping ──STOP, or the VMM's end──► gone
 *     └── its worker ends ─┴────────────────────────────────────────────────────────▲
 *
 * While it keeps, whoever connects to its socket gets the files, and is its worker from
 * then on. That socket lies where only the supervisor may connect.
 */
#ifndef UFFDD_HOLDER_H
#define UFFDD_HOLDER_H

#include "common/chan.h"
#include "worker/source.h"

/* Forks one. Returns the worker's channel to it, or -1: then the files are kept by nobody. */
int holder_start(void);

/*
 * holder_assign - tell a new one whose files it will keep
 * @socket: bound, not listening; stays the caller's
 *
 * Does not wait. Below, *holder is -1 once it is of no use.
 */
void holder_assign(int holder, const struct chan_assign *assign, int socket);
/* All files of @src. */
void holder_give(int *holder, const struct source *src);
/* Waits until it has them, and listens. */
void holder_settle(int *holder);
/*
 * holder_take - the files of a predecessor, from the holder that is there
 * @ret: owned by the caller; none (n is 0) when it does not give all of them in time
 */
void holder_take(int *holder, struct source_given *ret);
void holder_given_fini(struct source_given *given);

/* The restore is in the store: from now on its worker's death does not end it. */
void holder_known(int holder);
/* It ends with the VMM. The pidfd stays the caller's. To repeat it does no harm. */
void holder_watch(int holder, int vmm);
/* The restore is over. */
void holder_leave(int *holder);

#endif
