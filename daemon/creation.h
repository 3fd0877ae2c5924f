/*
 * creation - a restore from the request until its worker has loaded the snapshot, or could not
 *
 *   creation_begin ──► assigned ──READY──► (conversation.c) ──► creation_done
 *          │               └── error, LOAD_BY_S over, worker died ──► creation_failed
 *          └── error: nothing was begun
 */
#ifndef UFFDD_CREATION_H
#define UFFDD_CREATION_H

#include "daemon/restore.h"

/*
 * creation_begin - files, socket, worker
 * @spec: taken over on success, resolved, with its socket path filled in
 */
int creation_begin(struct host *host, const char *id, struct spec *spec,
		   const struct sock_peer *caller, struct restore **ret, struct err *err);
/*
 * Its worker has loaded the snapshot: into the store, and who waits for it is told; or it has
 * failed after all. @listen_fd: see restore_listen()
 */
void creation_done(struct restore *r, const struct chan_ready *ready, int *listen_fd);
/* Nothing was created: who waits for it is told why, and @r is freed. */
void creation_failed(struct restore *r, const struct err *why);

#endif
