/*
 * limits - the cgroups of a VMM, for its worker
 *
 * When the VMM comes, its worker can open no path any more. So the supervisor opens the files that
 * say how much memory the VMM may have, and sends them (CGROUPS) when the worker asks for a lease.
 * Every worker that is new, or new to this supervisor, asks, and prefetches only after that. A
 * worker on huge pages also needs them to know whether its guest can be released.
 */
#ifndef UFFDD_LIMITS_H
#define UFFDD_LIMITS_H

#include "daemon/restore.h"

/*
 * Sends CGROUPS to the worker of @r, which must be there; at most once a second. 0, or -1 after
 * logging: not sent, so the worker must not prefetch.
 */
int limits_send(struct restore *r);

#endif
