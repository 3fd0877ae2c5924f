/*
 * load - from the assignment to a snapshot that can be served
 *
 * On the way the worker becomes its caller and is locked in (sandbox.h). Everything is
 * checked here: afterwards a page can fail only because a file changed or cannot be read.
 */
#ifndef UFFDD_LOAD_H
#define UFFDD_LOAD_H

#include "worker/job_state.h"

/* Of a job in JOB_LOADING. -1: err says why it cannot be served. */
int load(struct job *j, struct err *err);

#endif
