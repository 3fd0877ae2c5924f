/*
 * sweep - what former runs left in the run directory
 *
 * Files that no row knows go, and holders with them. But the store may be lost: then a
 * worker that has its page map open comes back within SWEEP_MS, and is adopted by it
 * (orphan.h). Until then its files stay, and nobody else gets its id.
 */
#ifndef UFFDD_SWEEP_H
#define UFFDD_SWEEP_H

#include "daemon/table.h"

#define SWEEP_MS 30000

struct event;

struct sweep {
	const struct host *host;   /* borrowed */
	const struct table *table; /* borrowed */
	struct event *again; /* owned: until then workers that no row knows may come; or NULL */
};

/* At start, once the rows are there. */
int sweep_start(struct sweep *s, struct err *err);
void sweep_stop(struct sweep *s);
/* May somebody still come back under that id? ERR_UNREADY. */
int sweep_check(const struct sweep *s, const char *id, struct err *err);

#endif
