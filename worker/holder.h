/*
 * holder - a process that keeps the files of a restore open, while workers come and go
 *
 * A snapshot may be deleted while it is served, and its worker may die all the same. The supervisor
 * cannot keep the files for a successor: chains have thousands, and even closing one may take as
 * long as a tenant's file system likes. So each worker starts with a holder beside it, a process
 * that does nothing else. The holder runs with the caller's rights and fewer system calls, and
 * survives worker and supervisor.
 *
 *   idle ──ASSIGN──► taking ──FILES, KNOWN──► keeping ──STOP, or the VMM's end──► gone
 *     └── its worker ends ─┴────────────────────────────────────────────────────────▲
 *
 * While it keeps files, the holder sends them to the process that connects to its socket, which is
 * its worker from then on. That socket lies where only the supervisor may connect.
 */
#ifndef UFFDD_HOLDER_H
#define UFFDD_HOLDER_H

#include "common/chan.h"
#include "worker/calls.h"
#include "worker/source.h"

/*
 * Forks a holder. Returns the worker's channel to it, owned by the caller, or -1: then no holder
 * keeps the files.
 */
int holder_start(void);

/*
 * holder_assign - tell a new holder whose files it will keep
 * @holder: the channel, or -1: nothing is done (also in holder_known() and holder_watch())
 * @socket: bound, not listening; stays the caller's
 *
 * Does not wait. The functions below that take a pointer close the channel and set it to -1 once
 * the holder is of no use.
 */
void holder_assign(int holder, const struct chan_assign *assign, int socket);
/* Sends all files of @src, which stay open here. Waits at most 5 s. */
void holder_give(int *holder, const struct source *src);
/* Waits at most 5 s until the holder has all files and listens. */
void holder_settle(int *holder);
/*
 * holder_take - receive the predecessor's files from its holder
 * @ret: released by source_given_fini(); n is 0 if the holder does not send all files within 5 s
 */
void holder_take(int *holder, struct source_given *ret);

/* The restore is in the store: from now on the holder survives the worker's death. */
void holder_known(int holder);
/* The holder ends with this VMM. The pidfd stays the caller's. Safe to repeat. */
void holder_watch(int holder, int vmm);
/* All that the holder itself needs of the kernel (calls.h). */
extern const struct calls holder_calls;

/* The restore is over: the holder ends. Closes the channel. */
void holder_leave(int *holder);

#endif
