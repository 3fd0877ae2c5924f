/*
 * recover - a restore goes on after the death of its worker, of its supervisor, or of both
 *
 *   its worker died     a successor gets our duplicate of the uffd, the page map, and
 *                       from the holder the files; it wakes every region
 *   we are new          each row of this boot: is its VMM alive? Does its worker
 *                       come back within BACK_MS? Else as above, with the uffd
 *                       from systemd's fd store or out of the VMM itself
 *
 * Where that is not possible the restore fails, by its on_failure; it is never
 * forgotten.
 */
#ifndef UFFDD_RECOVER_H
#define UFFDD_RECOVER_H

#include "daemon/live.h"

/* The worker of @l has died (l->worker is NULL). */
void recover_worker(struct live *l, const char *how);
/* The successor is at work. */
void recover_done(struct live *l);
/* End the worker and go on with a new one (of the release on disk when we started). */
int recover_replace(struct live *l, struct err *err);

/* Descriptors were short, and its worker has no channel any more: it comes back. Takes @pidfd. */
void recover_cut(struct live *l, int *pidfd);

/* After our own start: a row that may still stand for something. */
void recover_row(struct live *l);
/*
 * A worker says that it serves @l; false: it is not the one of the row.
 * @listen_fd, @npeers: see door_open()
 */
bool recover_came_back(struct live *l, struct worker *w, int *listen_fd, size_t npeers);

#endif
