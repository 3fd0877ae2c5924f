/*
 * chankit - what the tests of chan share: the wire, written down a second time, and messages
 * that no process of ours would send
 */
#ifndef UFFDD_TESTS_CHANKIT_H
#define UFFDD_TESTS_CHANKIT_H

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "common/chan.h"
#include "tests/support/fds.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define HEAD 8

static const struct {
	const char *name;
	size_t body;
	struct {
		size_t at, len;
	} text[3]; /* in the body */
} wire[CHAN_TYPE_COUNT] = {
	[CHAN_HELLO] = {"HELLO", 40, {{8, 32}}},
	[CHAN_ASSIGN] = {"ASSIGN", 624, {{0, 64}, {64, 108}, {560, 64}}},
	[CHAN_READY] = {"READY", 64},
	[CHAN_REFUSED] = {"REFUSED", 272, {{16, 256}}},
	[CHAN_CONNECTED] = {"CONNECTED", 32},
	[CHAN_PREFETCH] = {"PREFETCH", 24},
	[CHAN_PAUSE] = {"PAUSE", 8},
	[CHAN_RESUME] = {"RESUME", 8},
	[CHAN_PAUSED] = {"PAUSED", 8},
	[CHAN_COMPLETE] = {"COMPLETE", 8},
	[CHAN_NOTE] = {"NOTE", 512, {{0, 32}, {32, 480}}},
	[CHAN_STOP] = {"STOP", 8},
	[CHAN_GONE] = {"GONE", 8},
	[CHAN_RELEASED] = {"RELEASED", 8},
	[CHAN_FAILED] = {"FAILED", 536, {{24, 512}}},
	[CHAN_FILES] = {"FILES", 16},
	[CHAN_REATTACH] = {"REATTACH", 112, {{0, 64}, {72, 32}}},
	[CHAN_LEASE_ASK] = {"LEASE_ASK", 16},
	[CHAN_LEASE_BACK] = {"LEASE_BACK", 8},
	[CHAN_LEASE_GRANT] = {"LEASE_GRANT", 16},
	[CHAN_LEASE_REVOKE] = {"LEASE_REVOKE", 8},
	[CHAN_FORK] = {"FORK", 8},
	[CHAN_FORKED] = {"FORKED", 8},
	[CHAN_WSET_GIVEN] = {"WSET_GIVEN", 8},
	[CHAN_WSET_MADE] = {"WSET_MADE", 8},
	[CHAN_PEER] = {"PEER", 8},
	[CHAN_PRESENCE] = {"PRESENCE", 8},
	[CHAN_CGROUPS] = {"CGROUPS", 16},
	[CHAN_KNOWN] = {"KNOWN", 8},
	[CHAN_PROOF] = {"PROOF", 128, {{64, 64}}},
};

static inline void make_pair(int fds[2])
{
	struct err err;

	ck_assert_msg(chan_pair(fds, &err) == 0, "%s", err.msg);
}

static inline int make_memfd(const char *text)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

/* Bytes as a hostile or older peer may send them, with @nfds copies of one descriptor. */
static inline void send_raw(int sock, const void *buf, size_t len, size_t nfds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 250)];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
	cleanup_fd int fd = make_memfd("raw");

	if (nfds) {
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		CMSG_FIRSTHDR(&hdr)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&hdr)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&hdr)->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		for (size_t i = 0; i < nfds; i++)
			memcpy(CMSG_DATA(CMSG_FIRSTHDR(&hdr)) + i * sizeof(int), &fd, sizeof(fd));
	}
	ck_assert_int_eq(sendmsg(sock, &hdr, 0), (ssize_t)len);
}

/* It is refused with @text, and leaves nothing behind. */
static inline void expect_bad(int pair[2], const char *what, const void *buf, size_t len,
			      size_t nfds, const char *text)
{
	int fds[CHAN_FDS_MAX], before = fds_count(getpid());
	struct chan_msg msg;
	struct err err = {0};

	send_raw(pair[1], buf, len, nfds);
	ck_assert_msg(chan_recv(pair[0], &msg, fds, &err) == CHAN_BAD, "%s: taken", what);
	ck_assert_msg(err.code == ERR_PEER, "%s: code %d", what, err.code);
	ck_assert_msg(strstr(err.msg, text) != NULL, "%s: \"%s\"", what, err.msg);
	for (int i = 0; i < CHAN_FDS_MAX; i++)
		ck_assert_msg(fds[i] == -1, "%s: descriptor kept", what);
	ck_assert_msg(fds_count(getpid()) == before, "%s: descriptor leaked", what);
	ck_assert_int_eq(chan_recv(pair[0], &msg, fds, &err), CHAN_AGAIN);
}

#endif
