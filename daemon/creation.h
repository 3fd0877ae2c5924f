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

struct creation { /* all borrowed */
	const char *key, *id;
	struct spec *spec; /* resolved, with its socket path; taken over on success only */
	const struct sock_peer *caller;
};

/*
 * creation_begin - make page map and socket, and assign a worker
 * @ret: owned by the caller, which puts it into the table
 *
 * 0, or -1 with the error and nothing is left. Later creation_done() or creation_failed() follows.
 */
int creation_begin(struct host *host, const struct creation *c, struct restore **ret,
		   struct err *err);
/*
 * The worker has loaded the snapshot: stores @r and calls its creators. If @r cannot be stored,
 * does what creation_failed() does, which frees @r. @listen_fd: see restore_listen().
 */
void creation_done(struct restore *r, const struct chan_ready *ready, int *listen_fd);
/* The create failed: calls the creators with @why, undoes everything, and frees @r. */
void creation_failed(struct restore *r, const struct err *why);

#endif
