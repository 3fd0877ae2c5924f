/*
 * conversation - the messages of a restore's worker: which are lawful, and what each does
 *
 * A worker has parsed a tenant's files, so its messages are not trusted. Each message has the
 * phases in which it is lawful, a price, and fields that are checked before anything is done. At
 * its first lie the worker is killed and no longer heard. That counts as its death (recover.h);
 * while it was creating the restore, the create fails.
 */
#ifndef UFFDD_CONVERSATION_H
#define UFFDD_CONVERSATION_H

#include "daemon/restore.h"

/* The hooks of every restore's worker; their @arg is the restore. They may free that restore. */
extern const struct worker_hooks conversation_worker_hooks;

#endif
