/*
 * handkit - what the tests of the handshake share: a connection, descriptors that can be
 * told apart, and messages of any length
 */
#ifndef UFFDD_TESTS_HANDKIT_H
#define UFFDD_TESTS_HANDKIT_H

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/handshake.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"
#include "tests/support/vmmside.h"

#define R "\"base_host_virt_addr\":140000000000000,\"size\":8192,\"offset\":4096"
#define SOME_BASE UINT64_C(140000000000000)

static inline const char *step_name(enum handshake_step step)
{
	static const char *const names[] = {
		[HANDSHAKE_MORE] = "more",
		[HANDSHAKE_DONE] = "done",
		[HANDSHAKE_EMPTY] = "empty",
		[HANDSHAKE_BAD] = "bad",
	};

	return names[step];
}

/* Both ends of one connection: the VMM's, and ours inside the handshake. */
struct handshake_link {
	int vmm;
	struct handshake hs;
};

static inline void link_open(struct handshake_link *l)
{
	struct err err = {.msg = ""};
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	l->vmm = pair[0];
	ck_assert_msg(handshake_init(&l->hs, pair[1], &err) == 0, "%s", err.msg);
	ck_assert(fcntl(pair[1], F_GETFL) & O_NONBLOCK);
}

static inline void link_close(struct handshake_link *l)
{
	handshake_fini(&l->hs);
	close_fd(&l->vmm);
}

/* Pipes, whose inode numbers tell one from the other; the writing ends are what is sent. */
struct parcel {
	int fds[64];
	ino_t inodes[64];
	size_t n;
};

static inline void parcel_open(struct parcel *p, size_t n)
{
	p->n = n;
	for (size_t i = 0; i < n; i++) {
		struct stat st;
		int pair[2];

		ck_assert_int_eq(pipe2(pair, O_CLOEXEC), 0);
		close(pair[0]);
		ck_assert_int_eq(fstat(pair[1], &st), 0);
		p->fds[i] = pair[1];
		p->inodes[i] = st.st_ino;
	}
}

static inline void parcel_close(struct parcel *p)
{
	for (size_t i = 0; i < p->n; i++)
		close(p->fds[i]);
}

static inline void send_all(const struct handshake_link *l, const char *text, const int *fds,
			    size_t nfds)
{
	struct err err = {.msg = ""};

	ck_assert_msg(handshake_send(l->vmm, text, fds, nfds, &err) == 0, "%s", err.msg);
}

/* A complete message of exactly @len bytes, most of it members nobody knows. */
static inline char *message_of(size_t len)
{
	char *t = xcalloc(1, len + 1);
	size_t at = (size_t)snprintf(t, len, "[{" R);

	for (int i = 0; at < len - 64; i++)
		at += (size_t)snprintf(t + at, len - at, ",\"unknown_%d\":[%d,{}]", i, i);
	memset(t + at, ' ', len - at);
	memcpy(t + len - 2, "}]", 2);
	return t;
}

#endif
