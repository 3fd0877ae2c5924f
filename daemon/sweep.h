/*
 * sweep - what former runs left in the run directory
 *
 * Files that no row knows go, and holders with them. But the store may be lost: then a
 * worker that has its page map open comes back within SWEEP_MS, and is adopted by it
 * (foundling.h). Until then its files stay, and nobody else gets its id.
 */
#ifndef UFFDD_SWEEP_H
#define UFFDD_SWEEP_H

#include "daemon/supervisor.h"

#define SWEEP_MS 30000

/* At start, once the rows are there. */
int sweep_start(struct supervisor *sup, struct err *err);
void sweep_stop(struct supervisor *sup);
/* May somebody still come back under that id? ERR_UNREADY. */
int sweep_check(const struct supervisor *sup, const char *id, struct err *err);

#endif
