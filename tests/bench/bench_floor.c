#include "tests/bench/bench_floor.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/handshake.h"
#include "common/sock.h"

/* Calls the kernel itself: what the house adds to these calls is what is measured. */
static int copy(int uffd, const struct region *r, const uint8_t *image, uint64_t at, uint64_t len)
{
	struct uffdio_copy c = {
		.dst = at,
		.src = (uintptr_t)image + (at - r->base) + r->offset,
		.len = len,
	};

	return ioctl(uffd, UFFDIO_COPY, &c);
}

static void serve_faults(int uffd, const struct regions *regions, const uint8_t *image)
{
	struct pollfd p = {.fd = uffd, .events = POLLIN};

	for (;;) {
		struct uffd_msg msg;

		poll(&p, 1, -1);
		if (read(uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		copy(uffd, &regions->v[0], image,
		     align_down(msg.arg.pagefault.address, regions->page_bytes),
		     regions->page_bytes);
	}
}

static void copy_all(int uffd, int vmm, const struct regions *regions, const uint8_t *image)
{
	const struct region *r = &regions->v[0];
	uint64_t step = max_u64(BENCH_FLOOR_BULK_BYTES, regions->page_bytes);

	for (uint64_t off = 0; off < r->size; off += step)
		if (copy(uffd, r, image, r->base + off, min_u64(step, r->size - off)))
			_exit(1);
	if (write(vmm, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static _Noreturn void run(int listener, const uint8_t *image, bool bulk)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};
	struct regions regions;
	struct handshake hs;
	struct err err;

	poll(&p, 1, -1);
	if (handshake_init(&hs, accept(listener, NULL, NULL), &err))
		_exit(1);
	p.fd = hs.sock;
	do
		poll(&p, 1, -1);
	while (handshake_read(&hs, &regions, &err) == HANDSHAKE_MORE);
	if (hs.nfds != 1 || regions.n != 1)
		_exit(1);
	if (bulk)
		copy_all(hs.fds[0], hs.sock, &regions, image);
	else
		serve_faults(hs.fds[0], &regions, image);
	_exit(0);
}

/* NULL: it cannot be read. */
static const uint8_t *map_image(const char *path)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *map;

	if (fd < 0 || fstat(fd, &st))
		return NULL;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	return map == MAP_FAILED ? NULL : map;
}

int bench_floor_start(const char *image, const char *socket, bool bulk, pid_t *ret_pid,
		      struct err *err)
{
	pid_t parent = getpid(), pid;
	cleanup_fd int listener = -1;

	if (sock_listen(socket, SOCK_STREAM, sock_mode(0600), &listener, err))
		return -1;
	pid = fork();
	if (pid < 0)
		return err_sys(err, "cannot fork the floor");
	if (pid == 0) {
		const uint8_t *bytes = map_image(image);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent || !bytes)
			_exit(1);
		run(listener, bytes, bulk);
	}
	*ret_pid = pid;
	return 0;
}

void bench_floor_end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
