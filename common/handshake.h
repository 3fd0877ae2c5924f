/*
 * handshake - guest memory regions and the uffd, from a VMM over a Unix socket
 *
 * The VMM sends one JSON array of regions with 1..N descriptors as SCM_RIGHTS, the uffd first. A
 * stream socket may split the message, and old VMMs may send nothing.
 *
 *   {"base_host_virt_addr":u64,"size":u64,"offset":u64,"page_size":u64,"page_size_kib":u64}
 *
 * page_size_kib is in bytes despite its name, but 4 and 2048 can only be KiB. The page size is
 * page_size, else page_size_kib, else 4096. 0 and null count as absent; if both members are given,
 * they must agree. {"regions": [...]} or {"mappings": [...]} around the array is accepted, too.
 * Unknown members are ignored (later VMMs add some); everything else is strict.
 */
#ifndef UFFDD_HANDSHAKE_H
#define UFFDD_HANDSHAKE_H

#include "common/region.h"

#define HANDSHAKE_BYTES_MAX (64 << 10)
#define HANDSHAKE_FDS_MAX 16

/*
 * One connection on which a handshake is arriving. handshake_read() only peeks, so the message
 * stays in the socket's queue until handshake_consume(): a successor with a duplicate of the socket
 * can begin again. The peek offset belongs to the socket, so only one process may peek at a time.
 */
struct handshake {
	int sock;                   /* owned, non-blocking, or -1 */
	int fds[HANDSHAKE_FDS_MAX]; /* owned; -1 where taken */
	size_t nfds;
	size_t len;
	char *buf; /* owned, HANDSHAKE_BYTES_MAX */
};

enum handshake_step {
	HANDSHAKE_MORE,  /* incomplete; wait for the socket */
	HANDSHAKE_DONE,  /* the regions are parsed (not yet checked), fds[0] is the uffd */
	HANDSHAKE_EMPTY, /* the peer closed without sending a byte, thus without a descriptor */
	HANDSHAKE_BAD,   /* err is filled; nfds > 0: the peer has sent a descriptor */
};

/*
 * Begins to read the message from its start. Takes @sock over, also on failure. Returns 0, or -1
 * with ERR_SYSTEM.
 */
int handshake_init(struct handshake *hs, int sock, struct err *err);
/*
 * handshake_read - take what has arrived, without blocking
 * @ret: set on HANDSHAKE_DONE only
 *
 * Descriptors are kept in @hs until handshake_fini() closes them. A caller that takes one sets its
 * slot to -1. The socket stays readable for poll(): only an edge (EPOLLET) tells that more has
 * come. HANDSHAKE_BAD: @err is ERR_PEER, or ERR_SYSTEM when the socket cannot be read.
 */
enum handshake_step handshake_read(struct handshake *hs, struct regions *ret, struct err *err);
/* Removes the message that was read, and its descriptors, from the queue. Safe to repeat. */
void handshake_consume(struct handshake *hs);
/*
 * handshake_first_fd - the first descriptor that came on @sock, or -1
 *
 * For a caller that must not read the text. The message stays in the queue, @sock stays the
 * caller's, the descriptor becomes the caller's.
 */
int handshake_first_fd(int sock);
/* Closes everything still owned. Accepts a zeroed struct with sock = -1. */
void handshake_fini(struct handshake *hs);

/*
 * handshake_parse - the JSON alone (also the fuzz target)
 * @ret: set on HANDSHAKE_DONE only
 *
 * Returns HANDSHAKE_DONE, HANDSHAKE_MORE for text that may still become complete, or HANDSHAKE_BAD
 * with ERR_PEER.
 */
enum handshake_step handshake_parse(const char *text, size_t len, struct regions *ret,
				    struct err *err);

#endif
