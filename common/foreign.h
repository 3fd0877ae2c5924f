/*
 * foreign - descriptors that another process chose: what they are, and who closes them
 *
 * Such a descriptor may be of a file whose file system is served by that very process. Then
 * fstat(), poll(), ioctl() and close() wait for as long as that process likes.
 */
#ifndef UFFDD_FOREIGN_H
#define UFFDD_FOREIGN_H

#include "common/base.h"

enum foreign_kind {
	FOREIGN_ANY,
	FOREIGN_UFFD,        /* a userfaultfd */
	FOREIGN_PIDFD,       /* a pidfd of a process */
	FOREIGN_UNIX_SOCKET, /* of any type and state */
	FOREIGN_MEMORY,      /* a memfd, or a file of tmpfs: this kernel has its pages */
};

/* Is @fd open, and of that kind? This kernel alone answers: never blocks. */
bool foreign_is(int fd, enum foreign_kind kind);
/* Is the descriptor at @name in @dirfd, a directory such as /proc/PID/fd, a userfaultfd? */
bool foreign_names_uffd(int dirfd, const char *name);

/* Takes *@fd and sets it to -1. Does nothing if it is negative. */
void foreign_close(int *fd);
/*
 * foreign_close_by - who closes from now on; at first it is close_fd()
 *
 * For a process that must not wait (daemon/closer.h).
 */
void foreign_close_by(void (*how)(int *fd));

#endif
