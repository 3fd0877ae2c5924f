/*
 * uffd_recover - the userfaultfd of a VMM, when neither supervisor nor worker holds it
 *
 * A VMM may have several, also for other purposes. The right one is the one that the page map's
 * pages are registered with. That is certain only as far as can be told: the VMM may have unmapped
 * or replaced some of them by now.
 */
#ifndef UFFDD_UFFD_RECOVER_H
#define UFFDD_UFFD_RECOVER_H

#include <sys/types.h>

#include "common/pagemap.h"
#include "common/uffd.h"

/*
 * uffd_recover_uffd - takes a duplicate out of the VMM itself
 * @vmm: pidfd of the process @pid; borrowed
 * @map_fd, @view: the page map, connected; borrowed
 * @ret_uffd: owned by the caller
 *
 * Needs the right to trace the VMM (CAP_SYS_PTRACE, or the same user and a tracing policy that
 * allows it). Returns 0, or -1 with ERR_DENIED or ERR_SYSTEM that says what was not possible.
 * err->sys is ESRCH when the VMM has none of the regions any more: it is ending, or its main thread
 * alone has ended.
 */
int uffd_recover_uffd(int vmm, pid_t pid, int map_fd, const struct pagemap_view *view,
		      int *ret_uffd, struct err *err);
/*
 * uffd_recover_owner - finds the process whose memory @uffd serves
 * @uffd: of the restore whose regions are @r
 *
 * Looks among all processes for one that holds this very userfaultfd and has the regions
 * registered. Returns its pidfd, owned by the caller, and its *ret_pid; or -1: none that may be
 * looked into.
 */
int uffd_recover_owner(int uffd, const struct regions *r, pid_t *ret_pid);
/* Does the process @pid hold this very userfaultfd? False for ourselves. @pidfd: borrowed */
bool uffd_recover_holds(int pidfd, pid_t pid, int uffd);
/* Is it certain that the regions are not in process @pid, because it has nothing mapped there? */
bool uffd_recover_is_other(pid_t pid, const struct regions *r);
/*
 * uffd_recover_life - does the address space live of the guest that worker @pid serves?
 * @pidfd: of that worker; borrowed
 *
 * UF_BUSY also when the worker may not be looked into, or has no userfaultfd.
 */
enum uf_life uffd_recover_life(int pidfd, pid_t pid);
/*
 * Takes the uffd out of the handshake that the VMM has sent on @sock; the message stays there to be
 * read. *ret_uffd is owned by the caller. -1 with ERR_PEER: none is in it, or not the right one.
 */
int uffd_recover_sent(int sock, int map_fd, const struct pagemap_view *view, int *ret_uffd,
		      struct err *err);

#endif
