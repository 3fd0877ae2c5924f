/*
 * handshake_wait - a restore waits for its VMM
 */
#ifndef UFFDD_HANDSHAKE_WAIT_H
#define UFFDD_HANDSHAKE_WAIT_H

#include "worker/job_state.h"
#include "worker/peers.h"

enum handshake_end {
	HANDSHAKE_VMM,     /* it came: *ret_vmm and *ret_regions are set */
	HANDSHAKE_BAD_VMM, /* it came, *ret_vmm is set, and err says what is wrong with its message */
	HANDSHAKE_NOBODY,  /* none came in time, or none could be heard: err says so */
	HANDSHAKE_STOPPED, /* the supervisor wants the end */
};

/*
 * handshake_wait - JOB_WAITING, until it ends in one of these ways
 *
 * Without a supervisor it waits on: the VMM may come before the next one does. When it
 * returns nobody can connect any more, and the socket's path is free again.
 */
enum handshake_end handshake_wait(struct job *j, struct peer *ret_vmm, struct regions *ret_regions,
				  struct err *err);

#endif
