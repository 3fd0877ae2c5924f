/*
 * refusal - the VMM's message was wrong: its guest can never run, and its end is waited for
 */
#ifndef UFFDD_REFUSAL_H
#define UFFDD_REFUSAL_H

#include "worker/job_state.h"
#include "worker/peers.h"

/*
 * refusal_outlive - run JOB_REFUSED: fail the restore, and wait for the end of the VMM or
 *	for STOP
 * @vmm: borrowed
 * @err: what is wrong with the handshake; gets the VMM's pid and uid prefixed
 *
 * The VMM's descriptors stay open until its address space has ended, which may be after the peer:
 * if the last descriptor closed earlier, the VMM's missing pages would turn into zeros.
 */
void refusal_outlive(struct job *j, struct peer *vmm, struct err *err);

#endif
