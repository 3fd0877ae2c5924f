#include "daemon/acceptor.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/foreign.h"
#include "common/pagemap.h"
#include "common/sock.h"
#include "daemon/uffd_recover.h"
#include "daemon/timer.h"

/* BURST connections at once, then one in every EVERY_US. */
#define BURST 32
#define EVERY_US 10000
#define AGAIN_US 100000 /* when descriptors or the worker's queue are short */

void acceptor_init(struct acceptor *d, struct event_base *base, const struct acceptor_hooks *hooks,
		   void *arg)
{
	*d = (struct acceptor){.base = base, .hooks = hooks, .arg = arg, .fd = -1};
}

/* Microseconds until the next accept. After BURST * EVERY_US without any, BURST may come. */
static uint64_t wait_us(struct acceptor *d, uint64_t now)
{
	const uint64_t credit = (uint64_t)(BURST - 1) * EVERY_US;

	d->due_us = max_u64(d->due_us, now);
	return d->due_us - now > credit ? d->due_us - now - credit : 0;
}

static bool has_room(const struct acceptor *d)
{
	return d->n + d->awaited < CHAN_PEERS_MAX;
}

static void wake_in(struct acceptor *d, uint64_t us)
{
	event_del(d->on_peer);
	timer_add(d->again, us);
}

/* Waits for what is possible next: a connection, the pace, or room. */
static void arm(struct acceptor *d)
{
	uint64_t wait;

	if (!d->on_peer)
		return;
	wait = wait_us(d, now_us());
	if (!has_room(d))
		event_del(d->on_peer);
	else if (wait)
		wake_in(d, wait);
	else
		event_add(d->on_peer, NULL);
}

/* True when the worker has all of them. */
static bool tell(struct acceptor *d)
{
	for (size_t i = 0; i < d->n; i++) {
		if (d->peers[i].told)
			continue;
		if (!d->hooks->send(d->arg, d->peers[i].sock))
			return false;
		d->peers[i].told = true;
	}
	return true;
}

static void send_or_wait(struct acceptor *d)
{
	bool told = tell(d);

	arm(d);
	if (!told && d->on_peer)
		wake_in(d, AGAIN_US);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	send_or_wait(arg);
}

static void on_peer(evutil_socket_t fd, short what, void *arg)
{
	struct acceptor *d = arg;
	int sock;

	(void)what;
	if (!has_room(d) || wait_us(d, now_us())) {
		arm(d);
		return;
	}
	if (!d->hooks->room(d->arg)) {
		wake_in(d, AGAIN_US);
		return;
	}
	sock = accept4((int)fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (sock < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			wake_in(d, AGAIN_US);
		return;
	}
	d->due_us += EVERY_US;
	d->peers[d->n++] = (struct acceptor_peer){.sock = sock, .ours = true};
	send_or_wait(d);
}

/* The descriptor may come from a worker, which is not trusted: nothing else may be polled. */
bool acceptor_listens(int fd)
{
	int listening;
	socklen_t len = sizeof(listening);

	return foreign_is(fd, FOREIGN_UNIX_SOCKET) &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening &&
	       fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
}

void acceptor_open(struct acceptor *d, int *fd, size_t awaited, bool waits)
{
	timer_drop(&d->on_peer);
	timer_drop(&d->again);
	if (acceptor_listens(*fd)) {
		foreign_close(&d->fd);
		d->fd = steal_fd(fd);
	}
	d->awaited = min_u64(awaited, CHAN_PEERS_MAX);
	if (!waits || d->fd < 0)
		return;
	d->on_peer = event_new(d->base, d->fd, EV_READ | EV_PERSIST, on_peer, d);
	d->again = evtimer_new(d->base, on_again, d);
	arm(d);
}

void acceptor_close(struct acceptor *d)
{
	timer_drop(&d->on_peer);
	timer_drop(&d->again);
	while (d->n)
		foreign_close(&d->peers[--d->n].sock);
	d->awaited = 0;
	foreign_close(&d->fd);
}

/*
 * An accepted socket has the name of the listening socket. But so has a socket that was bound to
 * that name before it connected elsewhere. So the name proves something only where nobody but us
 * can bind it.
 */
static bool came_to(const char *own_path, int sock)
{
	struct sockaddr_un at = {0};
	socklen_t len = sizeof(at);

	return own_path && getsockname(sock, (struct sockaddr *)&at, &len) == 0 &&
	       at.sun_family == AF_UNIX && strncmp(at.sun_path, own_path, sizeof(at.sun_path)) == 0;
}

void acceptor_keep(struct acceptor *d, int *sock, const char *own_path)
{
	d->awaited -= d->awaited > 0;
	if (*sock >= 0 && d->n < CHAN_PEERS_MAX && d->on_peer) {
		bool ours = came_to(own_path, *sock);

		d->peers[d->n++] = (struct acceptor_peer){steal_fd(sock), .told = true,
							  .ours = ours};
	}
	arm(d);
}

void acceptor_forget_sent(struct acceptor *d)
{
	for (size_t i = 0; i < d->n;) {
		if (!d->peers[i].told) {
			i++;
			continue;
		}
		foreign_close(&d->peers[i].sock);
		d->peers[i] = d->peers[--d->n];
	}
}

void acceptor_drop(struct acceptor *d, uint64_t cookie)
{
	for (size_t i = 0; i < d->n; i++)
		if (sock_cookie(d->peers[i].sock) == cookie) {
			foreign_close(&d->peers[i].sock);
			d->peers[i] = d->peers[--d->n];
			break;
		}
	arm(d);
}

bool acceptor_has_peer(const struct acceptor *d, pid_t pid, uid_t uid)
{
	for (size_t i = 0; i < d->n; i++) {
		struct sock_peer who;
		struct err err;

		if (d->peers[i].ours && sock_peer(d->peers[i].sock, &who, &err) == 0 &&
		    who.pid == pid && who.uid == uid)
			return true;
	}
	return false;
}

void acceptor_hand_over(struct acceptor *d)
{
	d->awaited = 0;
	for (size_t i = 0; i < d->n; i++)
		d->peers[i].told = false;
	send_or_wait(d);
}

bool acceptor_find(const struct acceptor *d, uid_t uid, int map_fd, const struct pagemap_view *view,
		   int *ret_pidfd, int *ret_uffd)
{
	*ret_pidfd = *ret_uffd = -1;
	for (size_t i = 0; i < d->n && *ret_uffd < 0; i++) {
		int sock = d->peers[i].sock;
		struct sock_peer who;
		struct err err;

		if (sock_peer(sock, &who, &err) || (uint32_t)who.pid != view->head.vmm_pid ||
		    who.uid != uid)
			continue;
		close_fd(ret_pidfd);
		if (sock_peer_pidfd(sock, who.pid, ret_pidfd, &err))
			*ret_pidfd = -1;
		if (uffd_recover_sent(sock, map_fd, view, ret_uffd, &err))
			*ret_uffd = -1;
	}
	return *ret_pidfd >= 0 || *ret_uffd >= 0;
}
