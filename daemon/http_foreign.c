#include "daemon/http_foreign.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "common/foreign.h"
#include "common/io.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

bool http_foreign_refuse(int listen_fd)
{
	const int off = 0;

	return setsockopt(listen_fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off)) == 0;
}

/*
 * libevent reads a connection by readv(), and has no hook between that and the kernel. So this
 * program has a readv() of its own, which libevent finds first: it has room for descriptors.
 */
ssize_t readv(int fd, const struct iovec *iov, int n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * IO_FDS_MAX)];
	} control;
	struct msghdr hdr = {.msg_iov = (struct iovec *)(uintptr_t)iov,
			     .msg_iovlen = (size_t)n,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t got = recvmsg(fd, &hdr, MSG_CMSG_CLOEXEC);
	int fds[IO_FDS_MAX];
	size_t nfds;
	bool all;

	if (got < 0)
		return errno == ENOTSOCK ? preadv2(fd, iov, n, -1, 0) : -1;
	nfds = io_take_fds(&hdr, fds, IO_FDS_MAX, &all);
	for (size_t i = 0; i < nfds; i++)
		foreign_close(&fds[i]);
	if (nfds == 0 && all)
		return got;
	errno = ECONNRESET;
	return -1;
}
