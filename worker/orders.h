/*
 * orders - what the owner thread and the supervisor say to each other while a guest is served
 */
#ifndef UFFDD_ORDERS_H
#define UFFDD_ORDERS_H

#include "worker/loop.h"

/* One of the messages without a body. */
void orders_tell(struct loop *l, enum chan_type type);
/* Absent pages can no longer be supplied, and it is told why; once. Removed ones still read zero. */
void orders_fail(struct loop *l, const struct err *err);
/* Whom to kill for a failure is not known here: then what is missing is to be poisoned. */
void orders_poison_instead(struct loop *l);
/* How prefetch stands: to whoever looks into the page map, and once for each limit as an event. */
void orders_publish(struct loop *l);
/* What a new supervisor must hear of the state: PAUSED, COMPLETE, FAILED. */
void orders_replay(struct loop *l);

/* Hears all that has come, and does it. */
void orders_read(struct loop *l);

#endif
