/*
 * zygote - a process that has been executed once and is forked for each worker
 *
 * Executing and linking a program costs many times a fork of so small a process. The zygote can
 * only fork: it holds no descriptor but its channel, and never sees a restore, so that every worker
 * begins as if it had just been executed. Workers are children of the supervisor all the same
 * (CLONE_PARENT).
 *
 *   supervisor ──FORK (a worker's channel)──► zygote ──fork──► worker
 *              ◄──FORKED (pid, pidfd)────────
 */
#ifndef UFFDD_ZYGOTE_H
#define UFFDD_ZYGOTE_H

/*
 * zygote_run - fork workers until @chan, the supervisor's, is closed
 *
 * Returns in each worker, with the worker's own channel at the same number. Does not return in the
 * zygote.
 */
void zygote_run(int chan);

#endif
