/*
 * proc - processes by identity: pid + start time, which the kernel never repeats
 */
#ifndef UFFDD_PROC_H
#define UFFDD_PROC_H

#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"

/*
 * Start time of a process: field 22 of /proc/PID/stat, clock ticks since boot; 0: no such process.
 */
uint64_t proc_start_time(pid_t pid);
/*
 * As above, for process @pid behind @pidfd; 0 if that process has ended, even if @pid is in use
 * again.
 */
uint64_t proc_start_behind(int pidfd, pid_t pid);
/* True once the process behind the pidfd has ended. */
bool proc_ended(int pidfd);
/*
 * @ret_pidfd: owned by the caller. Returns 0, or -1 with ERR_NOTFOUND (no such process) or
 *	ERR_SYSTEM.
 */
int proc_pidfd(pid_t pid, int *ret_pidfd, struct err *err);
/*
 * proc_behind - identify the process behind a pidfd that came from another process
 * @ret_pid: 0 if the process has ended
 * @ret_real, @ret_saved: its user ids (their owner may signal it); untouched if it has ended
 *
 * Returns 0, or -1 if @pidfd is no pidfd, or /proc does not tell.
 */
int proc_behind(int pidfd, pid_t *ret_pid, uid_t *ret_real, uid_t *ret_saved);
/* Sends SIGKILL. Returns 0, also if the process has ended, or -1 with ERR_DENIED or ERR_SYSTEM. */
int proc_kill(int pidfd, struct err *err);

#endif
