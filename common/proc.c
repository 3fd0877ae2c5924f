#include "common/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>

#define STAT_START_FIELD 22

static ssize_t read_proc(const char *path, char *buf, size_t size)
{
	cleanup_fd int fd = -1;
	ssize_t n;

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
	char buf[2048], path[32];
	ssize_t n;
	const char *p;

	if (pid <= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	n = read_proc(path, buf, sizeof(buf));
	if (n <= 0)
		return 0;
	/* Field 2 is "(name)", and a name may hold anything: count fields from its last ')' on. */
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

uint64_t proc_start_behind(int pidfd, pid_t pid)
{
	uint64_t start = proc_start_time(pid);

	return proc_ended(pidfd) ? 0 : start;
}

/* What follows @name in a text of lines "<name>\t<numbers>". */
static const char *find_line(const char *text, const char *name)
{
	size_t len = strlen(name);

	for (; text; text = text_after(text, '\n'))
		if (strncmp(text, name, len) == 0)
			return text + len;
	return NULL;
}

int proc_behind(int pidfd, pid_t *ret_pid, uid_t *ret_real, uid_t *ret_saved)
{
	char buf[4096], path[48];
	const char *line;
	unsigned real, effective, saved;
	int pid;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	line = read_proc(path, buf, sizeof(buf)) > 0 ? find_line(buf, "Pid:") : NULL;
	if (!line || sscanf(line, "%d", &pid) != 1)
		return -1;
	*ret_pid = pid > 0 ? pid : 0;
	if (pid <= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	line = read_proc(path, buf, sizeof(buf)) > 0 ? find_line(buf, "Uid:") : NULL;
	/*
	 * Checked last: if the process still runs now, what was read is about it, not about a
	 * reused pid.
	 */
	if (proc_ended(pidfd)) {
		*ret_pid = 0;
		return 0;
	}
	if (!line || sscanf(line, "%u %u %u", &real, &effective, &saved) != 3)
		return -1;
	*ret_real = real;
	*ret_saved = saved;
	return 0;
}

int proc_kill(int pidfd, struct err *err)
{
	if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) == 0 || errno == ESRCH)
		return 0;
	if (errno == EPERM)
		return err_set(err, ERR_DENIED,
			       "may not kill a process of another user: grant CAP_KILL");
	if (errno == EINVAL)
		return err_set(err, ERR_DENIED,
			       "may not kill a process of a PID namespace that "
			       "this one does not contain: run uffdd in the host's");
	return err_sys(err, "cannot kill a process");
}
