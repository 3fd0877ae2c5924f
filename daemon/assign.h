/*
 * assign - to give a restore to a worker: a new one, or a successor
 */
#ifndef UFFDD_ASSIGN_H
#define UFFDD_ASSIGN_H

#include "daemon/restore.h"

/* With a new page map and, where it is ours to bind, the socket. */
int assign_new(struct restore *r, struct err *err);
/*
 * Choose the successor of a dead worker. The record names it from now on: write it
 * down before assign_successor(), else a supervisor that dies in between leaves a
 * guest with a worker that the next one does not know, and gives it a second one.
 */
int assign_choose(struct restore *r, struct err *err);
/*
 * To the successor that was chosen: it waits on for the VMM, or goes on with its
 * guest, by what the restore holds (listening socket, or uffd and pidfd).
 */
int assign_successor(struct restore *r, struct err *err);

/*
 * With the VMM known: the means to ask the kernel which of its pages are there. A worker
 * does without where it cannot be had, and says so.
 */
void assign_presence(struct restore *r);

#endif
