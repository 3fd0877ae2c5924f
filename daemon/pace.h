/*
 * pace - how often each tenant may do something: at most so many times a second
 *
 * A tenant that was quiet has the calls of one second at once. Pure: time is an argument. Memory is
 * for tenants that have called within the last second or so.
 */
#ifndef UFFDD_PACE_H
#define UFFDD_PACE_H

#include "common/base.h"

struct pace {           /* all zero: nobody has called */
	void *tenants;  /* owned: a tree of tsearch() */
	size_t n;       /* of them */
	size_t tidy_at; /* when there are so many, those that are quiet again are dropped */
};

/*
 * pace_take - may @tenant call once more?
 * @per_s: at least 1
 * @now_us: a clock that only grows
 *
 * True: counted. False, and *ret_wait_us says in how many microseconds it may.
 */
bool pace_take(struct pace *p, const char *tenant, uint64_t per_s, uint64_t now_us,
	       uint64_t *ret_wait_us);
/* Safe to repeat. */
void pace_fini(struct pace *p);

#endif
