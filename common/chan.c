#include "common/chan.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "common/foreign.h"
#include "common/io.h"

#define HEAD_BYTES offsetof(struct chan_msg, hello)

/* Worker and supervisor are built together, but an upgraded supervisor meets old workers. */
static_assert(HEAD_BYTES == 8, "wire");
static_assert(sizeof(struct chan_hello) == 40, "wire");
static_assert(sizeof(struct chan_assign) == 624, "wire");
static_assert(sizeof(struct chan_bounds) == 24, "wire");
static_assert(sizeof(struct chan_user) == 8, "wire");
static_assert(sizeof(struct chan_ready) == 64, "wire");
static_assert(sizeof(struct chan_refused) == 272, "wire");
static_assert(sizeof(struct chan_connected) == 32, "wire");
static_assert(sizeof(struct chan_failed) == 536, "wire");
static_assert(sizeof(struct chan_prefetch) == 24, "wire");
static_assert(sizeof(struct chan_stop) == 8, "wire");
static_assert(sizeof(struct chan_note) == 512, "wire");
static_assert(sizeof(struct chan_empty) == 8, "wire");
static_assert(sizeof(struct chan_files) == 16, "wire");
static_assert(sizeof(struct chan_reattach) == 112, "wire");
static_assert(sizeof(struct chan_lease) == 16, "wire");
static_assert(sizeof(struct chan_forked) == 8, "wire");
static_assert(sizeof(struct chan_cgroups) == 16, "wire");
static_assert(sizeof(struct chan_proof) == 128, "wire");

/* clang-format off */
static const struct {
	const char *name;
	size_t body_bytes;
} types[CHAN_TYPE_COUNT] = {
#define X(type, body, who) [type] = {&(#type)[sizeof("CHAN_") - 1], \
				     sizeof(((struct chan_msg *)0)->body)},
	CHAN_TYPES(X)
#undef X
};
/* clang-format on */

/* clang-format off */
#define TEXT(type, member) \
	{type, offsetof(struct chan_msg, member), sizeof(((struct chan_msg *)0)->member)}
/* clang-format on */
/* clang-format off */
static const struct {
	enum chan_type type;
	size_t offset, size;
} texts[] = {
	TEXT(CHAN_HELLO, hello.release), TEXT(CHAN_ASSIGN, assign.key),
	TEXT(CHAN_REFUSED, refused.why), TEXT(CHAN_FAILED, failed.msg),
	TEXT(CHAN_NOTE, note.type),      TEXT(CHAN_NOTE, note.msg),
	TEXT(CHAN_ASSIGN, assign.reconnect_path),  TEXT(CHAN_REATTACH, reattach.key),
	TEXT(CHAN_REATTACH, reattach.release),     TEXT(CHAN_ASSIGN, assign.id),
	TEXT(CHAN_PROOF, proof.id),
};
/* clang-format on */
#undef TEXT

const char *chan_type_name(enum chan_type type)
{
	return (unsigned)type < CHAN_TYPE_COUNT && types[type].name ? types[type].name : "unknown";
}

const char *const chan_note_types[CHAN_NOTE_COUNT] = {
#define X(kind, type) [kind] = type,
	CHAN_NOTES(X)
#undef X
};

enum chan_note_kind chan_note_kind(const char *type)
{
	enum chan_note_kind kind = 0;

	while (kind < CHAN_NOTE_COUNT && strcmp(type, chan_note_types[kind]) != 0)
		kind++;
	return kind;
}

int chan_pair(int ret_fds[2], struct err *err)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return err_sys(err, "cannot make a worker's channel");
	if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0) {
		err_sys(err, "cannot make a worker's channel");
		close(fds[0]);
		close(fds[1]);
		return -1;
	}
	ret_fds[0] = fds[0];
	ret_fds[1] = fds[1];
	return 0;
}

static int send_failed(enum chan_type type, struct err *err)
{
	switch (errno) {
	case EPIPE:
	case ECONNRESET:
	case ECONNREFUSED:
	case ENOTCONN:
		return err_set(err, ERR_UNREADY, "cannot send %s: the other side is gone",
			       chan_type_name(type));
	case EAGAIN:
	case ENOBUFS:
	case ETOOMANYREFS: /* this user has too many descriptors in flight */
		return err_set(err, ERR_UNREADY, "cannot send %s: the channel is full",
			       chan_type_name(type));
	default:
		return err_sys(err, "cannot send %s", chan_type_name(type));
	}
}

