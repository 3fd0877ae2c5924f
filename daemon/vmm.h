/*
 * vmm - the process whose memory a restore serves: its end, and its death by our hand
 *
 * It is known by who handed the userfaultfd over, and usually that is itself. If that process
 * ends and the address space does not, whoever has the memory is looked for. While nobody
 * is found the VMM is without a process (rec.vmm_pid 0): served on, asked after, not killed.
 */
#ifndef UFFDD_VMM_H
#define UFFDD_VMM_H

#include "daemon/restore.h"

/*
 * May the process behind a worker's pidfd be its VMM, of this pid? We kill it in the end, and a
 * worker is not trusted: so it has connected to us, or its caller might kill it anyway.
 */
bool vmm_may_be(const struct restore *r, int pidfd, uint32_t pid);
/*
 * Notice its end. @pidfd is taken over, unless there is one already; -1: who handed the
 * userfaultfd over has ended.
 */
void vmm_watch(struct restore *r, int *pidfd);
/* Has it ended, as far as can be told with what we have? */
bool vmm_has_ended(const struct restore *r);
/* SIGKILL; 0 also when it has ended. -1: ERR_NOTFOUND, nobody is known whose memory it is. */
int vmm_kill(struct restore *r, struct err *err);
/* The same for a restore that has failed; an event says why it cannot be killed. */
void vmm_end(struct restore *r);
void vmm_kill_failed(struct restore *r, const struct err *why);

#endif
