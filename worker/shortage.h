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
/* Tried again after this, growing, … */
#define SHORTAGE_PAUSE_MIN_US 1000
#define SHORTAGE_PAUSE_MAX_US 64000
/* … and one that was not met for so long is another one. */
#define SHORTAGE_STALE_US ((uint64_t)2 * 1000 * 1000)
/* One that was met again after so long is worth to be told. */
#define SHORTAGE_TOLD_US 100000

struct shortage {
	uint64_t since_us; /* 0: there is none */
	uint64_t met_us;   /* the last try that failed */
	uint64_t pause_us; /* until the next one */
};

/* A try has failed for want of memory. Returns false: that has been so for too long. */
bool shortage_meet(struct shortage *s, uint64_t now);
/* A page was installed. */
void shortage_end(struct shortage *s);
/* One that nobody has met again is forgotten. */
void shortage_age(struct shortage *s, uint64_t now);

/* Microseconds until the next try; 0: now. */
uint64_t shortage_wait_us(const struct shortage *s, uint64_t now);
/* Was it met again and again, so that people should hear of it? */
bool shortage_lasts(const struct shortage *s);

#endif
