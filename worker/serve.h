/*
 * serve - a VMM is there: begin with it, or go on where a predecessor stopped
 */
#ifndef UFFDD_SERVE_H
#define UFFDD_SERVE_H

#include "worker/job_state.h"
#include "worker/peers.h"

/*
 * serve_vmm - a new VMM, to its end
 * @vmm: stays the caller's, its uffd is taken
 *
 * -1: nothing is served, and err says what is wrong with what it handed over.
 */
int serve_vmm(struct job *j, struct peer *vmm, struct regions *regions, struct err *err);
/* The guest of j->uffd, j->vmm and j->map, to its end. -1: it cannot be taken over. */
int serve_on(struct job *j, struct err *err);

#endif
