#include "common/io.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

size_t io_read_at(int fd, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = 0;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return done;
}

int io_write_all(int fd, const void *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)bytes + done, len - done);

		if (n < 0 && errno != EINTR)
			return -1;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int io_sealed(const char *name, const void *bytes, size_t len, int *ret_fd, struct err *err)
{
	cleanup_fd int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return err_sys(err, "create a memfd");
	if (io_write_all(fd, bytes, len))
		return err_sys(err, "write the %s", name);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL))
		return err_sys(err, "seal the %s", name);
	*ret_fd = steal_fd(&fd);
	return 0;
}

ssize_t io_send(int sock, struct msghdr *hdr, const int *fds, size_t nfds, int flags)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int) * IO_FDS_MAX)];
	} control;
	ssize_t n;

	assert(nfds <= IO_FDS_MAX);
	if (nfds) {
		memset(&control, 0, CMSG_SPACE(sizeof(int) * nfds));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(&control.head), fds, sizeof(int) * nfds);
		hdr->msg_control = &control;
		hdr->msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
	}
	do
		n = sendmsg(sock, hdr, flags);
	while (n < 0 && errno == EINTR);
	hdr->msg_control = NULL;
	hdr->msg_controllen = 0;
	return n;
}

size_t io_take_fds(struct msghdr *hdr, int *fds, size_t max, bool *ret_all)
{
	size_t n = 0;

	*ret_all = !(hdr->msg_flags & MSG_CTRUNC);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (n < max) {
				fds[n++] = fd;
				continue;
			}
			close(fd);
			*ret_all = false;
		}
	}
	return n;
}
