/*
 * events - the verb that prints what happens, line by line
 */
#ifndef UFFDD_EVENTS_H
#define UFFDD_EVENTS_H

#include "ctl/ctl.h"

extern const struct args_option events_options[];

int events_run(struct ctl *ctl);

#endif
