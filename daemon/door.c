#include "daemon/door.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/fetch.h"
#include "daemon/live.h"

/* So many at once, then one each time. */
#define BURST 32
#define EVERY_US 10000
#define AGAIN_US 100000 /* when descriptors or the worker's queue are short */

void door_init(struct door *d)
{
	*d = (struct door){.fd = -1};
}

/* How long until the next one may be let in. A silence of BURST * EVERY_US makes up for all. */
static uint64_t wait_us(struct door *d, uint64_t now)
{
	const uint64_t credit = (uint64_t)(BURST - 1) * EVERY_US;

	d->due_us = max_u64(d->due_us, now);
	return d->due_us - now > credit ? d->due_us - now - credit : 0;
}

static bool has_room(const struct door *d)
{
	return d->n + d->awaited < CHAN_PEERS_MAX;
}

static void wake_in(struct door *d, uint64_t us)
{
	const struct timeval tv = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};

	event_del(d->on_peer);
	evtimer_add(d->again, &tv);
}

/* Wait for what is possible next. */
static void arm(struct door *d)
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

/* True when its worker has all of them. */
static bool tell(struct live *l)
{
	struct door *d = &l->door;
	struct chan_msg msg = {0};
	struct err err;

	for (size_t i = 0; i < d->n; i++) {
		if (d->peers[i].told)
			continue;
		if (!l->worker ||
		    worker_send(l->worker, CHAN_PEER, &msg, &d->peers[i].sock, 1, &err))
			return false;
		d->peers[i].told = true;
	}
	return true;
}

static void tell_or_wait(struct live *l)
{
	bool told = tell(l);

	arm(&l->door);
	if (!told && l->door.on_peer)
		wake_in(&l->door, AGAIN_US);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	tell_or_wait(arg);
}

static void on_peer(evutil_socket_t fd, short what, void *arg)
{
	struct live *l = arg;
	struct door *d = &l->door;
	int sock;

	(void)what;
	if (!has_room(d) || wait_us(d, now_us())) {
		arm(d);
		return;
	}
	if (!l->host->hooks->room(l->host->arg)) {
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
	d->peers[d->n++] = (struct door_peer){.sock = sock, .ours = true};
	tell_or_wait(l);
}

static void drop_event(struct event **ev)
{
	if (*ev)
		event_free(*ev);
	*ev = NULL;
}

/* It may come from a worker, which may be in somebody else's hands: nothing else may be polled. */
bool door_listens(int fd)
{
	int domain, listening;
	socklen_t len = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening &&
	       fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
}

void door_open(struct live *l, int *fd, size_t awaited)
{
	struct door *d = &l->door;

	drop_event(&d->on_peer);
	drop_event(&d->again);
	if (door_listens(*fd)) {
		close_fd(&d->fd);
		d->fd = steal_fd(fd);
	}
	d->awaited = min_u64(awaited, CHAN_PEERS_MAX);
	if (l->rec.state != STATE_WAITING || d->fd < 0)
		return;
	d->on_peer = event_new(l->host->base, d->fd, EV_READ | EV_PERSIST, on_peer, l);
	d->again = evtimer_new(l->host->base, on_again, l);
	arm(d);
}

void door_close(struct live *l)
{
	struct door *d = &l->door;

	drop_event(&d->on_peer);
	drop_event(&d->again);
	while (d->n)
		close(d->peers[--d->n].sock);
	d->awaited = 0;
	close_fd(&d->fd);
}

/*
 * What is accepted has the name of the listener. But so has what was bound to that name before it
 * connected to somebody else: only where nobody but us can bind does it tell.
 */
static bool came_to_us(const struct live *l, int sock)
{
	struct sockaddr_un at = {0};
	socklen_t len = sizeof(at);

	return l->own_socket && getsockname(sock, (struct sockaddr *)&at, &len) == 0 &&
	       at.sun_family == AF_UNIX &&
	       strncmp(at.sun_path, l->rec.socket_path, sizeof(at.sun_path)) == 0;
}

void door_keep(struct live *l, int *sock)
{
	struct door *d = &l->door;

	d->awaited -= d->awaited > 0;
	if (*sock >= 0 && d->n < CHAN_PEERS_MAX && d->on_peer) {
		bool ours = came_to_us(l, *sock);

		d->peers[d->n++] = (struct door_peer){steal_fd(sock), .told = true, .ours = ours};
	}
	arm(d);
}

void door_forget_told(struct live *l)
{
	struct door *d = &l->door;

	for (size_t i = 0; i < d->n;) {
		if (!d->peers[i].told) {
			i++;
			continue;
		}
		close(d->peers[i].sock);
		d->peers[i] = d->peers[--d->n];
	}
}

void door_drop(struct live *l, uint64_t cookie)
{
	struct door *d = &l->door;

	for (size_t i = 0; i < d->n; i++)
		if (sock_cookie(d->peers[i].sock) == cookie) {
			close(d->peers[i].sock);
			d->peers[i] = d->peers[--d->n];
			break;
		}
	arm(d);
}

bool door_knows(const struct live *l, pid_t pid)
{
	for (size_t i = 0; i < l->door.n; i++) {
		struct sock_peer who;
		struct err err;

		if (l->door.peers[i].ours &&
		    sock_peer(l->door.peers[i].sock, &who, &err) == 0 && who.pid == pid &&
		    who.uid == l->spec.peer_uid)
			return true;
	}
	return false;
}

void door_hand_over(struct live *l)
{
	struct door *d = &l->door;

	d->awaited = 0;
	for (size_t i = 0; i < d->n; i++)
		d->peers[i].told = false;
	tell_or_wait(l);
}

bool door_find(const struct live *l, const struct pagemap_view *view, int *ret_pidfd,
	       int *ret_uffd)
{
	cleanup_fd int map = -1;
	struct err ignored;

	*ret_pidfd = *ret_uffd = -1;
	if (live_open_map(l, &map, &ignored))
		return false;
	for (size_t i = 0; i < l->door.n && *ret_uffd < 0; i++) {
		int sock = l->door.peers[i].sock;
		struct sock_peer who;
		struct err err;

		if (sock_peer(sock, &who, &err) || (uint32_t)who.pid != view->head.vmm_pid ||
		    who.uid != l->spec.peer_uid)
			continue;
		close_fd(ret_pidfd);
		if (sock_peer_pidfd(sock, who.pid, ret_pidfd, &err))
			*ret_pidfd = -1;
		if (fetch_sent(sock, map, view, ret_uffd, &err))
			*ret_uffd = -1;
	}
	return *ret_pidfd >= 0 || *ret_uffd >= 0;
}
