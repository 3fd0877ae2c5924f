/*
 * lingerkit - a descriptor whose last close() waits until the test says so
 *
 * A TCP socket with unsent data that lingers. For use inside a Check test.
 */
#ifndef UFFDD_TESTS_LINGERKIT_H
#define UFFDD_TESTS_LINGERKIT_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "common/io.h"
#include "tests/support/runner.h"

/* Longer than any test may take. */
#define LINGER_S 600

struct linger_end {
	int fd;   /* owned; to be given away or closed by who is tested */
	int peer; /* owned; takes no data */
};

static inline void lingerkit_open(struct linger_end *l)
{
	const struct linger on = {.l_onoff = 1, .l_linger = LINGER_S};
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	cleanup_fd int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static char junk[64 << 10];
	socklen_t len = sizeof(at);

	ck_assert_int_eq(bind(listening, (struct sockaddr *)&at, len), 0);
	ck_assert_int_eq(listen(listening, 1), 0);
	ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&at, &len), 0);
	l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(l->fd, (struct sockaddr *)&at, len), 0);
	l->peer = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(l->peer, 0);
	ck_assert_int_eq(setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &on, sizeof(on)), 0);
	while (send(l->fd, junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
}

/* Whoever closes fd comes back: the connection is reset. */
static inline void lingerkit_let_go(struct linger_end *l)
{
	const struct linger reset = {.l_onoff = 1};

	ck_assert_int_eq(setsockopt(l->peer, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
	close_fd(&l->peer);
}

/* Sends @text and fd beside it, which is closed here. Returns what sendmsg() does, with errno. */
static inline ssize_t lingerkit_send(struct linger_end *l, int sock, const void *text, size_t len)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = len};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n = io_send(sock, &hdr, &l->fd, 1, MSG_NOSIGNAL);

	/* The kernel has another reference while it is on its way; without one this would hang. */
	if (n >= 0)
		close_fd(&l->fd);
	return n;
}

/* At the end: also what nobody has taken. */
static inline void lingerkit_close(struct linger_end *l)
{
	if (l->peer >= 0)
		lingerkit_let_go(l);
	close_fd(&l->fd);
}

#endif
