/*
 * serve - a VMM is there: begin with it, or go on where a predecessor stopped
 */
#ifndef UFFDD_SERVE_H
#define UFFDD_SERVE_H

#include "worker/job.h"
#include "worker/listener.h"

/* A new VMM; @vmm stays the caller's, its uffd is taken. Returns at its end. */
void serve_vmm(struct job *j, struct listener_peer *vmm, struct regions *regions);
/* It handed something over that is wrong: fail, and outlive it. */
void serve_refuse(struct job *j, struct listener_peer *vmm, struct err *err);
/* Take over the guest of j->uffd, j->vmm and j->map. */
void serve_on(struct job *j);

#endif
