/*
 * recover - a restore goes on after the death of its worker
 *
 * A successor gets the supervisor's duplicate of the uffd, the page map, and the files from the
 * holder; it wakes every region. The facts are gathered once, plan.h says what follows from them,
 * and recover_act() does it. Where no successor can go on, the restore fails by its on_failure; it
 * is never dropped silently.
 */
#ifndef UFFDD_RECOVER_H
#define UFFDD_RECOVER_H

#include "daemon/restore.h"
#include "daemon/plan.h"

/*
 * The worker of @r has died (r->worker is NULL): act on it. @how: its end, in words. @counted: the
 * death was not wanted, and counts against worker_restarts. May end or fail @r; does not free it.
 */
void recover_worker(struct restore *r, const char *how, bool counted);
/* The successor has loaded: RECOVERING becomes SERVING, and a pending stop is carried out. */
void recover_done(struct restore *r);
/*
 * Kills the worker; a new one takes over once the worker has exited. The new worker is of the
 * release that was on disk when this supervisor started. 0, or -1 with ERR_STATE (no worker is
 * there that serves or loads), or the error of the kill.
 */
int recover_replace(struct restore *r, struct err *err);

/*
 * For adopt.c.
 *   is_over    has the VMM ended? Our uffd or the VMM's pidfd tells; without them the uffd of the
 *              worker behind @worker, a pidfd or -1. Without that, true if a VMM was known
 *   has_begun  has a VMM connected? Then nothing may be begun anew
 *   act        does what the plan says; @how: the worker's end, in words; @why: what is missing,
 *              read by PLAN_FAIL_MAP and PLAN_FAIL_UFFD only
 */
bool recover_is_over(const struct restore *r, int worker);
bool recover_has_begun(const struct restore *r);
void recover_act(struct restore *r, enum plan plan, const char *how, const struct err *why);

#endif
