/*
 * guestkit - for tests of a restore's rooms: a process with guest memory, which does what it is told,
 * and the page map that a worker leaves of it
 */
#ifndef UFFDD_TESTS_GUESTKIT_H
#define UFFDD_TESTS_GUESTKIT_H

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/handshake.h"
#include "common/proc.h"
#include "tests/support/restorekit.h"
#include "tests/support/vmmside.h"

#define GUESTKIT_BYTES (8 * PAGE_4K)

enum guest_word {
	GUEST_CLOSE = 'c',   /* its userfaultfd */
	GUEST_UNMAP = 'u',   /* its memory, whole */
	GUEST_RELEASE = 'r', /* nothing of its memory is registered any more */
	GUEST_CONNECT = 'n', /* to guestkit_socket, with its message, which has the userfaultfd */
};

struct guestkit {
	pid_t pid;             /* 0: killed, and waited for */
	int pidfd, uffd, sock; /* owned; the uffd is a duplicate of the guest's */
	struct regions regions;
};

static char *guestkit_memory; /* at this address in each of them: they are children of the test */

static const char *guestkit_socket; /* borrowed; where a restore waits. Set before the start */

static inline void guestkit_connect(int uffd)
{
	struct err err;
	int sock;

	if (sock_connect(guestkit_socket, SOCK_STREAM, &sock, &err) ||
	    handshake_send(sock, "[]", &uffd, 1, &err))
		_exit(3);
}

static inline void guestkit_obey(int sock, int uffd) __attribute__((noreturn));
static inline void guestkit_obey(int sock, int uffd)
{
	char word = '!';

	do {
		if (word == GUEST_CLOSE)
			close(uffd);
		if (word == GUEST_UNMAP)
			munmap(guestkit_memory, GUESTKIT_BYTES);
		if (word == GUEST_CONNECT)
			guestkit_connect(uffd);
		if (word == GUEST_RELEASE)
			uffd_unregister(uffd, (uintptr_t)guestkit_memory, GUESTKIT_BYTES);
	} while (send(sock, &word, 1, MSG_NOSIGNAL) == 1 && recv(sock, &word, 1, 0) == 1);
	_exit(0);
}

/* Of what the test holds it keeps only @sock. */
static inline void guestkit_be(int sock) __attribute__((noreturn));
static inline void guestkit_be(int sock)
{
	struct err err;
	int uffd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sock = dup2(sock, 3);
	close_range(4, ~0U, 0);
	if (uffd_open(0, &uffd, &err) ||
	    uffd_register(uffd, (uintptr_t)guestkit_memory, GUESTKIT_BYTES, &err) ||
	    handshake_send(sock, "!", &uffd, 1, &err))
		_exit(2);
	(void)!recv(sock, &(char){0}, 1, 0);
	guestkit_obey(sock, uffd);
}

static inline void guestkit_hear(const struct guestkit *g)
{
	struct pollfd p = {.fd = g->sock, .events = POLLIN};
	char word;

	ck_assert_msg(poll(&p, 1, harness_scale_ms(HARNESS_MS)) == 1, "the guest hangs");
	ck_assert_int_eq(recv(g->sock, &word, 1, 0), 1);
}

/* When this returns, it has done so. */
static inline void guestkit_tell(const struct guestkit *g, enum guest_word what)
{
	char word = (char)what;

	ck_assert_int_eq(send(g->sock, &word, 1, MSG_NOSIGNAL), 1);
	guestkit_hear(g);
}

static inline void guestkit_start(struct guestkit *g)
{
	struct pollfd p = {.events = POLLIN};
	struct err err = {.msg = ""};
	int pair[2];

	if (!guestkit_memory)
		guestkit_memory = mmap(NULL, GUESTKIT_BYTES, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(guestkit_memory, MAP_FAILED);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	*g = (struct guestkit){.pid = fork(), .sock = pair[0]};
	if (g->pid == 0)
		guestkit_be(pair[1]);
	close(pair[1]);
	ck_assert_msg(proc_pidfd(g->pid, &g->pidfd, &err) == 0, "%s", err.msg);
	p.fd = g->sock;
	ck_assert_msg(poll(&p, 1, harness_scale_ms(HARNESS_MS)) == 1, "the guest hangs");
	g->uffd = handshake_first_fd(g->sock);
	ck_assert_int_ge(g->uffd, 0);
	g->regions =
		(struct regions){PAGE_4K, 1, 0, {{(uintptr_t)guestkit_memory, GUESTKIT_BYTES, 0}}};
	ck_assert_int_eq(recv(g->sock, &(char){0}, 1, 0), 1);
	ck_assert_int_eq(send(g->sock, "", 1, MSG_NOSIGNAL), 1);
	guestkit_hear(g);
}

/* Does it answer? One that a signal is on its way to does not. */
static inline bool guestkit_lives(const struct guestkit *g)
{
	struct pollfd p = {.fd = g->sock, .events = POLLIN};
	char word = '?';

	return send(g->sock, &word, 1, MSG_NOSIGNAL) == 1 &&
	       poll(&p, 1, harness_scale_ms(HARNESS_MS)) == 1 && recv(g->sock, &word, 1, 0) == 1;
}

/* Waits for its end; true: by SIGKILL. */
static inline bool guestkit_was_killed(struct guestkit *g)
{
	struct pollfd p = {.fd = g->pidfd, .events = POLLIN};
	int status = 0;

	ck_assert_msg(poll(&p, 1, harness_scale_ms(HARNESS_MS)) == 1, "the guest lives");
	ck_assert_int_eq(waitpid(g->pid, &status, 0), g->pid);
	g->pid = 0;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static inline void guestkit_kill(struct guestkit *g)
{
	ck_assert_int_eq(kill(g->pid, SIGKILL), 0);
	ck_assert(guestkit_was_killed(g));
}

static inline void guestkit_end(struct guestkit *g)
{
	if (g->pid)
		guestkit_kill(g);
	close_fd(&g->pidfd);
	close_fd(&g->uffd);
	close_fd(&g->sock);
}

/* The restore's page map as a worker left it that has met @vmm; @ret: to be closed by the caller. */
static inline void guestkit_map(const struct guestkit *g, struct restorekit *k, pid_t vmm,
				struct pagemap *ret)
{
	char path[CONF_PATH_MAX + 1];
	struct err err = {.msg = ""};
	int fd;

	host_path(&k->host, "maps", "r", path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_msg(pagemap_create(fd, GUESTKIT_BYTES, ret, &err) == 0, "%s", err.msg);
	pagemap_connect(ret, &g->regions, (uint32_t)vmm, geteuid(), getegid());
	close(fd);
}

/* It is the restore's VMM, by its page map and its record, and is served. */
static inline void guestkit_serve(const struct guestkit *g, struct restorekit *k)
{
	struct pagemap map;

	guestkit_map(g, k, g->pid, &map);
	pagemap_close(&map);
	k->r->rec.state = STATE_SERVING;
	k->r->rec.vmm_pid = (uint32_t)g->pid;
	k->r->rec.page_bytes = PAGE_4K;
	k->r->rec.memory_bytes = GUESTKIT_BYTES;
	k->r->rec.connected_ms = 1;
	k->r->slot.state = SLOT_EMPTY;
}

/* A descriptor for the restore to own. */
static inline int guestkit_dup(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 100);

	ck_assert_int_ge(copy, 0);
	return copy;
}

#endif
