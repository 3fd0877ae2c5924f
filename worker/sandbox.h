/*
 * sandbox - what a worker gives up, and when
 *
 *   forked by the supervisor
 *     │ sandbox_become()  takes on uid, gid, groups of the caller: from here on the
 *     │                  kernel checks every path as if the caller opened it
 *     │ sandbox_begin()   no new privileges, no core, not traceable, and only the
 *     │                  system calls of loading and serving
 *     │   … the snapshot is opened and parsed …
 *     │ sandbox_finish()  no capability is left, and nothing can be opened any more
 *     ▼
 *
 * Each returns 0, or -1 with ERR_SYSTEM.
 */
#ifndef UFFDD_SANDBOX_H
#define UFFDD_SANDBOX_H

#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"

int sandbox_become(uid_t uid, gid_t gid, const gid_t *groups, size_t ngroups, struct err *err);
int sandbox_begin(struct err *err);
int sandbox_finish(struct err *err);
/* For a holder, which only keeps files open: begin and finish at once, with fewer system calls. */
int sandbox_holder(struct err *err);

#endif
