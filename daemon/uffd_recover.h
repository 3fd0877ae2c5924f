/*
 * uffd_recover - the userfaultfd of a VMM when nobody of ours holds it any more
 *
 * A VMM may have several, for other things as well. Ours is the one that the pages of
 * the page map are registered with, as far as one can tell: the VMM may have unmapped or
 * replaced some of them by now.
 */
#ifndef UFFDD_UFFD_RECOVER_H
#define UFFDD_UFFD_RECOVER_H

#include <sys/types.h>

#include "common/pagemap.h"
#include "common/uffd.h"

/*
 * uffd_recover_uffd - out of the VMM itself
 * @vmm: pidfd of the process @pid
 * @map_fd, @view: its page map, connected
 *
 * Needs the right to trace the VMM (CAP_SYS_PTRACE, or the same user and a tracing policy
 * that allows it). Returns 0, or -1 with ERR_DENIED or ERR_SYSTEM that says what was not
 * possible; its sys is ESRCH when the VMM has none of the regions any more: it is ending, or
 * its main thread alone has ended.
 */
int uffd_recover_uffd(int vmm, pid_t pid, int map_fd, const struct pagemap_view *view,
		      int *ret_uffd, struct err *err);
/*
 * uffd_recover_owner - the process whose memory @uffd serves
 * @uffd: of the restore whose regions are @r
 *
 * One that holds this very userfaultfd and has the regions registered: looked for among all
 * processes. Returns its pidfd with *ret_pid, or -1 if there is none that can be looked into.
 */
int uffd_recover_owner(int uffd, const struct regions *r, pid_t *ret_pid);
/* Is it certain that the regions are not of that process, since it has nothing there? */
bool uffd_recover_is_other(pid_t pid, const struct regions *r);
/*
 * uffd_recover_life - of the address space of the guest that the worker @pid serves
 * UF_BUSY: it cannot be looked into, or has none.
 */
enum uf_life uffd_recover_life(int pidfd, pid_t pid);
/* Out of the message that it has sent on @sock, which stays there. */
int uffd_recover_sent(int sock, int map_fd, const struct pagemap_view *view, int *ret_uffd,
		      struct err *err);

#endif
