#include "worker/wait.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>

int wait_open(struct wait *w, struct err *err)
{
	for (unsigned i = 0; i < WAIT_MAX; i++)
		w->fds[i] = -1;
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	return w->epoll < 0 ? err_sys(err, "cannot wait for several descriptors") : 0;
}

void wait_close(struct wait *w)
{
	close_fd(&w->epoll);
}

int wait_set(struct wait *w, unsigned which, int fd, struct err *err)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = which};

	/* A closed descriptor has left the epoll set by itself; then this fails. */
	if (w->fds[which] >= 0)
		epoll_ctl(w->epoll, EPOLL_CTL_DEL, w->fds[which], NULL);
	w->fds[which] = -1;
	if (fd < 0)
		return 0;
	if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &ev))
		return err_sys(err, "cannot wait for descriptor %d", fd);
	w->fds[which] = fd;
	return 0;
}

/* epoll counts in milliseconds; shorter waits are a ppoll() of the epoll descriptor. */
static int timeout_ms(const struct wait *w, uint64_t us)
{
	struct pollfd p = {.fd = w->epoll, .events = POLLIN};
	struct timespec ts = {.tv_nsec = (long)us * 1000};

	if (us == WAIT_NEVER)
		return -1;
	if (us >= 1000)
		return (int)min_u64(us / 1000, INT_MAX);
	if (us)
		ppoll(&p, 1, &ts, NULL);
	return 0;
}

unsigned wait_sleep(struct wait *w, uint64_t us)
{
	struct epoll_event ev[WAIT_MAX];
	int n = epoll_wait(w->epoll, ev, WAIT_MAX, timeout_ms(w, us));
	unsigned ready = 0;

	for (int i = 0; i < n; i++)
		ready |= 1u << ev[i].data.u32;
	return ready;
}
