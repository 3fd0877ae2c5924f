/*
 * shortage - the VMM gets no memory for its pages: wait, for a while, without being busy
 *
 *   none ──met──► short ──met for SHORTAGE_MAX_US──► too long: the restore fails
 *    ▲              │
 *    └──over, or not met again for SHORTAGE_STALE_US
 *
 * Pure: times are arguments, in microseconds of now_us().
 */
#ifndef UFFDD_SHORTAGE_H
#define UFFDD_SHORTAGE_H

#include "common/base.h"

/* How long a guest may wait for memory before its restore fails. */
#define SHORTAGE_MAX_US ((uint64_t)5 * 1000 * 1000)
/* Pause between tries, doubled each time. */
#define SHORTAGE_PAUSE_MIN_US 1000
#define SHORTAGE_PAUSE_MAX_US 64000
/* A shortage that no try has met for so long is over. */
#define SHORTAGE_STALE_US ((uint64_t)2 * 1000 * 1000)
/* A shortage that tries meet for so long is reported. */
#define SHORTAGE_TOLD_US 100000

struct shortage {
	uint64_t since_us; /* when it began; 0: no shortage */
	uint64_t met_us;   /* the last try that failed */
	uint64_t pause_us; /* until the next try */
};

/* A try failed for want of memory. False: the shortage has lasted for SHORTAGE_MAX_US. */
bool shortage_meet(struct shortage *s, uint64_t now);
/* A page was installed: the shortage is over. */
void shortage_end(struct shortage *s);
/* Ends a shortage that no try has met for SHORTAGE_STALE_US. */
void shortage_age(struct shortage *s, uint64_t now);

/* Microseconds until the next try; 0: now. */
uint64_t shortage_wait_us(const struct shortage *s, uint64_t now);
/* Have tries met the shortage for SHORTAGE_TOLD_US, so that it should be reported? */
bool shortage_lasts(const struct shortage *s);

#endif
