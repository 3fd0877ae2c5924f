#include "worker/peers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "worker/fault_injection.h"

static void peer_clear(struct peer *p)
{
	memset(p, 0, sizeof(*p));
	p->hs.sock = -1;
	p->pidfd = -1;
}

int peers_init(struct peers *l, int fd, uid_t peer_uid, pid_t peer_pid, struct err *err)
{
	memset(l, 0, sizeof(*l));
	l->fd = fd;
	l->peer_uid = peer_uid;
	l->peer_pid = peer_pid;
	for (size_t i = 0; i < CHAN_PEERS_MAX; i++)
		peer_clear(&l->peers[i]);
	l->edges = epoll_create1(EPOLL_CLOEXEC);
	if (l->edges >= 0)
		return 0;
	err_sys(err, "cannot wait for connections");
	peers_fini(l);
	return -1;
}

void peer_fini(struct peer *p)
{
	handshake_fini(&p->hs);
	close_fd(&p->pidfd);
	peer_clear(p);
}

void peers_fini(struct peers *l)
{
	close_fd(&l->edges);
	for (size_t i = 0; i < CHAN_PEERS_MAX; i++)
		peer_fini(&l->peers[i]);
	close_fd(&l->fd);
}

/* Index of a free slot; CHAN_PEERS_MAX: none. */
static size_t free_slot(const struct peers *l)
{
	size_t i = 0;

	while (i < CHAN_PEERS_MAX && l->peers[i].hs.sock >= 0)
		i++;
	return i;
}

size_t peers_poll(const struct peers *l, struct pollfd *ret)
{
	size_t n = 0;

	ret[n++] = (struct pollfd){.fd = l->edges, .events = POLLIN};
	/* All slots are taken: more connections wait in the backlog. */
	if (l->accepts && free_slot(l) < CHAN_PEERS_MAX)
		ret[n++] = (struct pollfd){.fd = l->fd, .events = POLLIN};
	return n;
}

uint64_t peers_deadline_us(const struct peers *l)
{
	uint64_t first = UINT64_MAX;

	for (size_t i = 0; i < CHAN_PEERS_MAX; i++)
		if (l->peers[i].hs.sock >= 0)
			first = min_u64(first, l->peers[i].deadline_us);
	return first;
}

static int watch(struct peers *l, int sock, struct err *err)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLET};

	if (epoll_ctl(l->edges, EPOLL_CTL_ADD, sock, &e))
		return err_sys(err, "cannot wait for the VMM's message");
	return 0;
}

/* Explicitly: the socket lives on in duplicates, and so does its entry in the epoll set. */
static void unwatch(struct peers *l, const struct peer *p)
{
	if (p->hs.sock >= 0)
		epoll_ctl(l->edges, EPOLL_CTL_DEL, p->hs.sock, NULL);
}

static void refuse(struct peers *l, struct peer *p, const char *why)
{
	unwatch(l, p);
	if (l->refused)
		l->refused(l->arg, p, why);
	peer_fini(p);
}

/*
 * Who is the peer, and may it connect? The pidfd is taken before the handshake is trusted. A
 * missing pidfd proves little: the process that connected for a VMM may have ended meanwhile.
 */
static int identify(const struct peers *l, struct peer *p, struct err *err)
{
	struct err ended;

	if (sock_peer(p->hs.sock, &p->who, err))
		return -1;
	if (p->who.uid != l->peer_uid)
		return err_set(err, ERR_DENIED, "uid %u is not the restore's peer.uid %u",
			       (unsigned)p->who.uid, (unsigned)l->peer_uid);
	if (l->peer_pid && p->who.pid != l->peer_pid)
		return err_set(err, ERR_DENIED, "pid %d is not the restore's peer.pid %d",
			       (int)p->who.pid, (int)l->peer_pid);
	if (sock_peer_pidfd(p->hs.sock, p->who.pid, &p->pidfd, &ended))
		p->pidfd = -1;
	return 0;
}

/* A process in an unknown PID namespace can neither be killed nor found again by a successor. */
static bool is_out_of_sight(const struct peer *p, struct err *err)
{
	if (p->who.pid)
		return false;
	err_set(err, ERR_PEER,
		"it runs in a PID namespace that uffdd cannot see into: run uffdd "
		"in the host's PID namespace, or in one that the VMM's is part of");
	return true;
}

void peers_add(struct peers *l, int sock, uint64_t now)
{
	size_t i = free_slot(l);
	struct peer *p = &l->peers[i];
	struct err err;

	if (i == CHAN_PEERS_MAX) {
		close(sock);
		return;
	}
	p->cookie = sock_cookie(sock);
	p->deadline_us = now + PEERS_PEER_US;
	if (handshake_init(&p->hs, sock, &err) || identify(l, p, &err) || watch(l, sock, &err))
		refuse(l, p, err.msg);
	else
		fault_point(FAULT_PEER);
}

static void accept_all(struct peers *l, uint64_t now)
{
	while (free_slot(l) < CHAN_PEERS_MAX) {
		int sock = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (sock >= 0)
			peers_add(l, sock, now);
		else if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

/* Only empties the epoll set: peers_step() looks at all peers anyway. */
static void take_edges(struct peers *l)
{
	struct epoll_event e[CHAN_PEERS_MAX];

	epoll_wait(l->edges, e, CHAN_PEERS_MAX, 0);
}

/* True when the wait is over: *ret says how. */
static bool peer_step(struct peers *l, struct peer *p, uint64_t now, struct regions *ret_regions,
		      enum peers_step *ret, struct err *err)
{
	switch (handshake_read(&p->hs, ret_regions, err)) {
	case HANDSHAKE_DONE:
		*ret = is_out_of_sight(p, err) ? PEERS_BAD : PEERS_VMM;
		return true;
	case HANDSHAKE_MORE:
		if (p->hs.len)
			fault_point(FAULT_PART_READ);
		if (now < p->deadline_us)
			return false;
		err_set(err, ERR_TIMEOUT, "the handshake was not complete after %llu s",
			(unsigned long long)(PEERS_PEER_US / 1000000));
		break;
	case HANDSHAKE_EMPTY:
		err_set(err, ERR_PEER, "connected and left without a message");
		break;
	case HANDSHAKE_BAD:
		break;
	}
	if (p->hs.nfds) {
		*ret = PEERS_BAD;
		return true;
	}
	refuse(l, p, err->msg);
	return false;
}

enum peers_step peers_step(struct peers *l, uint64_t now, struct peer *ret_vmm,
			   struct regions *ret_regions, struct err *err)
{
	enum peers_step step;

	if (l->accepts)
		accept_all(l, now);
	take_edges(l);
	for (size_t i = 0; i < CHAN_PEERS_MAX; i++) {
		struct peer *p = &l->peers[i];

		if (p->hs.sock < 0 || !peer_step(l, p, now, ret_regions, &step, err))
			continue;
		unwatch(l, p);
		*ret_vmm = *p;
		peer_clear(p);
		return step;
	}
	return PEERS_WAIT;
}

/* clang-format off */
static const struct call needs[] = {
	CALL(accept4), CALL(getsockopt), CALL(setsockopt), CALL(recvmsg), CALL(pidfd_open),
	CALL_IF(fcntl, 1, CALL_INT, F_GETFL), CALL_IF(fcntl, 1, CALL_INT, F_SETFL),
};
/* clang-format on */
const struct calls peers_calls = CALLS(needs);
