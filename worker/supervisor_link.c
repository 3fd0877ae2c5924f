#include "worker/supervisor_link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PAUSE_MIN_US ((uint64_t)20 * 1000)
#define PAUSE_MAX_US ((uint64_t)1000 * 1000)

void supervisor_link_init(struct supervisor_link *l, int chan)
{
	memset(l, 0, sizeof(*l));
	l->chan = chan;
	l->late = -1;
	l->reconnect_uid = getuid();
	l->pause_us = PAUSE_MIN_US;
}

void supervisor_link_fini(struct supervisor_link *l)
{
	close_fd(&l->chan);
	close_fd(&l->late);
	l->reconnect_path[0] = '\0';
}

/* A thousand workers must not reconnect at the same moment. */
static uint64_t jittered(uint64_t pause)
{
	uint64_t noise = (now_us() ^ ((uint64_t)getpid() << 20)) * 0x9e3779b97f4a7c15ull;

	return pause / 2 + noise % pause;
}

static void lose(struct supervisor_link *l)
{
	uint64_t now = now_us();

	close_fd(&l->chan);
	/* A supervisor that closes the channel at once must be tried more and more seldom. */
	if (l->heard || now > l->since_us + PAUSE_MAX_US)
		l->pause_us = PAUSE_MIN_US;
	else
		l->pause_us = min_u64(l->pause_us * 2, PAUSE_MAX_US);
	l->try_us = now + jittered(l->pause_us);
}

/* The dead supervisor may have passed a descriptor that no other process has. */
static bool has_unread(int chan)
{
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};

	return recvmsg(chan, &hdr, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void supervisor_link_send(struct supervisor_link *l, enum chan_type type, struct chan_msg *msg,
			  const int *fds, size_t nfds)
{
	struct err err;

	if (l->chan < 0 || chan_send(l->chan, type, msg, fds, nfds, &err) == 0)
		return;
	if (l->late < 0 && has_unread(l->chan))
		l->late = steal_fd(&l->chan);
	lose(l);
}

void supervisor_link_note(struct supervisor_link *l, enum chan_note_kind kind, const char *text)
{
	struct chan_msg msg = {0};

	snprintf(msg.note.type, sizeof(msg.note.type), "%s", chan_note_types[kind]);
	snprintf(msg.note.msg, sizeof(msg.note.msg), "%s", text);
	supervisor_link_send(l, CHAN_NOTE, &msg, NULL, 0);
}

enum chan_step supervisor_link_recv(struct supervisor_link *l, struct chan_msg *msg,
				    int fds[CHAN_FDS_MAX])
{
	enum chan_step step;
	struct err err;

	if (l->late >= 0) {
		if (chan_recv(l->late, msg, fds, &err) == CHAN_GOT)
			return CHAN_GOT;
		close_fd(&l->late);
	}
	if (l->chan < 0)
		return CHAN_AGAIN;
	step = chan_recv(l->chan, msg, fds, &err);
	l->heard = l->heard || step == CHAN_GOT;
	if (step == CHAN_GOT || step == CHAN_AGAIN)
		return step;
	/* Without its descriptors the message is useless, but the channel is still good. */
	if (step == CHAN_LOST) {
		msg->type = CHAN_NONE;
		return CHAN_GOT;
	}
	lose(l);
	return CHAN_AGAIN;
}

uint64_t supervisor_link_wait_us(const struct supervisor_link *l, uint64_t now)
{
	if (supervisor_link_fd(l) >= 0 || !l->reconnect_path[0])
		return UINT64_MAX;
	return l->try_us > now ? l->try_us - now : 0;
}

/* Reconnects only to root, or to the user that runs all of uffdd. */
static bool is_supervisor(const struct supervisor_link *l, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	       cred.uid == l->reconnect_uid;
}

static int dial(const struct supervisor_link *l)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(addr.sun_path, l->reconnect_path, strlen(l->reconnect_path) + 1);
	/* A full backlog is EAGAIN: try again later. */
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) || !is_supervisor(l, fd))
		return -1;
	return steal_fd(&fd);
}

bool supervisor_link_turn(struct supervisor_link *l, uint64_t now)
{
	if (supervisor_link_wait_us(l, now))
		return false;
	l->chan = dial(l);
	if (l->chan >= 0) {
		l->epoch++;
		l->since_us = now;
		l->heard = false;
		return true;
	}
	l->pause_us = min_u64(l->pause_us * 2, PAUSE_MAX_US);
	l->try_us = now + jittered(l->pause_us);
	return false;
}

/* clang-format off */
static const struct call needs[] = {
	/* Of this type control.sock is none: the kernel refuses to connect to it. */
	{SCMP_SYS(socket), {{0, CALL_INT, AF_UNIX}, {1, 0xf, SOCK_SEQPACKET}}},
	CALL(connect), CALL(getsockopt), CALL(sendmsg), CALL(recvmsg), CALL(getuid),
};
/* clang-format on */
const struct calls supervisor_link_calls = CALLS(needs);
