#include "tests/fakes/vmm/apart.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "common/base.h"

int apart_enter(struct err *err)
{
	int status;
	pid_t pid;

	if (unshare(CLONE_NEWPID))
		return err_sys(err, "making a PID namespace");
	pid = fork();
	if (pid < 0)
		return err_sys(err, "making a process");
	if (pid == 0)
		return 0;
	waitpid(pid, &status, 0);
	/* Nothing more can be started here now, not even by a leak check. */
	_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

pid_t apart_fork(void)
{
	cleanup_fd int here = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	pid_t pid;

	if (here < 0 || unshare(CLONE_NEWPID))
		return -1;
	pid = fork();
	if (pid == 0 &&
	    (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	     mount("proc", "/proc", "proc", 0, NULL)))
		_exit(125);
	/* For the children to come. */
	if (pid != 0 && setns(here, CLONE_NEWPID))
		abort();
	return pid;
}
