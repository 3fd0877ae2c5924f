/*
 * io - all of the bytes or an error, and descriptors beside a message
 *
 * Interrupted calls are repeated. Errors are in errno unless a function takes a struct err, so that
 * the caller says in its own words what failed. All descriptors stay the caller's.
 */
#ifndef UFFDD_IO_H
#define UFFDD_IO_H

#include <sys/socket.h>
#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"

/*
 * io_read_at - read @len bytes of a file from offset @off on
 *
 * Returns the number of bytes read. If that is less than @len, errno says why; errno 0: end of
 * file.
 */
size_t io_read_at(int fd, void *buf, size_t len, uint64_t off);
/* Returns 0, or -1 with errno; then any part may have been written. */
int io_write_all(int fd, const void *bytes, size_t len);

/*
 * io_sealed - make a memfd of these bytes that nobody can change or truncate
 * @name: also for the error text
 * @ret_fd: owned by the caller
 *
 * Returns 0, or -1 with ERR_SYSTEM or ERR_NOSPACE.
 */
int io_sealed(const char *name, const void *bytes, size_t len, int *ret_fd, struct err *err);

#define IO_FDS_MAX 253 /* the kernel's maximum for one message */

/*
 * io_send - sendmsg() of @hdr, with @fds as SCM_RIGHTS
 * @hdr: without control data, before and after the call
 * @fds: @nfds (0 to IO_FDS_MAX) descriptors, which stay the caller's
 *
 * Returns as sendmsg(): bytes, or -1 with errno.
 */
ssize_t io_send(int sock, struct msghdr *hdr, const int *fds, size_t nfds, int flags);
/*
 * io_take_fds - the descriptors that came with a message of recvmsg()
 * @fds: room for @max; owned by the caller. Descriptors that do not fit are closed.
 * @ret_all: false if some did not fit, or the kernel dropped some (MSG_CTRUNC)
 *
 * Returns the number of descriptors in @fds.
 */
size_t io_take_fds(struct msghdr *hdr, int *fds, size_t max, bool *ret_all);

#endif
