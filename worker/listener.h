/*
 * listener - the connections of which one is the VMM's
 *
 * Several peers may connect; the first one of the right uid that hands over a
 * userfaultfd is the VMM, for better or worse: if its message is wrong, the
 * restore fails. A peer that hands nothing over (a stranger, a probe, an old VMM
 * whose message was lost) is turned away and the restore keeps waiting.
 *
 * While there is a supervisor, it accepts and hands the connections on (listener_add);
 * it keeps a duplicate of each, so that a successor finds the message unread.
 */
#ifndef UFFDD_LISTENER_H
#define UFFDD_LISTENER_H

#include "common/chan.h"
#include "common/handshake.h"
#include "common/sock.h"

/* A peer that has connected must have said everything by then. */
#define LISTENER_PEER_US ((uint64_t)30 * 1000 * 1000)

struct listener_peer {
	struct handshake hs; /* owned; sock -1: free slot */
	struct sock_peer who;
	uint64_t cookie; /* sock_cookie() of hs.sock */
	int pidfd;       /* owned; -1: it has ended */
	uint64_t deadline_us;
};

struct listener {
	int fd;       /* owned */
	int edges;    /* owned epoll: something has arrived from a peer */
	bool accepts; /* by itself: nobody else does; set by the owner */
	uid_t peer_uid;
	struct listener_peer peers[CHAN_PEERS_MAX];
	/* Somebody was turned away. */
	void (*refused)(void *arg, const struct listener_peer *p, const char *why);
	void *arg;
};

enum listener_step {
	LISTENER_WAIT, /* nobody yet */
	LISTENER_VMM,  /* *ret_vmm and *ret_regions are set */
	LISTENER_BAD,  /* it is the VMM, but err says what is wrong with its message */
};

/* @fd is owned from here on, also on failure. */
int listener_init(struct listener *l, int fd, uid_t peer_uid, struct err *err);
void listener_fini(struct listener *l);

/* A connection that somebody else accepted; owned from here on. */
void listener_add(struct listener *l, int sock, uint64_t now);

struct pollfd;
#define LISTENER_POLL_MAX 2
/* What to wait for: returns how many entries were written. */
size_t listener_poll(const struct listener *l, struct pollfd *ret);
/* The next deadline of a peer, or UINT64_MAX. */
uint64_t listener_deadline_us(const struct listener *l);

/*
 * listener_step - take what has arrived, without blocking
 * @ret_vmm: the VMM's connection, moved to the caller (also on LISTENER_BAD); its message
 *	is not consumed yet
 */
enum listener_step listener_step(struct listener *l, uint64_t now, struct listener_peer *ret_vmm,
				 struct regions *ret_regions, struct err *err);
void listener_peer_fini(struct listener_peer *p);

#endif
