/*
 * peerkit - what the tests of a job with a VMM share: the VMM as the wait for the handshake hands it
 * over, and one in a process of its own
 */
#ifndef UFFDD_TESTS_PEERKIT_H
#define UFFDD_TESTS_PEERKIT_H

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/support/jobkit.h"

/* As the wait for the handshake hands it over. */
static inline void make_peer(struct scene *s, struct peer *ret, int uffd)
{
	int pair[2];
	struct err err;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	close(pair[1]);
	*ret = (struct peer){.who = {.pid = getpid(), .uid = getuid()}};
	ck_assert_int_eq(handshake_init(&ret->hs, pair[0], &err), 0);
	ret->hs.fds[0] = uffd;
	ret->hs.nfds = 1;
	ret->pidfd = fcntl(s->vmm, F_DUPFD_CLOEXEC, 0);
}

/* A VMM of its own process, which makes its uffd there and waits to be killed. */
static inline pid_t start_vmm(struct scene *s, int *ret_uffd)
{
	int said[2];
	pid_t pid;

	ck_assert_int_eq(pipe2(said, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		give_memory(s);
		if (write(said[1], s, sizeof(*s)) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	close(said[1]);
	for (size_t n = 0; n < sizeof(*s);) {
		ssize_t got = read(said[0], (char *)s + n, sizeof(*s) - n);

		ck_assert_int_gt(got, 0);
		n += (size_t)got;
	}
	close(said[0]);
	close_fd(&s->vmm);
	s->vmm = (int)syscall(SYS_pidfd_open, pid, 0);
	*ret_uffd = (int)syscall(SYS_pidfd_getfd, s->vmm, s->uffd, 0);
	ck_assert_int_ge(*ret_uffd, 0);
	s->memory = NULL; /* not ours */
	return pid;
}

static inline void end_vmm(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

#endif