int chan_send(int sock, enum chan_type type, struct chan_msg *msg, const int *fds, size_t nfds,
	      struct err *err)
{
	struct iovec iov = {.iov_base = msg};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};

	assert(type > CHAN_NONE && type < CHAN_TYPE_COUNT && nfds <= CHAN_FDS_MAX);
	msg->type = type;
	msg->version = CHAN_VERSION;
	iov.iov_len = HEAD_BYTES + types[type].body_bytes;
	/* The guest's thread sends too: it must never wait for a supervisor that does not read. */
	if (io_send(sock, &hdr, fds, nfds, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return send_failed(type, err);
	return 0;
}

/*
 * TAKEN_MORE: the message brought more than CHAN_FDS_MAX descriptors. TAKEN_SHORT: this process's
 * descriptor table had no room for all of them.
 */
enum taken { TAKEN_ALL, TAKEN_MORE, TAKEN_SHORT };

static enum taken take_fds(struct msghdr *hdr, int fds[CHAN_FDS_MAX])
{
	bool all;
	size_t n = io_take_fds(hdr, fds, CHAN_FDS_MAX, &all);

	return all ? TAKEN_ALL : n < CHAN_FDS_MAX ? TAKEN_SHORT : TAKEN_MORE;
}

/*
 * The same version has exactly our length. An older one may be shorter, a newer one longer. A
 * message that was truncated fills struct chan_msg, so @len is at least that of any body.
 */
static bool fits_version(const struct chan_msg *msg, size_t len, bool truncated)
{
	size_t want = HEAD_BYTES + types[msg->type].body_bytes;

	if (msg->version < CHAN_VERSION)
		return !truncated && len <= want;
	if (msg->version > CHAN_VERSION)
		return len >= want;
	return !truncated && len == want;
}

/* A newer sender's tail overlaps members of other bodies: zero all behind the known body. */
static void cut_tail(struct chan_msg *msg)
{
	size_t known = HEAD_BYTES + types[msg->type].body_bytes;

	memset((char *)msg + known, 0, sizeof(*msg) - known);
}

/* A type that a newer version has added, and that this one can do without. */
static bool is_of_the_future(const struct chan_msg *msg)
{
	return msg->version > CHAN_VERSION && msg->type >= CHAN_TYPE_COUNT;
}

static int check_msg(const struct chan_msg *msg, size_t len, bool truncated, struct err *err)
{
	if (len < HEAD_BYTES)
		return err_set(err, ERR_PEER, "channel message of %zu bytes is too short", len);
	if (msg->version < CHAN_VERSION_MIN)
		return err_set(err, ERR_PEER,
			       "channel message has version %u, the oldest that is "
			       "understood is %d: the other side is too old",
			       msg->version, CHAN_VERSION_MIN);
	if (is_of_the_future(msg))
		return 0;
	if (msg->type == CHAN_NONE || msg->type >= CHAN_TYPE_COUNT)
		return err_set(err, ERR_PEER, "channel message has unknown type %u", msg->type);
	if (!fits_version(msg, len, truncated))
		return err_set(err, ERR_PEER, "channel message %s has the wrong length",
			       chan_type_name(msg->type));
	return 0;
}

void chan_close_fds(int fds[CHAN_FDS_MAX])
{
	for (size_t i = 0; i < CHAN_FDS_MAX; i++)
		foreign_close(&fds[i]);
}

/* Passes on neither body nor descriptors. */
static void ignore(struct chan_msg *msg, int fds[CHAN_FDS_MAX])
{
	const uint32_t version = msg->version;

	memset(msg, 0, sizeof(*msg));
	msg->version = version;
	chan_close_fds(fds);
}

static void end_texts(struct chan_msg *msg)
{
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (texts[i].type == msg->type)
			((char *)msg)[texts[i].offset + texts[i].size - 1] = '\0';
}

/* Checks a message of @n bytes that came with @fds. */
static enum chan_step judge(struct chan_msg *msg, size_t n, bool truncated, enum taken taken,
			    int fds[CHAN_FDS_MAX], struct err *err)
{
	if (check_msg(msg, n, truncated, err) < 0)
		return CHAN_BAD;
	if (is_of_the_future(msg)) {
		ignore(msg, fds);
		return CHAN_GOT;
	}
	if (taken == TAKEN_MORE) {
		err_set(err, ERR_PEER, "channel message %s brings more than %d descriptors",
			chan_type_name(msg->type), CHAN_FDS_MAX);
		return CHAN_BAD;
	}
	if (taken == TAKEN_SHORT) {
		err_set(err, ERR_SYSTEM,
			"no descriptor is left for those of a channel message %s: "
			"raise the limit of open files",
			chan_type_name(msg->type));
		return CHAN_LOST;
	}
	cut_tail(msg);
	end_texts(msg);
	return CHAN_GOT;
}

enum chan_step chan_recv(int sock, struct chan_msg *msg, int fds[CHAN_FDS_MAX], struct err *err)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * CHAN_FDS_MAX)];
	} control;
	struct iovec iov = {.iov_base = msg, .iov_len = sizeof(*msg)};
	struct msghdr hdr = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	/* An empty message looks like the end of the channel; no program of ours sends one. */
	enum chan_step step = CHAN_CLOSED;
	enum taken taken;
	ssize_t n;

	for (size_t i = 0; i < CHAN_FDS_MAX; i++)
		fds[i] = -1;
	memset(msg, 0, sizeof(*msg));
	do
		n = recvmsg(sock, &hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno == EAGAIN)
			return CHAN_AGAIN;
		if (errno == ECONNRESET)
			return CHAN_CLOSED;
		err_sys(err, "cannot read the channel");
		return CHAN_BAD;
	}
	taken = take_fds(&hdr, fds);
	if (n > 0)
		step = judge(msg, (size_t)n, hdr.msg_flags & MSG_TRUNC, taken, fds, err);
	if (step != CHAN_GOT)
		chan_close_fds(fds);
	return step;
}
