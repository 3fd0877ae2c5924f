#include "daemon/spawn.h"

#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/chan.h"
#include "common/proc.h"
#include "daemon/closer.h"

/* Sanitizers keep track of threads and processes, and miss those made by a bare clone(). */
#ifdef BUILD_SANITIZED
#define HAVE_ZYGOTE false
#else
#define HAVE_ZYGOTE true
#endif
/*
 * A fork takes some 100 us. A zygote that does not answer is stopped, or hangs. We wait in slices,
 * so that a host that ran neither process for a while costs only one of them.
 */
#define FORK_SLICE_MS 100
#define FORK_SLICES 10

int spawn_open(const char *path, struct spawn *ret, struct err *err)
{
	int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0 || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS)) {
		int sys = errno;

		close_fd(&fd);
		return err_set(err, ERR_PATH,
			       "the worker program %s cannot be executed (%s): "
			       "install it, or say where it is with --worker",
			       path, strerror(sys));
	}
	*ret = (struct spawn){.exec_fd = fd, .zygote = -1, .zygote_pidfd = -1};
	return 0;
}

/*
 * Keeps nothing but channel and program, and at once: a lock is held until its last descriptor is
 * closed, and the supervisor may be killed and started again meanwhile.
 */
static int drop_descriptors(int exec_fd, int chan)
{
	/* The program's descriptor must not be where the channel goes. */
	if (exec_fd == CHAN_FD)
		exec_fd = fcntl(exec_fd, F_DUPFD_CLOEXEC, CHAN_FD + 1);
	if (chan == CHAN_FD)
		fcntl(chan, F_SETFD, 0);
	else
		dup2(chan, CHAN_FD);
	if (exec_fd > CHAN_FD + 1)
		syscall(SYS_close_range, CHAN_FD + 1, exec_fd - 1, 0);
	syscall(SYS_close_range, exec_fd + 1, ~0u, 0);
	return exec_fd;
}

/* In the child, between fork and exec: async-signal-safe calls only. */
static void execute(int exec_fd, int chan, const char *name)
{
	char *const argv[] = {(char *)(uintptr_t)name, NULL};
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t none;
	int null;

	exec_fd = drop_descriptors(exec_fd, chan);
	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	syscall(SYS_execveat, exec_fd, "", argv, environ, AT_EMPTY_PATH);
	_exit(127);
}

static int exec_program(int exec_fd, const char *name, pid_t *ret_pid, int *ret_pidfd,
			int *ret_chan, struct err *err)
{
	sigset_t all, before;
	int ends[2], pidfd;
	pid_t pid;

	if (!closer_settle())
		return err_set(err, ERR_UNREADY,
			       "no worker can be started while descriptors of others "
			       "cannot be closed: see descriptors.closing of the status");
	if (chan_pair(ends, err))
		return -1;
	/* A signal caught in the child before its handlers are reset would run the supervisor's. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	/* fork() that also gives a pidfd, so that the pid cannot be another process's by then. */
	pid = (pid_t)syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, &pidfd, NULL, NULL);
	if (pid == 0)
		execute(exec_fd, ends[1], name);
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(ends[1]);
	if (pid < 0) {
		err_sys(err, "fork a worker");
		close(ends[0]);
		return -1;
	}
	*ret_pidfd = pidfd;
	*ret_pid = pid;
	*ret_chan = ends[0];
	return 0;
}

/* ---- the zygote ---- */

/*
 * What the zygote has sent is still in its channel. The zygote leaves when that is closed, so that
 * waiting for it ends even where we may not send it a signal.
 */
static void end_zygote(struct spawn *s)
{
	struct err err;

	if (s->zygote_pidfd < 0)
		return;
	shutdown(s->zygote, SHUT_WR);
	proc_kill(s->zygote_pidfd, &err);
	waitid(P_PIDFD, (id_t)s->zygote_pidfd, &(siginfo_t){0}, WEXITED);
	close_fd(&s->zygote_pidfd);
}

void spawn_zygote_lost(struct spawn *s)
{
	end_zygote(s);
	close_fd(&s->zygote);
}

static bool answers(const struct spawn *s)
{
	struct pollfd p = {.fd = s->zygote, .events = POLLIN};
	int n = 0;

	for (int i = 0; i < FORK_SLICES && n == 0; i++)
		do
			n = poll(&p, 1, FORK_SLICE_MS);
		while (n < 0 && errno == EINTR);
	return n == 1;
}

static int await_forked(struct spawn *s, struct chan_msg *msg, int fds[CHAN_FDS_MAX],
			struct err *err)
{
	/* The zygote may have forked a worker at the last moment: take it, or it is lost. */
	if (!answers(s))
		end_zygote(s);
	if (chan_recv(s->zygote, msg, fds, err) != CHAN_GOT)
		return -1;
	if (msg->type == CHAN_FORKED && msg->forked.pid && fds[0] >= 0)
		return 0;
	chan_close_fds(fds);
	return -1;
}

static int fork_in_zygote(struct spawn *s, pid_t *ret_pid, int *ret_pidfd, int *ret_chan,
			  struct err *err)
{
	int ends[2], fds[CHAN_FDS_MAX], rc;
	struct chan_msg msg = {0};
	pid_t pid;

	if (s->zygote < 0 &&
	    exec_program(s->exec_fd, CHAN_ZYGOTE, &pid, &s->zygote_pidfd, &s->zygote, err))
		return -1;
	if (chan_pair(ends, err))
		return -1;
	rc = chan_send(s->zygote, CHAN_FORK, &msg, &ends[1], 1, err);
	close(ends[1]);
	if (rc || await_forked(s, &msg, fds, err)) {
		close(ends[0]);
		spawn_zygote_lost(s);
		return -1;
	}
	if (s->zygote_pidfd < 0)
		spawn_zygote_lost(s);
	*ret_pid = (pid_t)msg.forked.pid;
	*ret_pidfd = fds[0];
	*ret_chan = ends[0];
	return 0;
}

int spawn_worker(struct spawn *s, pid_t *ret_pid, int *ret_pidfd, int *ret_chan, struct err *err)
{
	if (HAVE_ZYGOTE && fork_in_zygote(s, ret_pid, ret_pidfd, ret_chan, err) == 0)
		return 0;
	return exec_program(s->exec_fd, CHAN_WORKER, ret_pid, ret_pidfd, ret_chan, err);
}

void spawn_close(struct spawn *s)
{
	spawn_zygote_lost(s);
	close_fd(&s->exec_fd);
}

bool spawn_reap(int pidfd, char *ret, size_t len)
{
	siginfo_t si = {0};
	int rc = waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED | WNOHANG);

	if (rc == 0 && si.si_pid == 0)
		return false;
	if (rc)
		snprintf(ret, len, "gone");
	else if (si.si_code == CLD_EXITED)
		snprintf(ret, len, "exit %d", si.si_status);
	else
		snprintf(ret, len, "signal %d (%s)", si.si_status, strsignal(si.si_status));
	return true;
}

void spawn_reap_unknown(struct spawn *s)
{
	siginfo_t si = {0};

	if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT))
		return;
	if (si.si_pid && si.si_pid == s->unreaped)
		waitid(P_PID, (id_t)si.si_pid, &si, WEXITED | WNOHANG);
	s->unreaped = si.si_pid;
}
