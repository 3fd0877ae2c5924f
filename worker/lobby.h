/*
 * lobby - a restore waits for its VMM
 */
#ifndef UFFDD_LOBBY_H
#define UFFDD_LOBBY_H

#include "worker/job_state.h"
#include "worker/listener.h"

enum lobby_end {
	LOBBY_VMM,     /* it came: *ret_vmm and *ret_regions are set */
	LOBBY_BAD_VMM, /* it came, *ret_vmm is set, and err says what is wrong with its message */
	LOBBY_NOBODY,  /* none came in time, or none could be heard: err says so */
	LOBBY_STOPPED, /* the supervisor wants the end */
};

/*
 * lobby_wait - JOB_WAITING, until it ends in one of these ways
 *
 * Without a supervisor it waits on: the VMM may come before the next one does. When it
 * returns nobody can connect any more, and the socket's path is free again.
 */
enum lobby_end lobby_wait(struct job *j, struct listener_peer *ret_vmm,
			  struct regions *ret_regions, struct err *err);

#endif
