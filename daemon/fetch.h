/*
 * fetch - the userfaultfd of a VMM, out of the VMM itself
 *
 * For the case that all others who held it are dead. Needs the right to trace the
 * VMM (CAP_SYS_PTRACE, or the same user and a tracing policy that allows it).
 */
#ifndef UFFDD_FETCH_H
#define UFFDD_FETCH_H

#include <sys/types.h>

#include "common/region.h"

/*
 * @vmm: pidfd of the process @pid; @regions: what must be registered with it
 *
 * Returns 0, or -1 with ERR_DENIED or ERR_SYSTEM that says what was not possible.
 */
int fetch_uffd(int vmm, pid_t pid, const struct regions *regions, int *ret_uffd, struct err *err);

#endif
