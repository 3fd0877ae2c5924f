/*
 * sweep - removes what former runs left in the run directory
 *
 * Files of restores without a row are removed, and their holders killed. But the store may be lost:
 * then a worker that has its page map open may come back within SWEEP_MS and have its restore
 * adopted (orphan.h), under an id that nobody knows before. Until then its files stay, and there are
 * no new restores.
 */
#ifndef UFFDD_SWEEP_H
#define UFFDD_SWEEP_H

#include "daemon/table.h"

#define SWEEP_MS 30000

struct event;

struct sweep {
	const struct host *host;   /* borrowed */
	const struct table *table; /* borrowed */
	struct event *again;       /* owned; NULL: SWEEP_MS are over */
};

/*
 * Sweeps now, and again after SWEEP_MS. To be called once the rows are in the table. 0, or -1 with
 * ERR_SYSTEM.
 */
int sweep_start(struct sweep *s, struct err *err);
/* No second sweep. Safe to repeat. */
void sweep_stop(struct sweep *s);
/* -1 with ERR_UNREADY while a worker whose restore is in no row may still come back. */
int sweep_check(const struct sweep *s, struct err *err);

#endif
