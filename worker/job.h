/*
 * job - the one restore a worker lives for, from assignment to its end
 *
 *   idle ──ASSIGN──► loading ──READY──► waiting ──CONNECTED──► serving ──► done
 *                       │                  │                      │
 *                       └────── FAILED ────┴──────────────────────┘ (goes on, see loop.h)
 */
#ifndef UFFDD_JOB_H
#define UFFDD_JOB_H

/*
 * job_run - say hello on @chan (owned from here on), wait for an assignment, do it
 *
 * Returns when there is nothing left to do: the VMM ended, the guest was
 * released, nobody came, or the supervisor went away before a VMM was there.
 */
void job_run(int chan);

#endif
