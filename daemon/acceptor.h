/*
 * acceptor - the UFFD socket of a restore that waits: we accept, its worker decides
 *
 * A VMM says its message only once. So each connection goes to the worker as a
 * duplicate, and ours is kept until the worker has decided upon it: should it die, its
 * successor finds the message unread. Nothing is read here, and nothing blocks.
 *
 * Bounded: at most CHAN_PEERS_MAX are kept, further ones wait in the backlog; and those
 * who come all the time are let in at a pace that does not keep us busy.
 */
#ifndef UFFDD_ACCEPTOR_H
#define UFFDD_ACCEPTOR_H

#include "common/chan.h"

struct event;
struct event_base;
struct pagemap_view;

struct acceptor_peer {
	int sock;  /* owned */
	bool told; /* its worker has it */
	bool ours; /* it has come to a socket of ours: the kernel says so, not the worker */
};

struct acceptor_hooks {
	/* A connection for the worker, by a duplicate; false: it cannot take it now. */
	bool (*send)(void *arg, int sock);
	/* Are there descriptors for whoever just comes? */
	bool (*room)(void *arg);
};

struct acceptor {
	struct event_base *base;            /* borrowed */
	const struct acceptor_hooks *hooks; /* borrowed */
	void *arg;
	int fd;                        /* owned duplicate of the listening socket, or -1 */
	struct event *on_peer, *again; /* owned; NULL: nobody is let in (yet) */
	uint64_t due_us;               /* the pace: see wait_us() */
	size_t n;
	size_t awaited; /* a worker that came back has announced them */
	struct acceptor_peer peers[CHAN_PEERS_MAX];
};

void acceptor_init(struct acceptor *d, struct event_base *base, const struct acceptor_hooks *hooks,
		   void *arg);
/*
 * The worker is ready. @fd, when there is one, is taken: the socket, maybe again.
 * @waits: a VMM is still to come
 */
void acceptor_open(struct acceptor *d, int *fd, size_t awaited, bool waits);
/* Is it a listening Unix socket? Then it does not block any more. */
bool acceptor_listens(int fd);
/* No VMM is to come any more. Safe to repeat. */
void acceptor_close(struct acceptor *d);

/*
 * A connection that the worker accepted by itself; @sock is taken.
 * @own_path: of the socket, where nobody but us can bind it; else NULL
 */
void acceptor_keep(struct acceptor *d, int *sock, const char *own_path);
/* The worker will come back, and bring all that it has been told of. */
void acceptor_forget_sent(struct acceptor *d);
/* The worker turned it away; @cookie is what sock_cookie() says of it. */
void acceptor_drop(struct acceptor *d, uint64_t cookie);
/* Has that process of that user come to our socket, and is kept? The kernel says so. */
bool acceptor_has_peer(const struct acceptor *d, pid_t pid, uid_t uid);
/* To a new worker: all that is kept. */
void acceptor_hand_over(struct acceptor *d);

/*
 * acceptor_find - the VMM of the page map among those who are kept
 * @uid: whose VMM may come
 * @map_fd, @view: that page map
 *
 * Its worker died before it could tell. Returns true with its pidfd, or -1 when it has ended,
 * and its uffd, or -1 when its message has none (any more); both owned by the caller.
 */
bool acceptor_find(const struct acceptor *d, uid_t uid, int map_fd, const struct pagemap_view *view,
		   int *ret_pidfd, int *ret_uffd);

#endif
