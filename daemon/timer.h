/*
 * timer - how long an event waits, and its end: one unit, one way
 */
#ifndef UFFDD_TIMER_H
#define UFFDD_TIMER_H

#include "common/base.h"

struct event;

#define TIMER_MS ((uint64_t)1000)
#define TIMER_S ((uint64_t)1000 * 1000)

/* Fires when it is ready, and in any case @us from now. Once, unless it is EV_PERSIST. */
void timer_add(struct event *ev, uint64_t us);
/* It is freed, and NULL from now on. Accepts one that is. */
void timer_drop(struct event **ev);

#endif
