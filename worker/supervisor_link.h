/*
 * supervisor_link - the channel to the supervisor, and to the next one when it dies
 *
 * A worker does not depend on its supervisor: what cannot be sent is not sent,
 * and the guest is served on. While the supervisor is away the worker asks at its
 * reconnect socket, with growing and jittered pauses; whoever owns the link then tells the new
 * one everything that it must know.
 */
#ifndef UFFDD_SUPERVISOR_LINK_H
#define UFFDD_SUPERVISOR_LINK_H

#include <sys/types.h>

#include "common/chan.h"

struct supervisor_link {
	int chan;       /* owned; -1 while the supervisor is away */
	unsigned epoch; /* counts channels: a new one may have the number of the old one */
	int late;       /* owned; the channel of one that died, while something on it is unread */
	char id[PROTO_ID_MAX + 1];
	char reconnect_path[PROTO_SUN_MAX + 1]; /* "" = none: once lost, lost */
	uid_t reconnect_uid;                    /* who may be there */
	uint64_t try_us, pause_us;              /* next attempt, and the pause after it */
	uint64_t since_us;                      /* of the channel */
	bool heard;                             /* something on it */
};

void supervisor_link_init(struct supervisor_link *l, int chan);
void supervisor_link_fini(struct supervisor_link *l);

/* Sends, or notices that the supervisor is away. @fds stay the caller's. */
void supervisor_link_send(struct supervisor_link *l, enum chan_type type, struct chan_msg *msg,
			  const int *fds, size_t nfds);
/* The queue to the supervisor is short: each kind of note is sent once or rarely. */
void supervisor_link_note(struct supervisor_link *l, enum chan_note_kind kind, const char *text);
/* For poll(): readable when supervisor_link_recv() has something to do. */
static inline int supervisor_link_fd(const struct supervisor_link *l)
{
	return l->late >= 0 ? l->late : l->chan;
}

/*
 * CHAN_GOT, or CHAN_AGAIN: nothing (also while the supervisor is away). What one that
 * died had said before is still heard.
 */
enum chan_step supervisor_link_recv(struct supervisor_link *l, struct chan_msg *msg,
				    int fds[CHAN_FDS_MAX]);

static inline bool supervisor_link_away(const struct supervisor_link *l)
{
	return l->chan < 0;
}
/* Microseconds until supervisor_link_turn() has something to do; UINT64_MAX: never as things are. */
uint64_t supervisor_link_wait_us(const struct supervisor_link *l, uint64_t now);
/* Tries to get back when it is time; true: there is a new supervisor. Does not block. */
bool supervisor_link_turn(struct supervisor_link *l, uint64_t now);

#endif
