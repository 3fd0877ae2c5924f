#include "worker/listener.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

static void peer_clear(struct listener_peer *p)
{
	memset(p, 0, sizeof(*p));
	p->hs.sock = -1;
	p->pidfd = -1;
}

void listener_init(struct listener *l, int fd, uid_t peer_uid)
{
	memset(l, 0, sizeof(*l));
	l->fd = fd;
	l->peer_uid = peer_uid;
	for (size_t i = 0; i < LISTENER_PEERS_MAX; i++)
		peer_clear(&l->peers[i]);
}

void listener_peer_fini(struct listener_peer *p)
{
	handshake_fini(&p->hs);
	close_fd(&p->pidfd);
	peer_clear(p);
}

void listener_fini(struct listener *l)
{
	for (size_t i = 0; i < LISTENER_PEERS_MAX; i++)
		listener_peer_fini(&l->peers[i]);
	close_fd(&l->fd);
}

static struct listener_peer *free_slot(struct listener *l)
{
	for (size_t i = 0; i < LISTENER_PEERS_MAX; i++)
		if (l->peers[i].hs.sock < 0)
			return &l->peers[i];
	return NULL;
}

size_t listener_poll(const struct listener *l, struct pollfd *ret)
{
	size_t n = 0, busy = 0;

	for (size_t i = 0; i < LISTENER_PEERS_MAX; i++) {
		if (l->peers[i].hs.sock < 0)
			continue;
		busy++;
		ret[n++] = (struct pollfd){.fd = l->peers[i].hs.sock, .events = POLLIN};
	}
	/* All slots taken: the next ones wait in the backlog. */
	if (busy < LISTENER_PEERS_MAX)
		ret[n++] = (struct pollfd){.fd = l->fd, .events = POLLIN};
	return n;
}

uint64_t listener_deadline_us(const struct listener *l)
{
	uint64_t first = UINT64_MAX;

	for (size_t i = 0; i < LISTENER_PEERS_MAX; i++)
		if (l->peers[i].hs.sock >= 0)
			first = min_u64(first, l->peers[i].deadline_us);
	return first;
}

static void refuse(struct listener *l, const struct sock_peer *who, const char *why)
{
	if (l->refused)
		l->refused(l->arg, who, why);
}

/* Who is it, and may it? The pidfd is taken before anything it says is believed. */
static int identify(struct listener *l, int sock, struct listener_peer *p, struct err *err)
{
	if (sock_peer(sock, &p->who, err))
		return -1;
	if (p->who.uid != l->peer_uid)
		return err_set(err, ERR_DENIED, "uid %u is not the restore's peer.uid %u",
			       (unsigned)p->who.uid, (unsigned)l->peer_uid);
	return sock_peer_pidfd(sock, p->who.pid, &p->pidfd, err);
}

static void accept_one(struct listener *l, int sock, uint64_t now)
{
	struct listener_peer *p = free_slot(l);
	struct err err;

	if (identify(l, sock, p, &err)) {
		refuse(l, &p->who, err.msg);
		close(sock);
		close_fd(&p->pidfd);
		peer_clear(p);
		return;
	}
	p->deadline_us = now + LISTENER_PEER_US;
	if (handshake_init(&p->hs, sock, &err)) {
		refuse(l, &p->who, err.msg);
		listener_peer_fini(p);
	}
}

static void accept_all(struct listener *l, uint64_t now)
{
	while (free_slot(l)) {
		int sock = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (sock >= 0)
			accept_one(l, sock, now);
		else if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

/* True when the wait is over, one way or the other. */
static bool peer_step(struct listener *l, struct listener_peer *p, uint64_t now,
		      struct regions *ret_regions, enum listener_step *ret, struct err *err)
{
	switch (handshake_read(&p->hs, ret_regions, err)) {
	case HANDSHAKE_DONE:
		*ret = LISTENER_VMM;
		return true;
	case HANDSHAKE_MORE:
		if (now < p->deadline_us)
			return false;
		err_set(err, ERR_TIMEOUT, "the handshake was not complete after %llu s",
			(unsigned long long)(LISTENER_PEER_US / 1000000));
		break;
	case HANDSHAKE_EMPTY:
		err_set(err, ERR_PEER, "connected and left without a message");
		break;
	case HANDSHAKE_BAD:
		break;
	}
	if (p->hs.nfds) {
		*ret = LISTENER_BAD;
		return true;
	}
	refuse(l, &p->who, err->msg);
	listener_peer_fini(p);
	return false;
}

enum listener_step listener_step(struct listener *l, uint64_t now, struct listener_peer *ret_vmm,
				 struct regions *ret_regions, struct err *err)
{
	enum listener_step step;

	accept_all(l, now);
	for (size_t i = 0; i < LISTENER_PEERS_MAX; i++) {
		struct listener_peer *p = &l->peers[i];

		if (p->hs.sock < 0 || !peer_step(l, p, now, ret_regions, &step, err))
			continue;
		*ret_vmm = *p;
		peer_clear(p);
		return step;
	}
	return LISTENER_WAIT;
}
