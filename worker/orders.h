/*
 * orders - what the supervisor says, and what is done about it
 *
 * One table says which message means something in which phase of the job. Any other is
 * ignored, and what came with it is closed.
 */
#ifndef UFFDD_ORDERS_H
#define UFFDD_ORDERS_H

#include "worker/job_state.h"

enum orders_step {
	ORDERS_NOTHING, /* has come, or the supervisor is away */
	ORDERS_DONE,    /* also of a type that only a newer supervisor knows */
	ORDERS_IGNORED, /* it means nothing in this phase */
};

/* Takes one message, without waiting for it. */
enum orders_step orders_receive(struct job *j);
/* All that have come, up to the one that wants the end (job.stop). */
void orders_read(struct job *j);

#endif
