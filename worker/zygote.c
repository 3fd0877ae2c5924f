#include "worker/zygote.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>

#include "common/chan.h"

/* Waits for the supervisor's request; exits when the supervisor is gone. */
static void await_request(int chan, int *ret_worker)
{
	struct pollfd p = {.fd = chan, .events = POLLIN};

	for (;;) {
		int fds[CHAN_FDS_MAX];
		struct chan_msg msg;
		struct err err;

		switch (chan_recv(chan, &msg, fds, &err)) {
		case CHAN_GOT:
			break;
		case CHAN_AGAIN:
			poll(&p, 1, -1);
			continue;
		default:
			_exit(0);
		}
		*ret_worker = msg.type == CHAN_FORK ? steal_fd(&fds[0]) : -1;
		chan_close_fds(fds);
		if (*ret_worker >= 0)
			return;
	}
}

/*
 * The worker is the supervisor's child (CLONE_PARENT). The pidfd comes with the fork, so the pid
 * cannot belong to another process.
 */
static pid_t fork_worker(int *ret_pidfd)
{
	return (pid_t)syscall(SYS_clone, CLONE_PARENT | CLONE_PIDFD | SIGCHLD, NULL, ret_pidfd,
			      NULL, NULL);
}

static void answer(int chan, pid_t pid, int pidfd)
{
	struct chan_msg msg = {.forked = {.pid = pid > 0 ? (uint32_t)pid : 0}};
	struct err err;

	if (chan_send(chan, CHAN_FORKED, &msg, &pidfd, pid > 0, &err))
		_exit(0);
}

void zygote_run(int chan)
{
	for (;;) {
		int worker, pidfd = -1;
		pid_t pid;

		await_request(chan, &worker);
		pid = fork_worker(&pidfd);
		if (pid == 0) {
			dup2(worker, chan);
			close(worker);
			return;
		}
		close(worker);
		answer(chan, pid, pidfd);
		close_fd(&pidfd);
	}
}
