/*
 * timer - events of libevent that wait: times in microseconds, and none ends before its time
 *
 * TIMER_MS and TIMER_S are a millisecond and a second.
 */
#ifndef UFFDD_TIMER_H
#define UFFDD_TIMER_H

#include "common/base.h"

struct event;
struct event_base;

#define TIMER_MS ((uint64_t)1000)
#define TIMER_S ((uint64_t)1000 * 1000)

/*
 * Priorities of events in the loop of timer_base_new(). All are TIMER_NORMAL by themselves. Those that
 * are TIMER_LATE wait until no other event is active, and then one of them runs.
 */
enum { TIMER_NORMAL = 1, TIMER_LATE = 2, TIMER_PRIORITIES };

/*
 * The loop of a process, owned by the caller; NULL: it cannot be had. Its clock is the one of
 * now_us(): libevent's own choice is a clock that lags by up to a tick, so that a timer ends
 * before its time.
 */
struct event_base *timer_base_new(void);
/* @ev fires when it is ready, and in any case @us from now. Once, unless it is EV_PERSIST. */
void timer_add(struct event *ev, uint64_t us);
/* Frees *@ev and sets it to NULL. Accepts NULL in *@ev. */
void timer_drop(struct event **ev);

#endif
