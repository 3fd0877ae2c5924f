/*
 * orders - what the supervisor says, and what is done about it
 *
 * One table says which message is valid in which phase of the job. Any other message is ignored,
 * and its descriptors are closed.
 */
#ifndef UFFDD_ORDERS_H
#define UFFDD_ORDERS_H

#include "worker/job_state.h"

enum orders_step {
	ORDERS_NOTHING, /* no message has come, or the supervisor is away */
	ORDERS_DONE,    /* handled, or a type that only a newer supervisor knows */
	ORDERS_IGNORED, /* the message is not valid in this phase */
};

/* Receives and handles one message, without blocking. */
enum orders_step orders_receive(struct job *j);
/* Handles all messages that have come, until one asks to stop (job.stop). */
void orders_read(struct job *j);

#endif
