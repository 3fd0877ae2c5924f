#include "tests/support/vmmside.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/io.h"

/* Kernel headers older than 6.1. */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

/* Kernel headers older than 6.7. */
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

#define DEVICE "/dev/userfaultfd"

/* ---- the userfaultfd ---- */

static int open_any(void)
{
	cleanup_fd int device = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (device >= 0) {
		int fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);

		if (fd >= 0)
			return fd;
	}
	return (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
}

static const struct {
	unsigned ours;
	uint64_t kernel;
} features_map[] = {
	{UF_FEATURE_REMOVE, UFFD_FEATURE_EVENT_REMOVE},
	{UF_FEATURE_UNMAP, UFFD_FEATURE_EVENT_UNMAP},
	{UF_FEATURE_REMAP, UFFD_FEATURE_EVENT_REMAP},
	{UF_FEATURE_FORK, UFFD_FEATURE_EVENT_FORK},
	{UF_FEATURE_TRACK, UFFD_FEATURE_WP_ASYNC},
};

int uffd_open(unsigned features, int *ret_fd, struct err *err)
{
	struct uffdio_api api = {.api = UFFD_API};
	cleanup_fd int fd = open_any();

	if (fd < 0)
		return err_sys(err, "no userfaultfd: grant read and write on " DEVICE ", or set "
				    "vm.unprivileged_userfaultfd=1, or give CAP_SYS_PTRACE");
	for (size_t i = 0; i < ARRAY_LEN(features_map); i++)
		if (features & features_map[i].ours)
			api.features |= features_map[i].kernel;
	if (ioctl(fd, UFFDIO_API, &api) < 0)
		return err_sys(err,
			       "this kernel refuses userfaultfd features 0x%" PRIx64
			       " (fork events need CAP_SYS_PTRACE)",
			       (uint64_t)api.features);
	*ret_fd = steal_fd(&fd);
	return 0;
}

int uffd_register_tracked(int uffd, uint64_t start, uint64_t len, struct err *err)
{
	struct uffdio_register arg = {
		.range = {.start = start, .len = len},
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
	};

	if (ioctl(uffd, UFFDIO_REGISTER, &arg) < 0)
		return err_sys(err, "registering 0x%" PRIx64 "+0x%" PRIx64 " for write protection",
			       start, len);
	return 0;
}

/* ---- the message ---- */

static const struct {
	bool size, kib;
	uint64_t kib_unit; /* what page_size_kib counts in; more than a page: it is 0 */
	const char *before, *behind;
} styles[] = {
	[HANDSHAKE_BOTH] = {true, true, 1, "[", "]"},
	[HANDSHAKE_KIB] = {false, true, 1, "[", "]"},
	[HANDSHAKE_SIZE] = {true, false, 1, "[", "]"},
	[HANDSHAKE_NEITHER] = {false, false, 1, "[", "]"},
	[HANDSHAKE_KIB_ZERO] = {true, true, UINT64_MAX, "[", "]"},
	[HANDSHAKE_IN_KIB] = {false, true, 1024, "{\"mappings\":[", "]}"},
};

char *handshake_format(const struct regions *r, enum handshake_style style)
{
	/* Five members of at most 19 characters of name and 20 digits, and their signs. */
	size_t room = r->n * (size_t)256 + 32;
	char *text = xcalloc(1, room);
	size_t len = (size_t)snprintf(text, room, "%s", styles[style].before);

	for (uint32_t i = 0; i < r->n; i++) {
		char size[64] = "", kib[64] = "";

		if (styles[style].size)
			snprintf(size, sizeof(size), ",\"page_size\":%" PRIu64, r->page_bytes);
		if (styles[style].kib)
			snprintf(kib, sizeof(kib), ",\"page_size_kib\":%" PRIu64,
				 r->page_bytes / styles[style].kib_unit);
		len += (size_t)snprintf(text + len, room - len,
					"%s{\"base_host_virt_addr\":%" PRIu64 ",\"size\":%" PRIu64
					",\"offset\":%" PRIu64 "%s%s}",
					i ? "," : "", r->v[i].base, r->v[i].size, r->v[i].offset,
					size, kib);
	}
	snprintf(text + len, room - len, "%s", styles[style].behind);
	return text;
}

int handshake_send(int sock, const char *text, const int *fds, size_t nfds, struct err *err)
{
	size_t left = strlen(text);

	while (left > 0) {
		struct iovec iov = {.iov_base = (char *)(uintptr_t)text, .iov_len = left};
		struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
		ssize_t n = io_send(sock, &msg, fds, nfds, MSG_NOSIGNAL);

		if (n < 0)
			return err_sys(err, "sending the handshake");
		text += n;
		left -= (size_t)n;
		nfds = 0;
	}
	return 0;
}
