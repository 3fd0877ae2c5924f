/*
 * sandbox - what a worker gives up, and when
 *
 *   executed by the supervisor
 *     │ sandbox_begin()   no new privileges, no core, not traceable, and only the system
 *     │                  calls of opening and of what comes later
 *   … idle, until ASSIGN …
 *     │ sandbox_become()  takes on uid, gid, groups of the caller: from here on the
 *     │                  kernel checks every path as if the caller opened it
 *   … all files are opened, none is read …
 *     │ sandbox_close()   never uid 0, no capability, nothing can be opened
 *   … the snapshot is parsed …
 *     │ sandbox_finish()  no file can be written that is larger than it must be
 *     ▼
 *
 * Each returns 0, or -1 with ERR_SYSTEM. A call that is not allowed fails with EPERM; one of
 * another architecture ends the process. Sanitizers make calls, and open files, of their own:
 * a build with them has neither filter nor Landlock.
 */
#ifndef UFFDD_SANDBOX_H
#define UFFDD_SANDBOX_H

#include <sys/types.h>

#include "common/err.h"
#include "worker/calls.h"

/* Lists that end with NULL. Each phase may also make the calls of those after it. */
struct sandbox_calls {
	const struct calls *const *opening, *const *loading, *const *serving;
	const struct calls *removing; /* while a path is to be removed, in every phase */
};

/* What sandbox_close() leaves. */
struct sandbox_rest {
	bool leave; /* the uid: a caller who is root is not served as root */
	uid_t uid;  /* with @leave: who the worker is from now on, without groups */
	gid_t gid;
	const char *removable; /* files in this directory may be removed; NULL: none */
	uint64_t file_bytes;   /* the largest file that the worker writes; 0: no bound */
};

int sandbox_begin(const struct sandbox_calls *calls, struct err *err);
int sandbox_become(uid_t uid, gid_t gid, const gid_t *groups, size_t ngroups, struct err *err);
int sandbox_close(const struct sandbox_calls *calls, const struct sandbox_rest *rest,
		  struct err *err);
/* @file_bytes: the largest file that the worker still writes */
int sandbox_finish(const struct sandbox_calls *calls, uint64_t file_bytes, struct err *err);
/* For a holder, which only keeps files open: all at once, and only @calls are left. */
int sandbox_holder(const struct calls *calls, struct err *err);

#endif
