/*
 * limits - the cgroups of a VMM, for its worker
 *
 * A worker has no path left when its VMM comes, so the supervisor opens what says how
 * much memory the VMM may have. It does so when the worker asks for a lease: whoever is new, a
 * successor, or came back to another supervisor asks, and prefetches only after that. A worker
 * on huge pages also needs it to know whether its guest can be left alone.
 */
#ifndef UFFDD_LIMITS_H
#define UFFDD_LIMITS_H

#include "daemon/restore.h"

/* Unless it was told a moment ago. -1: it could not be told now, and must not prefetch. */
int limits_send(struct restore *r);

#endif
