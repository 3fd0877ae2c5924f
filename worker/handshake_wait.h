/*
 * handshake_wait - a restore waits for its VMM
 */
#ifndef UFFDD_HANDSHAKE_WAIT_H
#define UFFDD_HANDSHAKE_WAIT_H

#include "worker/job_state.h"
#include "worker/peers.h"

enum handshake_end {
	HANDSHAKE_VMM,     /* the VMM connected: *ret_vmm and *ret_regions are set */
	HANDSHAKE_BAD_VMM, /* the VMM connected with a bad handshake: *ret_vmm and err are set */
	HANDSHAKE_NOBODY,  /* no VMM connected in time, or none can be received: err is set */
	HANDSHAKE_STOPPED, /* the supervisor asked to stop */
};

/*
 * handshake_wait - run JOB_WAITING until it ends in one of these ways
 * @j: its listen_fd is taken
 * @ret_vmm: owned by the caller, released by peer_fini()
 *
 * Without a supervisor the wait goes on: the VMM may come before the next supervisor. On return no
 * peer can connect any more, and the socket's path is free again.
 */
enum handshake_end handshake_wait(struct job *j, struct peer *ret_vmm, struct regions *ret_regions,
				  struct err *err);

#endif
