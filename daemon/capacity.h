/*
 * capacity - descriptors for restores: which may be created, and which rows have to wait
 *
 * Each restore has its share (descriptors.h) from its creation on, whether or not it holds all of
 * it yet. So a restore that was created can be served, whatever else comes. A daemon that starts
 * again under a lower limit takes up as many rows as there is room for. The workers of the other
 * rows serve on alone, and come back once there is room.
 */
#ifndef UFFDD_CAPACITY_H
#define UFFDD_CAPACITY_H

#include "daemon/table.h"

struct event;

struct capacity {
	struct host *host;         /* borrowed */
	const struct table *table; /* borrowed */
	/* Owned: looks again at rows that wait; NULL: none has waited yet */
	struct event *again;
};

/* Accepts a struct without events. Safe to repeat. */
void capacity_fini(struct capacity *c);

/*
 * Descriptors that are neither in use, nor promised to restores, nor set aside. Negative: so many
 * are missing. O(restores).
 */
int64_t capacity_left(const struct capacity *c);
/* Is one left? O(1) while there are plenty. */
bool capacity_any(const struct capacity *c);
/*
 * Is there room for one more restore? Otherwise -1 with ERR_QUOTA: the number that is missing, and
 * the cure.
 */
int capacity_check(const struct capacity *c, struct err *err);

/* Takes up @r, a row that stands, by adopt_row(): now, or as soon as there is room. */
void capacity_take_up(struct capacity *c, struct restore *r);
/* Takes up @r now, if it waits and there is room. True: @r does not wait (any more). */
bool capacity_make(struct capacity *c, struct restore *r);
/* The number of rows that wait. */
uint64_t capacity_waiting(const struct capacity *c);

#endif
