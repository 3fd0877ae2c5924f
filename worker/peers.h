/*
 * peers - the connections of which one is the VMM's
 *
 * Several peers may connect; the first one of the right uid that hands over a
 * userfaultfd is the VMM, for better or worse: if its message is wrong, the
 * restore fails. A peer that hands nothing over (a stranger, a probe, an old VMM
 * whose message was lost) is turned away and the restore keeps waiting.
 *
 * While there is a supervisor, it accepts and hands the connections on (peers_add);
 * it keeps a duplicate of each, so that a successor finds the message unread.
 */
#ifndef UFFDD_PEERS_H
#define UFFDD_PEERS_H

#include "common/chan.h"
#include "common/handshake.h"
#include "common/sock.h"

/* A peer that has connected must have said everything by then. */
#define PEERS_PEER_US ((uint64_t)30 * 1000 * 1000)

struct peer {
	struct handshake hs; /* owned; sock -1: free slot */
	struct sock_peer who;
	uint64_t cookie; /* sock_cookie() of hs.sock */
	int pidfd;       /* owned; -1: it has ended */
	uint64_t deadline_us;
};

struct peers {
	int fd;       /* owned */
	int edges;    /* owned epoll: something has arrived from a peer */
	bool accepts; /* by itself: nobody else does; set by the owner */
	uid_t peer_uid;
	struct peer peers[CHAN_PEERS_MAX];
	/* Somebody was turned away. */
	void (*refused)(void *arg, const struct peer *p, const char *why);
	void *arg;
};

enum peers_step {
	PEERS_WAIT, /* nobody yet */
	PEERS_VMM,  /* *ret_vmm and *ret_regions are set */
	PEERS_BAD,  /* it is the VMM, but err says what is wrong with its message */
};

/* @fd is owned from here on, also on failure. */
int peers_init(struct peers *l, int fd, uid_t peer_uid, struct err *err);
void peers_fini(struct peers *l);

/* A connection that somebody else accepted; owned from here on. */
void peers_add(struct peers *l, int sock, uint64_t now);

struct pollfd;
#define PEERS_POLL_MAX 2
/* What to wait for: returns how many entries were written. */
size_t peers_poll(const struct peers *l, struct pollfd *ret);
/* The next deadline of a peer, or UINT64_MAX. */
uint64_t peers_deadline_us(const struct peers *l);

/*
 * peers_step - take what has arrived, without blocking
 * @ret_vmm: the VMM's connection, moved to the caller (also on PEERS_BAD); its message
 *	is not consumed yet
 */
enum peers_step peers_step(struct peers *l, uint64_t now, struct peer *ret_vmm,
			   struct regions *ret_regions, struct err *err);
void peer_fini(struct peer *p);

#endif
