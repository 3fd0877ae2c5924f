/*
 * load - from the assignment to a snapshot that can be served
 *
 * On the way the worker becomes the caller and enters the sandbox (sandbox.h). Everything is
 * checked here: afterwards a page can fail only because a file changed or cannot be read.
 */
#ifndef UFFDD_LOAD_H
#define UFFDD_LOAD_H

#include "worker/job_state.h"

/*
 * Loads what a job in JOB_LOADING was assigned. Returns 0, or -1 with the reason why the snapshot
 * cannot be served.
 */
int load(struct job *j, struct err *err);

#endif
