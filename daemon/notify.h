/*
 * notify - what we tell systemd: that we are ready, and descriptors to keep
 *
 * systemd's fd store holds a duplicate of every uffd, so that one is left when worker and
 * supervisor die together. Without NOTIFY_SOCKET all of it does nothing. One per process.
 */
#ifndef UFFDD_NOTIFY_H
#define UFFDD_NOTIFY_H

#include "common/err.h"

/* Reads NOTIFY_SOCKET and LISTEN_FDS, and removes them from the environment. Call once, early. */
void notify_open(void);
/* Closes the kept descriptors that were not taken, and tells systemd to forget them. */
void notify_close(void);
/* Sends a line such as "READY=1". Never blocks, and may be lost. */
void notify_send(const char *line);

/* Asks systemd to keep the uffd of the restore with @key (@uffd is borrowed), or to forget it. */
void notify_keep(const char *key, int uffd);
void notify_forget(const char *key);
/* The uffd that systemd kept for that restore over our restart, owned by the caller; -1: none. */
int notify_take(const char *key);

#endif
