/*
 * serve - a VMM is there: begin with it, or go on where a predecessor stopped
 */
#ifndef UFFDD_SERVE_H
#define UFFDD_SERVE_H

#include "worker/job_state.h"
#include "worker/peers.h"

/*
 * serve_vmm - serve a new VMM to its end
 * @vmm: stays the caller's; its uffd is taken
 * @regions: from the handshake; checked and sorted here
 *
 * Returns 0, or -1 with the reason why the VMM was not served: its handshake is wrong, or the
 * system refused.
 */
int serve_vmm(struct job *j, struct peer *vmm, struct regions *regions, struct err *err);
/*
 * Serves the guest of j->uffd, j->vmm and j->map, taken over from a predecessor, to its end.
 * Returns 0, or -1 with the reason why it cannot be taken over.
 */
int serve_on(struct job *j, struct err *err);

#endif
