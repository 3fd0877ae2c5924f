/*
 * commands - what the API may want of a restore at work
 */
#ifndef UFFDD_COMMANDS_H
#define UFFDD_COMMANDS_H

#include "daemon/restore.h"

/*
 * commands_stop - end the restore
 * @grace_ms: how long the VMM may take to end by itself first
 * @kill: the VMM ends with it
 *
 * A guest that still needs pages cannot be left: then on_failure decides (kill
 * it, or poison what is missing), and hold refuses: ERR_STATE. Idempotent.
 */
int commands_stop(struct restore *r, uint64_t grace_ms, bool kill, struct err *err);
/* A stop that was asked for before somebody died: its worker is there again, or we are. */
void commands_resume_stop(struct restore *r);

/* -1 with ERR_PAUSED or ERR_STATE. */
int commands_prefetch(struct restore *r, const struct chan_prefetch *want, struct err *err);
int commands_pause(struct restore *r, struct err *err);
int commands_resume(struct restore *r, struct err *err);

#endif
