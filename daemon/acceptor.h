/*
 * acceptor - the UFFD socket of a waiting restore: the supervisor accepts, the worker decides
 *
 * A VMM sends its handshake only once. So each connection goes to the worker as a duplicate, and
 * the acceptor keeps its own until the worker has decided. If the worker dies, its successor finds
 * the message unread. The acceptor reads nothing and never blocks.
 *
 * Bounded: at most CHAN_PEERS_MAX connections are kept, further ones wait in the backlog. Peers
 * that connect all the time are accepted at a limited pace.
 */
#ifndef UFFDD_ACCEPTOR_H
#define UFFDD_ACCEPTOR_H

#include "common/chan.h"

struct event;
struct event_base;
struct pagemap_view;

struct acceptor_peer {
	int sock;  /* owned */
	bool told; /* the worker has a duplicate */
	bool ours; /* the kernel says that it came to our socket */
};

struct acceptor_hooks {
	/* Sends the worker a duplicate of @sock. False: the worker cannot take it now. */
	bool (*send)(void *arg, int sock);
	/* Are descriptors left for a connection that is accepted now? */
	bool (*room)(void *arg);
};

struct acceptor {
	struct event_base *base;            /* borrowed */
	const struct acceptor_hooks *hooks; /* borrowed */
	void *arg;
	int fd;                        /* owned duplicate of the listening socket, or -1 */
	struct event *on_peer, *again; /* owned; NULL: not accepting (yet) */
	uint64_t due_us;               /* the pace: see wait_us() */
	size_t n;                      /* of peers */
	size_t awaited;                /* connections that a returned worker will bring by PEER */
	struct acceptor_peer peers[CHAN_PEERS_MAX];
};

/* @base, @hooks and @arg are borrowed, and outlive @d. Nothing is accepted yet. */
void acceptor_init(struct acceptor *d, struct event_base *base, const struct acceptor_hooks *hooks,
		   void *arg);
/*
 * acceptor_open - the worker is ready: accept
 * @fd: taken, and -1 from then on, if it is a listening Unix socket; else the former one stays
 * @awaited: connections that the worker brings by itself (npeers of REATTACH)
 * @waits: a VMM is still to come; otherwise nothing is accepted
 */
void acceptor_open(struct acceptor *d, int *fd, size_t awaited, bool waits);
/* Is @fd a listening Unix socket? Then it is non-blocking from now on. */
bool acceptor_listens(int fd);
/* No VMM is to come any more: closes all. Safe to repeat. */
void acceptor_close(struct acceptor *d);

/*
 * acceptor_keep - a connection that the worker brings (PEER)
 * @sock: taken, and -1 from then on, if there is room
 * @own_path: of the socket, where only this daemon can bind it; else NULL
 */
void acceptor_keep(struct acceptor *d, int *sock, const char *own_path);
/* Closes what the worker has: it comes back, and brings these connections by PEER. */
void acceptor_forget_sent(struct acceptor *d);
/* The worker refused the peer: closes the connection whose sock_cookie() is @cookie. */
void acceptor_drop(struct acceptor *d, uint64_t cookie);
/* Is a connection kept that, by the kernel, process @pid of user @uid made to our socket? */
bool acceptor_has_peer(const struct acceptor *d, pid_t pid, uid_t uid);
/* Sends all that is kept to a new worker. */
void acceptor_hand_over(struct acceptor *d);

/*
 * acceptor_find - the VMM that the page map names, among the connections that are kept
 * @uid: of the VMM
 * @map_fd, @view: the page map
 *
 * For a worker that died before it sent CONNECTED. False: no such connection, or nothing was got
 * from it. True: *ret_pidfd is the VMM's, or -1 when that process has ended; *ret_uffd is the one
 * of its message, or -1 when none is in it (any more). Both are owned by the caller.
 */
bool acceptor_find(const struct acceptor *d, uid_t uid, int map_fd, const struct pagemap_view *view,
		   int *ret_pidfd, int *ret_uffd);

#endif
