/*
 * supervisor_link - the channel to the supervisor, and to the next one when it dies
 *
 * A worker does not depend on its supervisor: a message that cannot be sent is dropped, and the
 * guest is served on. While the supervisor is away the worker tries to connect to its reconnect
 * socket, with growing and jittered pauses. After that the link's owner tells the new supervisor
 * all that it must know.
 */
#ifndef UFFDD_SUPERVISOR_LINK_H
#define UFFDD_SUPERVISOR_LINK_H

#include <sys/types.h>

#include "common/chan.h"
#include "worker/calls.h"

struct supervisor_link {
	int chan;       /* owned; -1 while the supervisor is away */
	unsigned epoch; /* counts channels: a new channel may have the old one's number */
	int late;       /* owned; channel of a dead supervisor with unread messages, or -1 */
	char id[PROTO_ID_MAX + 1];
	char reconnect_path[PROTO_SUN_MAX + 1]; /* "": do not reconnect */
	uid_t reconnect_uid;       /* uid that must own the reconnect socket's other end */
	uint64_t try_us, pause_us; /* the next attempt in now_us(), and the pause after it */
	uint64_t since_us;         /* when the channel was connected, now_us() */
	bool heard;                /* a message has come on the channel */
};

/* Takes @chan over. */
void supervisor_link_init(struct supervisor_link *l, int chan);
void supervisor_link_fini(struct supervisor_link *l);

/* Sends, or marks the supervisor as away. @fds stay the caller's. */
void supervisor_link_send(struct supervisor_link *l, enum chan_type type, struct chan_msg *msg,
			  const int *fds, size_t nfds);
/* Sends a note. The queue to the supervisor is short: send each kind once, or rarely. */
void supervisor_link_note(struct supervisor_link *l, enum chan_note_kind kind, const char *text);
/* Borrowed, for poll(): readable when supervisor_link_recv() has something to do; -1: nothing. */
static inline int supervisor_link_fd(const struct supervisor_link *l)
{
	return l->late >= 0 ? l->late : l->chan;
}

/*
 * Receives a message, without blocking. CHAN_GOT, or CHAN_AGAIN: no message, or the supervisor is
 * away. Messages of a dead supervisor are received first. @fds as for chan_recv().
 */
enum chan_step supervisor_link_recv(struct supervisor_link *l, struct chan_msg *msg,
				    int fds[CHAN_FDS_MAX]);

static inline bool supervisor_link_away(const struct supervisor_link *l)
{
	return l->chan < 0;
}
/* Microseconds until supervisor_link_turn() has something to do; UINT64_MAX: nothing for now. */
uint64_t supervisor_link_wait_us(const struct supervisor_link *l, uint64_t now);
/* Tries to reconnect when it is time to. True: there is a new supervisor. Does not block. */
bool supervisor_link_turn(struct supervisor_link *l, uint64_t now);

/* What these functions need of the kernel (calls.h). */
extern const struct calls supervisor_link_calls;

#endif
