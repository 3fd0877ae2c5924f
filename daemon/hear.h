/*
 * hear - what the worker of a restore says, and what becomes of it
 */
#ifndef UFFDD_HEAR_H
#define UFFDD_HEAR_H

#include "daemon/live.h"

/* @arg: the restore, which may be gone afterwards. @fds: CHAN_FDS_MAX, see struct worker_hooks. */
void hear_message(void *arg, const struct chan_msg *msg, int *fds);

#endif
