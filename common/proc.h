/*
 * proc - processes by identity: pid + start time, which the kernel never repeats
 */
#ifndef UFFDD_PROC_H
#define UFFDD_PROC_H

#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"

/* Field 22 of /proc/PID/stat, clock ticks since boot; 0 if there is no such process. */
uint64_t proc_start_time(pid_t pid);
/* The same of the process @pid behind @pidfd; 0 if it has ended, whoever has its number now. */
uint64_t proc_start_behind(int pidfd, pid_t pid);
/* True once the process behind the pidfd has ended. */
bool proc_ended(int pidfd);
int proc_pidfd(pid_t pid, int *ret_pidfd, struct err *err);
/*
 * The process behind a pidfd that somebody else gave us; 0: it has ended. @ret_real, @ret_saved:
 * its user ids, whose owner may signal it. -1 if it is no pidfd, or cannot be looked at.
 */
int proc_behind(int pidfd, pid_t *ret_pid, uid_t *ret_real, uid_t *ret_saved);
/* SIGKILL through the pidfd; gone already is success. */
int proc_kill(int pidfd, struct err *err);

#endif
