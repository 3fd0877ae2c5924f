/*
 * uffdd-worker-old - a worker of channel version 1: its files go to the supervisor, and it
 * comes back without a proof
 *
 * It serves nobody. OLD_FILES is the file that it hands over, 16 times in each message.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "common/chan.h"
#include "common/sock.h"

#define OLD 1
#define HEAD_BYTES offsetof(struct chan_msg, hello)
#define FILES 16
#define MESSAGES 8

static int chan = CHAN_FD;
static int map = -1; /* owned: the page map, which no worker closes before its end */

/* As version 1 had it: bytes and descriptors. */
static bool say(struct chan_msg *msg, enum chan_type type, size_t body, const int *fds, size_t nfds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * FILES)];
	} control = {0};
	struct iovec iov = {msg, HEAD_BYTES + body};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};

	msg->type = type;
	msg->version = OLD;
	if (nfds) {
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		CMSG_FIRSTHDR(&hdr)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&hdr)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&hdr)->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&hdr)), fds, sizeof(int) * nfds);
	}
	return sendmsg(chan, &hdr, MSG_NOSIGNAL) >= 0;
}

/* The note tells that all before it was heard. */
static bool say_files(void)
{
	struct chan_msg note = {.note.type = "forked"};
	int fd = open(getenv("OLD_FILES"), O_RDONLY | O_CLOEXEC), fds[FILES];
	bool said = fd >= 0;

	for (size_t i = 0; i < FILES; i++)
		fds[i] = fd;
	for (uint32_t i = 0; said && i < MESSAGES; i++) {
		struct chan_msg msg = {.files = {.first = i * FILES, .count = FILES}};

		said = say(&msg, CHAN_FILES, 8, fds, FILES);
	}
	close_fd(&fd);
	return said && say(&note, CHAN_NOTE, 512, NULL, 0);
}

/* False once the channel is closed. */
static bool hear(struct chan_msg *msg)
{
	struct pollfd p = {.fd = chan, .events = POLLIN};
	enum chan_step step;
	int fds[CHAN_FDS_MAX];
	struct err err;

	while ((step = chan_recv(chan, msg, fds, &err)) == CHAN_AGAIN)
		poll(&p, 1, -1);
	if (msg->type == CHAN_ASSIGN)
		map = steal_fd(&fds[1]);
	for (size_t i = 0; i < CHAN_FDS_MAX; i++)
		close_fd(&fds[i]);
	return step == CHAN_GOT;
}

static bool come_back(const struct chan_assign *a)
{
	struct chan_msg msg = {0};
	struct err err;

	while (sock_connect(a->reconnect_path, SOCK_SEQPACKET, &chan, &err))
		poll(NULL, 0, 20);
	memcpy(msg.reattach.key, a->key, sizeof(msg.reattach.key));
	msg.reattach.chan_version = OLD;
	return say(&msg, CHAN_REATTACH, 112, NULL, 0) && say_files();
}

int main(int argc, char **argv)
{
	struct chan_msg msg = {.hello.chan_version = OLD}, ready = {0};
	struct chan_assign assign;

	/* Without a zygote the program is executed for each worker. */
	if (argc < 1 || strcmp(argv[0], CHAN_WORKER) != 0)
		return 1;
	say(&msg, CHAN_HELLO, 40, NULL, 0);
	if (!hear(&msg) || msg.type != CHAN_ASSIGN)
		return 0;
	assign = msg.assign;
	ready.ready.size_bytes = ready.ready.span_bytes = PAGE_4K;
	say(&ready, CHAN_READY, 64, NULL, 0);
	say_files();
	for (;;) {
		while (hear(&msg))
			if (msg.type == CHAN_STOP)
				return 0;
		close_fd(&chan);
		come_back(&assign);
		poll(NULL, 0, 20);
	}
}
