/*
 * peers - the connections of which one is the VMM's
 *
 * Several peers may connect. The first peer of the right uid that passes a descriptor is the VMM:
 * if its handshake is bad, the restore fails. A peer that passes no descriptor (a stranger, a
 * probe, an old VMM whose message was lost) is rejected, and the restore keeps waiting.
 *
 * While there is a supervisor, the supervisor accepts and passes the connections on (peers_add). It
 * keeps a duplicate of each, so that a successor finds the handshake unread.
 */
#ifndef UFFDD_PEERS_H
#define UFFDD_PEERS_H

#include "common/chan.h"
#include "common/handshake.h"
#include "common/sock.h"
#include "worker/calls.h"

/* Time in which a peer must have sent its whole handshake. */
#define PEERS_PEER_US ((uint64_t)30 * 1000 * 1000)

struct peer {
	struct handshake hs; /* owned; sock -1: free slot */
	struct sock_peer who;
	uint64_t cookie; /* sock_cookie() of hs.sock */
	int pidfd;       /* owned; -1: the peer has ended */
	uint64_t deadline_us;
};

struct peers {
	int fd;       /* owned: the listening socket */
	int edges;    /* owned epoll: readable when a peer has sent something */
	bool accepts; /* set by the owner: accept here, because there is no supervisor */
	uid_t peer_uid;
	pid_t peer_pid; /* 0: any process of that user */
	struct peer peers[CHAN_PEERS_MAX];
	/* Called for each rejected peer. @p and @why are borrowed. */
	void (*refused)(void *arg, const struct peer *p, const char *why);
	void *arg;
};

enum peers_step {
	PEERS_WAIT, /* no VMM yet */
	PEERS_VMM,  /* *ret_vmm and *ret_regions are set */
	PEERS_BAD,  /* the VMM's handshake is bad: *ret_vmm and err are set */
};

/*
 * Takes @fd over, also on failure. @peer_pid: the only process that may be the VMM; 0: any of that
 * user. Returns 0, or -1 with ERR_SYSTEM.
 */
int peers_init(struct peers *l, int fd, uid_t peer_uid, pid_t peer_pid, struct err *err);
/* Closes everything; safe to repeat. */
void peers_fini(struct peers *l);

/* A connection that the supervisor accepted. Takes @sock over; closes it if all slots are taken. */
void peers_add(struct peers *l, int sock, uint64_t now);

struct pollfd;
#define PEERS_POLL_MAX 2
/* Fills what to wait for, at most PEERS_POLL_MAX entries; returns their number. */
size_t peers_poll(const struct peers *l, struct pollfd *ret);
/* The next deadline of a peer in now_us(), or UINT64_MAX. */
uint64_t peers_deadline_us(const struct peers *l);

/*
 * peers_step - take what has arrived, without blocking
 * @ret_vmm: the VMM's connection, owned by the caller (also on PEERS_BAD); its handshake is
 *	not consumed yet
 * @ret_regions: set on PEERS_VMM
 */
enum peers_step peers_step(struct peers *l, uint64_t now, struct peer *ret_vmm,
			   struct regions *ret_regions, struct err *err);
void peer_fini(struct peer *p);

/* What these functions need of the kernel (calls.h). */
extern const struct calls peers_calls;

#endif
