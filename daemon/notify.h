/*
 * notify - what we tell systemd: that we are ready, and descriptors to keep for us
 *
 * The fd store holds a duplicate of every uffd, so that one is left when worker
 * and supervisor die together. Without NOTIFY_SOCKET all of it does nothing.
 */
#ifndef UFFDD_NOTIFY_H
#define UFFDD_NOTIFY_H

#include "common/err.h"

/* Takes NOTIFY_SOCKET and LISTEN_FDS out of the environment. Call once, early. */
void notify_open(void);
/* Closes what nobody took; it need not be kept any longer. */
void notify_close(void);
/* A line such as "READY=1". */
void notify_send(const char *line);

/* Keep, or forget, the uffd of a restore. */
void notify_keep(const char *id, int uffd);
void notify_forget(const char *id);
/* What was kept for it over our restart, owned by the caller; -1: nothing. */
int notify_take(const char *id);

#endif
