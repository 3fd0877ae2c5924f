/*
 * retention - the records of restores that have ended: how long, and how many of a tenant
 *
 * A record is kept for ended_retention, so that whoever asks hears what became of the restore. A
 * tenant that creates and ends many keeps the newest only, within its budgets of records.
 */
#ifndef UFFDD_RETENTION_H
#define UFFDD_RETENTION_H

#include "daemon/table.h"

struct retention {
	struct host *host;                /* borrowed, like the next */
	struct table *table;              /* loses what is forgotten, as the store does */
	TAILQ_HEAD(ended, restore) ended; /* in order of their end */
};

/* All arguments are borrowed. */
void retention_init(struct retention *rt, struct host *host, struct table *table);
/* @r has ended, after all that are kept. */
void retention_keep(struct retention *rt, struct restore *r);
/* @r is freed by the caller. Does nothing if it is not kept. */
void retention_drop(struct retention *rt, struct restore *r);

/* To be called now and then: leaves requests of restores that are over to the store (request.h). */
void retention_thin(struct retention *rt);
/* Forgets what ended more than ended_retention ago, and of which nothing else is left. */
void retention_expire(struct retention *rt, int64_t now_ms);
/*
 * Forgets the oldest records of @tenant until there is room for one more in its budgets. Those of
 * which something else is left stay.
 */
void retention_make_room(struct retention *rt, const char *tenant);

#endif
