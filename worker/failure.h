/*
 * failure - absent pages can no longer be supplied; removed ones still read zero
 *
 * The restore fails at once. on_failure decides what a thread gets that touches an absent page: the
 * VMM is killed, or the page is poisoned, or the thread is held. Only the supervisor kills. While
 * there is none, pages are poisoned instead, and the next supervisor kills what is left.
 */
#ifndef UFFDD_FAILURE_H
#define UFFDD_FAILURE_H

#include "worker/loop_state.h"

/* Fails the restore and reports @err to the supervisor. Later calls do nothing. */
void failure_begin(struct loop *l, const struct err *err);
/*
 * Call when the VMM's memory lives on without the VMM's peer: the process to kill is unknown, so
 * policy kill becomes poison.
 */
void failure_poison_instead(struct loop *l);
/* Answers a fault on an absent @page, after the failure. False: the thread keeps waiting. */
bool failure_answer(struct loop *l, uint64_t page);

#endif
