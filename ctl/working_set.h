/*
 * working_set - the verb that exports what was recorded
 */
#ifndef UFFDD_WORKING_SET_H
#define UFFDD_WORKING_SET_H

#include "ctl/ctl.h"

/* Writes the file to stdout as it is stored; refuses a terminal. Returns the exit code. */
int working_set_run(struct ctl *ctl);

#endif
