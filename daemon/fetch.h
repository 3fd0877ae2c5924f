/*
 * fetch - the userfaultfd of a VMM when nobody of ours holds it any more
 *
 * A VMM may have several, for other things as well. Ours is the one that the pages of
 * the page map are registered with, as far as one can tell: the VMM may have unmapped or
 * replaced some of them by now.
 */
#ifndef UFFDD_FETCH_H
#define UFFDD_FETCH_H

#include <sys/types.h>

#include "common/pagemap.h"

/*
 * fetch_uffd - out of the VMM itself
 * @vmm: pidfd of the process @pid
 * @map_fd, @view: its page map, connected
 *
 * Needs the right to trace the VMM (CAP_SYS_PTRACE, or the same user and a tracing policy
 * that allows it). Returns 0, or -1 with ERR_DENIED or ERR_SYSTEM that says what was not
 * possible.
 */
int fetch_uffd(int vmm, pid_t pid, int map_fd, const struct pagemap_view *view, int *ret_uffd,
	       struct err *err);
/* Out of the message that it has sent on @sock, which stays there. */
int fetch_sent(int sock, int map_fd, const struct pagemap_view *view, int *ret_uffd,
	       struct err *err);

#endif
