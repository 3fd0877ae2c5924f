/*
 * recover - a restore goes on after the death of its worker
 *
 * A successor gets our duplicate of the uffd, the page map, and from the holder the files; it
 * wakes every region. The facts are gathered once, plan.h says what follows, and it is done.
 * Where nobody can go on the restore fails, by its on_failure; it is never forgotten.
 */
#ifndef UFFDD_RECOVER_H
#define UFFDD_RECOVER_H

#include "daemon/restore.h"
#include "daemon/plan.h"

/* The worker of @r has died (r->worker is NULL). @counted: nobody had wanted it. */
void recover_worker(struct restore *r, const char *how, bool counted);
/* The successor is at work. */
void recover_done(struct restore *r);
/* End the worker and go on with a new one (of the release on disk when we started). */
int recover_replace(struct restore *r, struct err *err);

/*
 * For adopt.c.
 *   is_over    is its VMM gone? Whoever has the uffd can tell, so @worker (a pidfd, or -1) is
 *              asked; where nobody has it, that who connected is not there any more tells
 *   has_begun  has there been a VMM? Then nothing may be begun anew
 *   act        do what the plan says; @how: of the worker's end, @why: nothing was found
 */
bool recover_is_over(const struct restore *r, int worker);
bool recover_has_begun(const struct restore *r);
void recover_act(struct restore *r, enum plan plan, const char *how, const struct err *why);

#endif
