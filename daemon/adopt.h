/*
 * adopt - a worker that has lost its supervisor, and the restore that it serves
 *
 *   a new supervisor     for each row of this boot: is the VMM alive? A worker that lives is
 *                        waited for; else as after the worker's death (recover.h), with the uffd
 *                        from systemd's fd store, or out of the VMM itself
 *   a lost channel       descriptors were short: the worker comes back to the same supervisor
 */
#ifndef UFFDD_ADOPT_H
#define UFFDD_ADOPT_H

#include "daemon/restore.h"

/*
 * Takes up a row that stands (restore_stands), after the supervisor's start: waits for the worker,
 * or acts as after its death. May end or fail @r; does not free it.
 */
void adopt_row(struct restore *r);
/*
 * The worker has no channel any more: waits for it to come back. Takes @pidfd, which is the
 * worker's. r->worker is NULL afterwards; the caller frees the struct worker.
 */
void adopt_cut(struct restore *r, int *pidfd);
/*
 * @w says that it serves @r. True: @w is the worker of @r now, "adopted" is published, and a
 * pending stop is carried out. False, and nothing has changed: @r is released, its worker still has
 * a channel, or @w is not the worker that the record names. @listen_fd, @npeers: see
 * restore_listen().
 */
bool adopt_back(struct restore *r, struct worker *w, int *listen_fd, size_t npeers);

#endif
