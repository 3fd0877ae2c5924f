/*
 * commands - what a caller of the API may ask of a restore: stop, prefetch, pause, resume
 *
 * Each returns 0, or -1 with the error; the change is stored and published. None frees @r.
 */
#ifndef UFFDD_COMMANDS_H
#define UFFDD_COMMANDS_H

#include "daemon/restore.h"

/*
 * commands_stop - ends the restore
 * @grace_ms: how long the VMM may take to end by itself first
 * @kill: kill the VMM, at once
 *
 * A waiting restore ends at once. A guest that has all its pages is released. A guest that still
 * needs pages cannot be left alone: on_failure decides (kill: kill the VMM, poison: poison the
 * missing pages, hold: ERR_STATE, or after a grace the event "stop-refused"). Usually the restore
 * ends later than this returns. Idempotent.
 * ERR_PAUSED while paused, unless @kill; ERR_UNREADY while the row waits for descriptors.
 */
int commands_stop(struct restore *r, uint64_t grace_ms, bool kill, struct err *err);
/* Goes on with a stop, if one is pending: after a death of the worker or the supervisor. */
void commands_resume_stop(struct restore *r);

/* @want: checked by the caller. ERR_PAUSED, ERR_STATE (also without a worker), or ERR_UNREADY. */
int commands_prefetch(struct restore *r, const struct chan_prefetch *want, struct err *err);
/* For a serving restore (else ERR_STATE). It is paused once the worker says PAUSED. Idempotent. */
int commands_pause(struct restore *r, struct err *err);
int commands_resume(struct restore *r, struct err *err);

#endif
