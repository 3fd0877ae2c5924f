/*
 * job - the life of a worker: load, wait for the VMM, serve, leave
 */
#ifndef UFFDD_JOB_H
#define UFFDD_JOB_H

/*
 * job_run - say hello on @chan, wait for an assignment, do it
 * @chan, @holder: taken over; @holder is from holder_start()
 *
 * Returns when there is nothing left to do: the VMM has ended, the guest was released, no VMM came,
 * or the restore failed.
 */
void job_run(int chan, int holder);

#endif
