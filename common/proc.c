#include "common/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>

#define STAT_START_FIELD 22

static ssize_t read_stat(pid_t pid, char *buf, size_t size)
{
	cleanup_fd int fd = -1;
	char path[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	do
		n = read(fd, buf, size - 1);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		buf[n] = '\0';
	return n;
}

uint64_t proc_start_time(pid_t pid)
{
	/* 52 numbers of at most 20 digits, a name of at most 64 bytes. */
	char buf[2048];
	ssize_t n;
	const char *p;

	if (pid <= 0)
		return 0;
	n = read_stat(pid, buf, sizeof(buf));
	if (n <= 0)
		return 0;
	/* Field 2 is "(name)", and a name may hold anything: count from its last ')', field 3 on. */
	p = memrchr(buf, ')', (size_t)n);
	for (int field = 2; p && field < STAT_START_FIELD; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p + 1, NULL, 10) : 0;
}

bool proc_ended(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int n;

	do
		n = poll(&p, 1, 0);
	while (n < 0 && errno == EINTR);
	return n > 0 && (p.revents & POLLIN);
}

int proc_pidfd(pid_t pid, int *ret_pidfd, struct err *err)
{
	int fd = pidfd_open(pid, 0);

	if (fd < 0 && errno == ESRCH)
		return err_set(err, ERR_NOTFOUND, "there is no process %d", (int)pid);
	if (fd < 0)
		return err_sys(err, "cannot open process %d", (int)pid);
	*ret_pidfd = fd;
	return 0;
}

int proc_kill(int pidfd, struct err *err)
{
	if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) == 0 || errno == ESRCH)
		return 0;
	if (errno == EPERM)
		return err_set(err, ERR_DENIED,
			       "may not kill a process of another user: grant CAP_KILL");
	return err_sys(err, "cannot kill a process");
}
