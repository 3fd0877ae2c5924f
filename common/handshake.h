/*
 * handshake - guest memory regions and the uffd, from a VMM over a Unix socket
 *
 * The VMM sends one JSON array of regions with 1..N descriptors as SCM_RIGHTS,
 * the uffd first. A stream socket may split it, and old VMMs may send nothing.
 *
 *   {"base_host_virt_addr":u64,"size":u64,"offset":u64,"page_size":u64,"page_size_kib":u64}
 *
 * page_size_kib is in bytes despite its name, but 4 and 2048 can only be KiB. page_size,
 * else page_size_kib, else 4096; 0 and null stand for "not said", and two that are said
 * must agree. {"regions": [...]} or {"mappings": [...]} around the array will do as well.
 * Unknown members are ignored (later VMMs add some); everything else is strict.
 */
#ifndef UFFDD_HANDSHAKE_H
#define UFFDD_HANDSHAKE_H

#include "common/region.h"

#define HANDSHAKE_BYTES_MAX (64 << 10)
#define HANDSHAKE_FDS_MAX 16

/*
 * One connection on which a handshake is arriving. It is only looked at and stays in
 * the socket's queue until it is consumed: whoever has a duplicate of the socket then
 * can begin again. The place up to which it was looked at belongs to the socket, so
 * only one may look at a time.
 */
struct handshake {
	int sock;                   /* owned, non-blocking, or -1 */
	int fds[HANDSHAKE_FDS_MAX]; /* owned */
	size_t nfds;
	size_t len;
	char *buf; /* owned, HANDSHAKE_BYTES_MAX */
};

enum handshake_step {
	HANDSHAKE_MORE,  /* incomplete; wait for the socket */
	HANDSHAKE_DONE,  /* regions are parsed (not yet checked), fds[0] is the uffd */
	HANDSHAKE_EMPTY, /* the peer closed without a byte, thus without a descriptor */
	HANDSHAKE_BAD,   /* err says what; nfds tells whether it handed something over */
};

/* @sock is owned from here on, also on failure. Looks from the beginning on. */
int handshake_init(struct handshake *hs, int sock, struct err *err);
/*
 * handshake_read - take what has arrived, without blocking
 *
 * Never leaks a descriptor: they are in @hs, closed by handshake_fini(), or
 * taken by the caller (who then sets the slot to -1). The socket stays readable
 * for poll(): only an edge tells that there is more (EPOLLET).
 */
enum handshake_step handshake_read(struct handshake *hs, struct regions *ret, struct err *err);
/* Takes what was read out of the queue, with the descriptors in it. Safe to repeat. */
void handshake_consume(struct handshake *hs);
/*
 * handshake_first_fd - the first descriptor that came on @sock, or -1
 * For one who must not know the text; it stays in the queue. @sock stays the caller's.
 */
int handshake_first_fd(int sock);
/* Closes everything still owned. Accepts a zeroed struct with sock = -1. */
void handshake_fini(struct handshake *hs);

/*
 * handshake_parse - the JSON alone (also the fuzz target)
 *
 * Returns HANDSHAKE_MORE for text that may still become complete.
 */
enum handshake_step handshake_parse(const char *text, size_t len, struct regions *ret,
				    struct err *err);

#endif
