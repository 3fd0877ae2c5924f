/*
 * descriptors - how many this process has, how many it may have, and how many are set aside
 *
 * No guest may suffer when descriptors run short. So each restore has its share from its creation
 * on (capacity.h), and some are set aside for everything else: a worker's message may bring
 * CHAN_FDS_MAX at once, visitors come to workers.sock, and files are opened now and then.
 */
#ifndef UFFDD_DESCRIPTORS_H
#define UFFDD_DESCRIPTORS_H

#include "common/base.h"
#include "common/err.h"

/* Of a restore: channel and pidfd of its worker, a duplicate of the uffd, the VMM's pidfd. */
#define DESCRIPTORS_PER_RESTORE 4
#define DESCRIPTORS_ASIDE 64
/* With a lower limit the daemon does not start. */
#define DESCRIPTORS_MIN 128

/*
 * Raises the soft limit of open files to the hard one. -1 with ERR_SYSTEM that names the cure: the
 * limit is too low, or cannot be raised.
 */
int descriptors_raise(struct err *err);
/* The limit of open files now. */
uint64_t descriptors_limit(void);
/* Descriptors that are open now. */
uint64_t descriptors_used(void);
/* Control connections that may be open: @wanted, but at most a sixteenth of the limit. */
uint64_t descriptors_for_http(uint64_t wanted);

#endif
