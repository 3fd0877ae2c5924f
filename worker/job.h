/*
 * job - the life of a worker: load, wait for the VMM, serve, leave
 */
#ifndef UFFDD_JOB_H
#define UFFDD_JOB_H

/*
 * job_run - say hello on @chan, wait for an assignment, do it
 * @holder: of holder_start(); both are owned from here on
 *
 * Returns when there is nothing left to do: the VMM ended, the guest was
 * released, or nobody came.
 */
void job_run(int chan, int holder);

#endif
