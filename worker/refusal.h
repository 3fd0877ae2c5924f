/*
 * refusal - the VMM's message was wrong: its guest can never run, and its end is waited for
 */
#ifndef UFFDD_REFUSAL_H
#define UFFDD_REFUSAL_H

#include "worker/job_state.h"
#include "worker/peers.h"

/*
 * refusal_outlive - JOB_REFUSED: the restore fails, and ends with the VMM, or when the
 *	supervisor wants it
 * @err: what is wrong with the message
 *
 * Its descriptors are not closed before it has ended, and not only who connected for it:
 * were ours the last ones, its missing pages would turn into zeros.
 */
void refusal_outlive(struct job *j, struct peer *vmm, struct err *err);

#endif
