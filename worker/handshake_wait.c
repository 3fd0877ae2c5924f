#include "worker/handshake_wait.h"

#include <poll.h>

#include "worker/orders.h"
#include "worker/report.h"

static void on_refused(void *arg, const struct peer *p, const char *why)
{
	report_refused(arg, p, why);
}

static void doze(const struct job *j, uint64_t until_us)
{
	struct pollfd p[1 + PEERS_POLL_MAX] = {
		{.fd = supervisor_link_fd(&j->link), .events = POLLIN}};
	size_t n = 1 + peers_poll(j->peers, p + 1);
	uint64_t now = now_us();
	uint64_t by = min_u64(until_us, peers_deadline_us(j->peers));
	uint64_t wait = min_u64(by > now ? by - now : 0, supervisor_link_wait_us(&j->link, now));

	poll(p, n, (int)(wait / 1000 + 1));
}

static enum handshake_end nobody_came(const struct job *j, struct err *err)
{
	err_set(err, ERR_TIMEOUT, "no VMM connected within %llu ms (connect_timeout)",
		(unsigned long long)j->spec.connect_timeout_ms);
	return HANDSHAKE_NOBODY;
}

static enum handshake_end wait_vmm(struct job *j, struct peer *ret_vmm, struct regions *ret_regions,
				   struct err *err)
{
	uint64_t until_us = now_us() + j->assign.connect_ms * 1000;

	for (;;) {
		doze(j, until_us);
		report_turn(j, now_us());
		orders_read(j);
		if (j->stop)
			return HANDSHAKE_STOPPED;
		/* While there is a supervisor, it accepts, and keeps a duplicate. */
		j->peers->accepts = supervisor_link_away(&j->link);
		switch (peers_step(j->peers, now_us(), ret_vmm, ret_regions, err)) {
		case PEERS_VMM:
			return HANDSHAKE_VMM;
		case PEERS_BAD:
			return HANDSHAKE_BAD_VMM;
		case PEERS_WAIT:
			break;
		}
		if (now_us() >= until_us)
			return nobody_came(j, err);
	}
}

enum handshake_end handshake_wait(struct job *j, struct peer *ret_vmm, struct regions *ret_regions,
				  struct err *err)
{
	struct peers peers;
	enum handshake_end end = HANDSHAKE_NOBODY;

	if (peers_init(&peers, steal_fd(&j->listen_fd), j->spec.peer_uid, (pid_t)j->spec.peer_pid,
		       err) == 0) {
		peers.refused = on_refused;
		peers.arg = j;
		j->peers = &peers;
		j->phase = JOB_WAITING;
		end = wait_vmm(j, ret_vmm, ret_regions, err);
		j->peers = NULL;
	}
	/* Before the end is reported: from then on the path must be free again. */
	job_unlink_socket(j);
	peers_fini(&peers);
	return end;
}
