/*
 * uffdd-worker - serves the pages of one restore; started by uffdd, never by hand
 */
#include <config.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "common/chan.h"
#include "worker/holder.h"
#include "worker/job.h"
#include "worker/job_state.h"
#include "worker/syscalls.h"
#include "worker/zygote.h"

/* A snapshot may have thousands of layers; root may raise its limit for that. */
static void raise_fd_limit(void)
{
	struct rlimit l, more;

	if (getrlimit(RLIMIT_NOFILE, &l))
		return;
	more.rlim_cur = more.rlim_max = max_u64(l.rlim_max, JOB_FDS_MAX);
	l.rlim_cur = l.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &more))
		setrlimit(RLIMIT_NOFILE, &l);
}

static bool has_channel(void)
{
	int type;
	socklen_t len = sizeof(type);

	return getsockopt(CHAN_FD, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

/*
 * In a child of the zygote, which holds nothing but its channel. Executed anew, each worker has
 * addresses, and random values of libc, of its own: what a tenant finds out about one worker says
 * nothing about another.
 */
static int become_worker(void)
{
	static char name[] = CHAN_WORKER;
	char *const argv[] = {name, NULL};

	execv("/proc/self/exe", argv);
	return 1;
}

int main(int argc, char **argv)
{
	struct err err;
	int holder;

	if (argc > 1 && strcmp(argv[1], "--version") == 0) {
		printf("uffdd-worker %s\n", PACKAGE_VERSION);
		return 0;
	}
	if (argc > 1 || !has_channel()) {
		fprintf(stderr,
			"uffdd-worker is started by uffdd; descriptor %d must be its "
			"channel\n",
			CHAN_FD);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (strcmp(argv[0], CHAN_ZYGOTE) == 0) {
		prctl(PR_SET_NAME, CHAN_ZYGOTE);
		zygote_run(CHAN_FD);
		return become_worker();
	}
	prctl(PR_SET_NAME, CHAN_WORKER);
	raise_fd_limit();
	holder = holder_start();
	if (sandbox_begin(&syscalls_worker, &err)) {
		fprintf(stderr, "uffdd-worker: %s\n", err.msg);
		return 1;
	}
	job_run(CHAN_FD, holder);
	return 0;
}
