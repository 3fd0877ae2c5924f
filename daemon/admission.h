/*
 * admission - may a restore be created: this request, for this tenant, and on this host now
 *
 * Looks only; nothing is reserved. Never blocks, but for a statvfs() of the run directory.
 */
#ifndef UFFDD_ADMISSION_H
#define UFFDD_ADMISSION_H

#include "daemon/capacity.h"

/*
 * Is @spec one that @peer may ask for on this host? Names the default socket, of the restore with
 * @key, where the request names none. 0, or -1 with ERR_DENIED or ERR_INVALID.
 */
int admission_request(const struct host *host, const char *key, struct spec *spec,
		      const struct sock_peer *peer, struct err *err);
/* May there be one more restore of @tenant? 0, or -1 with ERR_QUOTA. O(restores). */
int admission_quota(const struct host *host, const struct table *table, const char *tenant,
		    struct err *err);
/* What is left of the budgets of @tenant. O(restores). */
void admission_left(const struct host *host, const struct table *table, const char *tenant,
		    struct budgets *ret);
/*
 * Could a restore be created now, whoever asks? 0, or -1 with ERR_UNREADY and the first thing that
 * is missing: the store, workers, restores, descriptors, or space in the run directory.
 */
int admission_ready(const struct host *host, const struct table *table,
		    const struct capacity *capacity, struct err *err);

#endif
