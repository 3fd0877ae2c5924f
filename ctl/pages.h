/*
 * pages - the verb that prints the state of every page, as runs
 */
#ifndef UFFDD_PAGES_H
#define UFFDD_PAGES_H

#include "ctl/ctl.h"

int pages_run(struct ctl *ctl);

#endif
