/*
 * failure - absent pages can no longer be supplied; removed ones still read zero
 *
 * The restore is failed at once. What a thread then gets that touches an absent page is its
 * on_failure: the VMM is killed, or the page is poisoned, or the thread is held.
 */
#ifndef UFFDD_FAILURE_H
#define UFFDD_FAILURE_H

#include "worker/loop_state.h"

/* It is told why; only the first time. */
void failure_begin(struct loop *l, const struct err *err);
/* Whom to kill for it is not known here: then what is missing is to be poisoned. */
void failure_poison_instead(struct loop *l);
/* A thread waits for an absent page. False: it is not answered. */
bool failure_answer(struct loop *l, uint64_t page);

#endif
