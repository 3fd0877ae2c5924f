/*
 * link - the channel to the supervisor, and to the next one when it dies
 *
 * A worker does not depend on its supervisor: what cannot be sent is not sent,
 * and the guest is served on. While the supervisor is away the worker asks at its
 * home socket, with growing and jittered pauses; whoever owns the link then tells the new
 * one everything that it must know.
 */
#ifndef UFFDD_LINK_H
#define UFFDD_LINK_H

#include <sys/types.h>

#include "common/chan.h"

struct link {
	int chan; /* owned; -1 while the supervisor is away */
	unsigned epoch; /* counts channels: a new one may have the number of the old one */
	int late; /* owned; the channel of one that died, while something on it is unread */
	char id[PROTO_ID_MAX + 1];
	char home[PROTO_SUN_MAX + 1]; /* "" = none: once lost, lost */
	uid_t home_uid;               /* who may be there */
	uint64_t try_us, pause_us;    /* next attempt, and the pause after it */
	uint64_t since_us;            /* of the channel */
	bool heard;                   /* something on it */
};

void link_init(struct link *l, int chan);
void link_fini(struct link *l);

/* Sends, or notices that the supervisor is away. @fds stay the caller's. */
void link_send(struct link *l, enum chan_type type, struct chan_msg *msg, const int *fds,
	       size_t nfds);
/* The queue to the supervisor is short: each kind of note is sent once or rarely. */
void link_note(struct link *l, enum chan_note_kind kind, const char *text);
/* For poll(): readable when link_recv() has something to do. */
static inline int link_fd(const struct link *l)
{
	return l->late >= 0 ? l->late : l->chan;
}

/*
 * CHAN_GOT, or CHAN_AGAIN: nothing (also while the supervisor is away). What one that
 * died had said before is still heard.
 */
enum chan_step link_recv(struct link *l, struct chan_msg *msg, int fds[CHAN_FDS_MAX]);

static inline bool link_away(const struct link *l)
{
	return l->chan < 0;
}
/* Microseconds until link_turn() has something to do; UINT64_MAX: never as things are. */
uint64_t link_wait_us(const struct link *l, uint64_t now);
/* Tries to get back when it is time; true: there is a new supervisor. Does not block. */
bool link_turn(struct link *l, uint64_t now);

#endif
