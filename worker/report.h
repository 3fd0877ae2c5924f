/*
 * report - what is said to the supervisor, and said again to the next one
 *
 * What cannot be sent is not sent (supervisor_link.h): a new supervisor hears REATTACH and all that it
 * must know in the phase that the job is in, from the one table here.
 */
#ifndef UFFDD_REPORT_H
#define UFFDD_REPORT_H

#include "worker/job_state.h"
#include "worker/peers.h"
#include "worker/loop_state.h"

void report_hello(struct job *j);
void report_ready(struct job *j);
/* @vmm: the one whose message was wrong, or NULL. */
void report_failed(struct job *j, const struct err *why, bool kill, const struct peer *vmm);
/* Somebody was turned away. */
void report_refused(struct job *j, const struct peer *p, const char *why);
/*
 * @vmm: pidfd; -1: its peer has ended
 * @said: the VMM's message, which is consumed once this was sent; or NULL
 */
void report_connected(struct job *j, const struct pagemap *map, int uffd, int vmm,
		      struct handshake *said);
/* One of the messages without a body. */
void report_plain(struct job *j, enum chan_type type);
/* How prefetch stands: to whoever looks into the page map, and once for each limit as an event. */
void report_prefetch(struct loop *l);

/* Looks for a supervisor when it is time, and tells a new one everything. */
void report_turn(struct job *j, uint64_t now);

#endif
