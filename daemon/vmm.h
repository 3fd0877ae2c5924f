/*
 * vmm - the process whose memory a restore serves: its end, and killing it
 *
 * The VMM is known by the process that handed the userfaultfd over, which usually is the VMM
 * itself. If that process ends and the address space lives on, the process that has the memory is
 * looked for. Until it is found the VMM has no process (rec.vmm_pid 0): the restore is still served
 * and still checked for its end, but nothing can be killed.
 */
#ifndef UFFDD_VMM_H
#define UFFDD_VMM_H

#include "daemon/restore.h"

/*
 * vmm_may_be - may the process behind @pidfd be the VMM of @r with this @pid?
 * @uffd: that the worker handed over as well, or -1
 *
 * Since we kill it in the end and a worker is not trusted, it must have connected to us, or be a
 * process that the worker's user might kill anyway: the restore's caller. For root's worker, which
 * is not root, it must hold @uffd instead. True also if it has ended.
 */
bool vmm_may_be(const struct restore *r, int pidfd, uint32_t pid, int uffd);
/*
 * The same for what a worker has said; false: a lie. Where root's worker need not lie, but nothing
 * shows that it does not, @pidfd is closed: the process is not known then.
 */
bool vmm_check(const struct restore *r, int *pidfd, uint32_t pid, int uffd);
/*
 * Watches for the VMM's end. @pidfd is taken, unless @r has one already. *pidfd -1: the process
 * that handed the userfaultfd over has ended; then the uffd is asked at intervals.
 */
void vmm_watch(struct restore *r, int *pidfd);
/* Has the VMM ended, as far as uffd and pidfd tell? False without either. */
bool vmm_has_ended(const struct restore *r);
/*
 * Sends SIGKILL; 0 also when the VMM has ended. -1 with ERR_NOTFOUND: the process that has the
 * memory is not known; or why the kill failed.
 */
int vmm_kill(struct restore *r, struct err *err);
/*
 * vmm_end: kills the VMM of a restore that has failed, if there is one. vmm_kill_failed: logs and
 * publishes why a VMM could not be killed.
 */
void vmm_end(struct restore *r);
void vmm_kill_failed(struct restore *r, const struct err *why);

#endif
