/*
 * adopt - a worker that has lost its supervisor, and the restore that it serves
 *
 *   we are new            each row of this boot: is its VMM alive? Does its worker come
 *                         back within BACK_MS? Else as after its death (recover.h), with the
 *                         uffd from systemd's fd store or out of the VMM itself
 *   descriptors were short, and its channel is lost: it comes back to us
 */
#ifndef UFFDD_ADOPT_H
#define UFFDD_ADOPT_H

#include "daemon/restore.h"

/* After our own start: a row that may still stand for something. */
void adopt_row(struct restore *r);
/* Its worker has no channel any more. Takes @pidfd. */
void adopt_cut(struct restore *r, int *pidfd);
/*
 * A worker says that it serves @r; false: it is not the one of the row.
 * @listen_fd, @npeers: see restore_listen()
 */
bool adopt_back(struct restore *r, struct worker *w, int *listen_fd, size_t npeers);

#endif
