/*
 * assign - gives a restore to a worker: to its first one, or to a successor
 *
 * On failure each returns -1 with the error, and the caller undoes what was begun. The worker stays
 * in r->worker.
 */
#ifndef UFFDD_ASSIGN_H
#define UFFDD_ASSIGN_H

#include "daemon/restore.h"

/* Makes the page map and, if the supervisor binds it, the socket; sends a worker ASSIGN. */
int assign_new(struct restore *r, struct err *err);
/*
 * Takes the successor of a dead worker from the pool; the record names it from now on. Store the
 * record before assign_successor(). Otherwise a supervisor that dies in between leaves a guest with
 * a worker that the next supervisor does not know, and that gives the guest a second worker.
 */
int assign_choose(struct restore *r, struct err *err);
/*
 * Sends ASSIGN to the chosen successor. With a uffd in r->hold the successor serves the guest;
 * without, it waits for the VMM, with a new page map and the listening socket. ERR_UNREADY: the
 * successor is dying.
 */
int assign_successor(struct restore *r, struct err *err);

/*
 * Sends the worker the VMM's /proc/PID/pagemap, by which it asks the kernel which pages are there.
 * Does nothing without a worker or the VMM's pidfd. Where the file cannot be opened, that is
 * logged, and the worker goes on without.
 */
void assign_presence(struct restore *r);

#endif
