/*
 * descriptors - how many this process has, how many it may have, and what is set aside
 *
 * Nothing that is served may suffer when they run short. So each restore has its share from
 * its creation on (capacity.h), and some are for nobody: a message of a worker may bring
 * CHAN_FDS_MAX at once, visitors come to workers.sock, and a file is opened now and then.
 */
#ifndef UFFDD_DESCRIPTORS_H
#define UFFDD_DESCRIPTORS_H

#include "common/base.h"
#include "common/err.h"

/* Channel and pidfd of its worker, a duplicate of the uffd, the VMM's pidfd. */
#define DESCRIPTORS_PER_RESTORE 4
#define DESCRIPTORS_ASIDE 64
/* With fewer the daemon does not start. */
#define DESCRIPTORS_MIN 128

/* The soft limit becomes the hard one. ERR_SYSTEM that names the cure: too few to run. */
int descriptors_raise(struct err *err);
uint64_t descriptors_limit(void);
uint64_t descriptors_used(void);
/* Control connections, of those that are wanted: a sixteenth of the limit. */
uint64_t descriptors_for_http(uint64_t wanted);

#endif
