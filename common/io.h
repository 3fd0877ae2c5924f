/*
 * io - all of the bytes or an error, and descriptors beside a message
 *
 * Interrupted calls are made again. Errors are errno's, so that each caller says in its
 * own words what could not be done.
 */
#ifndef UFFDD_IO_H
#define UFFDD_IO_H

#include <sys/socket.h>
#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"

/*
 * io_read_at - the bytes of a file from @off on
 *
 * Returns how many were read. Where that is less than @len, errno tells why; 0: the file
 * ends there.
 */
size_t io_read_at(int fd, void *buf, size_t len, uint64_t off);
/* 0, or -1 and errno: then any part may be written. */
int io_write_all(int fd, const void *bytes, size_t len);

/* A memfd of these bytes that nobody can change or cut any more; owned by the caller. */
int io_sealed(const char *name, const void *bytes, size_t len, int *ret_fd, struct err *err);

#define IO_FDS_MAX 253 /* as many as the kernel takes in one message */

/*
 * io_send - sendmsg() of @hdr, and of @fds by SCM_RIGHTS
 * @hdr: without control data, before and after
 * @nfds: 0 to IO_FDS_MAX; the descriptors stay the caller's
 */
ssize_t io_send(int sock, struct msghdr *hdr, const int *fds, size_t nfds, int flags);
/*
 * io_take_fds - the descriptors that came with a message of recvmsg()
 * @fds: room for @max; owned by the caller from then on. What does not fit is closed.
 * @ret_all: false where some did not fit, or were lost since the kernel had no room for them
 *
 * Returns how many are in @fds.
 */
size_t io_take_fds(struct msghdr *hdr, int *fds, size_t max, bool *ret_all);

#endif
