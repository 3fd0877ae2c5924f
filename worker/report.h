/*
 * report - what is said to the supervisor, and said again to the next one
 *
 * A message that cannot be sent is dropped (supervisor_link.h). A new supervisor gets REATTACH and
 * all that it must know in the job's phase, from the one table here.
 */
#ifndef UFFDD_REPORT_H
#define UFFDD_REPORT_H

#include "worker/job_state.h"
#include "worker/peers.h"
#include "worker/loop_state.h"

void report_hello(struct job *j);
void report_ready(struct job *j);
/* @vmm: the VMM with a bad handshake, or NULL. */
void report_failed(struct job *j, const struct err *why, bool kill, const struct peer *vmm);
/* Peer @p was rejected. */
void report_refused(struct job *j, const struct peer *p, const char *why);
/*
 * @vmm: pidfd, borrowed; -1: the peer has ended
 * @said: the VMM's handshake, which is consumed once CONNECTED is sent; or NULL
 */
void report_connected(struct job *j, const struct pagemap *map, int uffd, int vmm,
		      struct handshake *said);
/* Sends a message without a body. */
void report_plain(struct job *j, enum chan_type type);
/* Writes prefetch's state into the page map, and sends a note the first time a limit is met. */
void report_prefetch(struct loop *l);

/* Tries to reconnect when it is time to, and tells a new supervisor everything. */
void report_turn(struct job *j, uint64_t now);

#endif
