#include "worker/lobby.h"

#include <poll.h>
#include <string.h>

#include "worker/listener.h"
#include "worker/serve.h"

struct lobby {
	struct job *job;
	struct listener listener;
	uint64_t until_us;
};

static void on_refused(void *arg, const struct listener_peer *p, const char *why)
{
	struct lobby *l = arg;
	struct chan_msg msg = {0};
	/* Strangers may come in any number; the supervisor hears why of the first ones. */
	bool told = ++l->job->map.stats->refused_peers <= CHAN_TOLD_MAX;

	msg.refused.peer = p->cookie;
	msg.refused.pid = (uint32_t)p->who.pid;
	msg.refused.uid = p->who.uid;
	snprintf(msg.refused.why, sizeof(msg.refused.why), "%s", told ? why : "");
	link_send(&l->job->link, CHAN_REFUSED, &msg, NULL, 0);
}

/* Those who came while it was away, and those whom the last one knew. */
static void on_back(void *arg)
{
	struct lobby *l = arg;
	const struct listener_peer *p = l->listener.peers;
	struct chan_msg msg = {0};
	int socks[CHAN_PEERS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < CHAN_PEERS_MAX; i++)
		if (p[i].hs.sock >= 0)
			socks[n++] = p[i].hs.sock;
	job_say_back(l->job, l->listener.fd, n, -1);
	for (size_t i = 0; i < n; i++)
		link_send(&l->job->link, CHAN_PEER, &msg, &socks[i], 1);
}

/* Before anybody hears that it is over: the path is free again then. */
static void close_up(struct lobby *l)
{
	job_unlink_socket(l->job);
	listener_fini(&l->listener);
}

/* False: the supervisor wants the end. */
static bool hear(struct lobby *l)
{
	struct job *j = l->job;
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;

	while (link_recv(&j->link, &msg, fds) == CHAN_GOT) {
		if (msg.type == CHAN_WSET_GIVEN)
			habit_hear(&j->habit, fds);
		if (msg.type == CHAN_PEER && fds[0] >= 0)
			listener_add(&l->listener, steal_fd(&fds[0]), now_us());
		for (size_t i = 0; i < CHAN_FDS_MAX; i++)
			close_fd(&fds[i]);
		if (msg.type == CHAN_STOP)
			return false;
		if (msg.type == CHAN_PREFETCH && msg.prefetch.mode < PREFETCH_COUNT) {
			j->spec.prefetch = (enum spec_prefetch)msg.prefetch.mode;
			j->spec.rate_bytes_per_s = msg.prefetch.rate_bytes_per_s;
			j->spec.max_resident_bytes = msg.prefetch.max_resident_bytes;
			j->prefetch_held = msg.prefetch.paused;
		}
	}
	return true;
}

static void doze(struct lobby *l)
{
	struct pollfd p[1 + LISTENER_POLL_MAX] = {{.fd = link_fd(&l->job->link), .events = POLLIN}};
	size_t n = 1 + listener_poll(&l->listener, p + 1);
	uint64_t now = now_us();
	uint64_t by = min_u64(l->until_us, listener_deadline_us(&l->listener));
	uint64_t wait = min_u64(by > now ? by - now : 0, link_wait_us(&l->job->link, now));

	poll(p, n, (int)(wait / 1000 + 1));
}

static void nobody_came(struct lobby *l)
{
	struct err err;

	err_set(&err, ERR_TIMEOUT, "no VMM connected within %llu ms (connect_timeout)",
		(unsigned long long)l->job->spec.connect_timeout_ms);
	close_up(l);
	job_say_failed(l->job, &err, false, NULL);
}

/* LISTENER_WAIT: it ended without a VMM, and whoever needs to know has been told. */
static enum listener_step wait_vmm(struct lobby *l, struct listener_peer *vmm,
				   struct regions *regions, struct err *err)
{
	for (;;) {
		enum listener_step step;

		doze(l);
		link_turn(&l->job->link, now_us());
		if (!hear(l))
			return LISTENER_WAIT;
		/* Else the supervisor does, and keeps a duplicate. */
		l->listener.accepts = l->job->link.chan < 0;
		step = listener_step(&l->listener, now_us(), vmm, regions, err);
		if (step != LISTENER_WAIT)
			return step;
		if (now_us() >= l->until_us) {
			nobody_came(l);
			return LISTENER_WAIT;
		}
	}
}

void lobby_run(struct job *j)
{
	struct lobby l = {.job = j, .until_us = now_us() + j->assign.connect_ms * 1000};
	struct listener_peer vmm;
	struct regions regions;
	enum listener_step step;
	struct err err;

	if (listener_init(&l.listener, steal_fd(&j->listen_fd), j->spec.peer_uid, &err)) {
		job_unlink_socket(j);
		job_say_failed(j, &err, false, NULL);
		return;
	}
	l.listener.refused = on_refused;
	l.listener.arg = &l;
	j->link.replay = on_back;
	j->link.arg = &l;
	step = wait_vmm(&l, &vmm, &regions, &err);
	close_up(&l);
	if (step == LISTENER_WAIT)
		return;
	if (step == LISTENER_VMM)
		serve_vmm(j, &vmm, &regions);
	else
		serve_refuse(j, &vmm, &err);
	listener_peer_fini(&vmm);
}
