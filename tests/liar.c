/*
 * uffdd-worker-liar - a worker that somebody has taken over: it names a VMM that never came
 *
 * LIAR_VICTIM is the process that it would have killed. It lies for callers other
 * than root; for those it waits until it may leave.
 */
#include <poll.h>
#include <string.h>

#include "common/chan.h"
#include "common/proc.h"
#include "common/uffd.h"

static bool hear(struct chan_msg *msg)
{
	struct pollfd p = {.fd = CHAN_FD, .events = POLLIN};
	enum chan_step step;
	int fds[CHAN_FDS_MAX];
	struct err err;

	while ((step = chan_recv(CHAN_FD, msg, fds, &err)) == CHAN_AGAIN)
		poll(&p, 1, -1);
	for (size_t i = 0; i < CHAN_FDS_MAX; i++)
		close_fd(&fds[i]);
	return step == CHAN_GOT;
}

static void say(enum chan_type type, struct chan_msg *msg, const int *fds, size_t n)
{
	struct err err;

	if (chan_send(CHAN_FD, type, msg, fds, n, &err))
		_exit(1);
}

static void lie(void)
{
	struct chan_msg connected = {0}, failed = {0};
	uint32_t victim = (uint32_t)strtoul(getenv("LIAR_VICTIM"), NULL, 10);
	struct err err;
	int fds[2];

	if (uffd_open(0, &fds[0], &err) || proc_pidfd((pid_t)victim, &fds[1], &err))
		_exit(1);
	connected.connected.pid = victim;
	connected.connected.page_bytes = connected.connected.memory_bytes = PAGE_4K;
	say(CHAN_CONNECTED, &connected, fds, 2);
	failed.failed.kill = 1;
	failed.failed.vmm_pid = victim;
	say(CHAN_FAILED, &failed, &fds[1], 1);
}

int main(int argc, char **argv)
{
	struct chan_msg msg = {0}, ready = {0};
	bool others;

	/* Without a nursery the program is executed for each worker. */
	if (argc < 1 || strcmp(argv[0], CHAN_WORKER) != 0)
		return 1;
	msg.hello.chan_version = CHAN_VERSION;
	say(CHAN_HELLO, &msg, NULL, 0);
	if (!hear(&msg) || msg.type != CHAN_ASSIGN)
		return 0;
	others = msg.assign.uid != 0;
	ready.ready.size_bytes = ready.ready.span_bytes = PAGE_4K;
	say(CHAN_READY, &ready, NULL, 0);
	if (others)
		lie();
	while (hear(&msg) && msg.type != CHAN_STOP)
		;
	return 0;
}
