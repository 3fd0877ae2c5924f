/*
 * conversation - what the worker of a restore says, whether it may, and what becomes of it
 *
 * It has parsed a tenant's files, so nothing is believed that cannot be: each message
 * has the phases in which it is lawful, a price, and fields that are checked before
 * anything is done. At its first lie a worker is killed and no longer heard. That counts as its
 * death (recover.h); a create fails.
 */
#ifndef UFFDD_CONVERSATION_H
#define UFFDD_CONVERSATION_H

#include "daemon/restore.h"

/* Of the worker of a restore (@arg), which may be gone afterwards. */
extern const struct worker_hooks conversation_worker_hooks;

#endif
