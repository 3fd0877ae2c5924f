/*
 * zygote - a process that is forked for each worker
 *
 * It holds no descriptor but its channel, and never sees a restore. A child of the supervisor's own
 * would have copies of all that the supervisor holds, until it executes: also of what other
 * processes chose, whose last close may hang. Workers are children of the supervisor all the same
 * (CLONE_PARENT), and execute the program anew (main.c).
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
