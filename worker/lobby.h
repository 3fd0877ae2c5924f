/*
 * lobby - a restore waits for its VMM
 */
#ifndef UFFDD_LOBBY_H
#define UFFDD_LOBBY_H

#include "worker/job.h"

/*
 * lobby_run - until a VMM was served to its end, or nobody came
 *
 * Without a supervisor it waits on: the VMM may come before the next one does.
 */
void lobby_run(struct job *j);

#endif
