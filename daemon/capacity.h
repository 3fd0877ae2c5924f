/*
 * capacity - descriptors for restores: who may be created, and which rows have to wait
 *
 * A restore has its share (descriptors.h) from its creation on, whether it holds all of it
 * yet or not. So one that was created can be served, whatever else comes. A daemon
 * that starts again under a lower limit takes up as many rows as there is room for; the
 * workers of the others serve on, and come back when it is their turn.
 */
#ifndef UFFDD_CAPACITY_H
#define UFFDD_CAPACITY_H

#include "daemon/table.h"

struct event;

struct capacity {
	struct host *host;         /* borrowed */
	const struct table *table; /* borrowed */
	struct event *again;       /* owned: rows wait for room; NULL: none ever did */
};

void capacity_fini(struct capacity *c);

/* Descriptors that are neither in use, nor promised, nor set aside; negative: so many too few. */
int64_t capacity_left(const struct capacity *c);
/* Is there any? O(1) while there is plenty. */
bool capacity_any(const struct capacity *c);
/* For one restore more; ERR_QUOTA with the number that is missing, and the cure. */
int capacity_check(const struct capacity *c, struct err *err);

/* A row that stands: adopt_row(), now or as soon as there is room. */
void capacity_take_up(struct capacity *c, struct restore *r);
/* Its worker has come: now, if there is room. */
bool capacity_make(struct capacity *c, struct restore *r);
/* Rows that wait. */
uint64_t capacity_waiting(const struct capacity *c);

#endif
