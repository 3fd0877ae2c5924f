/*
 * fuzz_handshake - the VMM's message, in pieces and with descriptors, and its regions as they move
 *
 * Input: options, length of a piece, the message up to a NUL, numbers for the regions.
 */
#include "common/handshake.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "tests/fuzz/fuzz.h"
#include "tests/support/fds.h"

#define PIECE 64
#define STEPS_MAX 64

enum { WITH_FDS = 1, CLOSES = 2 };

static void send_piece(int sock, const uint8_t *text, size_t len, const int *fds, size_t nfds)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 20)];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (nfds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		*CMSG_FIRSTHDR(&msg) = (struct cmsghdr){CMSG_LEN(sizeof(int) * nfds), SOL_SOCKET,
							SCM_RIGHTS};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, sizeof(int) * nfds);
	}
	sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* A stream ends where it ends, whatever the pieces were. */
static void check_read(uint8_t options, const uint8_t *text, size_t len, size_t piece)
{
	enum handshake_step step = HANDSHAKE_MORE, whole;
	struct regions got, want;
	int pair[2], fds[20];
	struct handshake hs;
	struct err err;

	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	FUZZ_CHECK(handshake_init(&hs, pair[1], &err) == 0);
	/* Not the connection's own: it would stay open. */
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = STDERR_FILENO;
	for (size_t at = 0; at < len && step == HANDSHAKE_MORE; at += piece) {
		size_t n = options & WITH_FDS ? (options >> 2) % ARRAY_LEN(fds) : 0;

		send_piece(pair[0], text + at, min_u64(piece, len - at), fds, at ? 0 : n);
		step = handshake_read(&hs, &got, &err);
	}
	if (options & CLOSES)
		close_fd(&pair[0]);
	if (step == HANDSHAKE_MORE)
		step = handshake_read(&hs, &got, &err);
	FUZZ_CHECK(!(options & CLOSES) || step != HANDSHAKE_MORE);
	if (step == HANDSHAKE_BAD)
		FUZZ_CHECK_ERR(&err);
	if (step == HANDSHAKE_DONE) {
		whole = handshake_parse(hs.buf, hs.len, &want, &err);
		FUZZ_CHECK(hs.nfds > 0 && whole == HANDSHAKE_DONE);
		FUZZ_CHECK(memcmp(got.v, want.v, want.n * sizeof(*want.v)) == 0);
		handshake_consume(&hs);
	}
	handshake_fini(&hs);
	close_fd(&pair[0]);
}

static void check_regions(const struct regions *r)
{
	uint64_t start, len, off;

	for (uint32_t i = 0; i < r->n; i++) {
		const struct region *v = &r->v[i];

		FUZZ_CHECK(v->size && v->base + v->size - 1 >= v->base);
		FUZZ_CHECK(i == 0 || v[-1].base + v[-1].size <= v->base);
		FUZZ_CHECK(regions_at_addr(r, v->base) == v);
		FUZZ_CHECK(regions_at_addr(r, v->base + v->size - 1) == v);
		FUZZ_CHECK(regions_at_offset(r, v->offset) == v);
		FUZZ_CHECK(regions_at_offset(r, v->offset + v->size - 1) == v);
		FUZZ_CHECK(regions_clip(r, v->base, v->base + v->size, &start, &len, &off));
		FUZZ_CHECK(start == v->base && len == v->size && off == v->offset);
	}
}

static void move(struct regions *r, struct tape *t)
{
	uint64_t bytes = regions_bytes(r);
	struct err err;

	for (int i = 0; i < STEPS_MAX && t->left && r->n; i++) {
		const struct region *from = &r->v[tape_u8(t) % r->n];
		uint64_t at = from->base + tape_u8(t) * r->page_bytes;
		uint64_t len = tape_u8(t) * r->page_bytes;
		uint64_t to = tape_u8(t) & 1 ? r->v[tape_u8(t) % r->n].base
					     : align_down(tape_u64(t), r->page_bytes);

		if (regions_move(r, at, to + tape_u8(t) * r->page_bytes, len, &err))
			FUZZ_CHECK_ERR(&err);
		check_regions(r);
		FUZZ_CHECK(regions_bytes(r) <= bytes);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct tape t = {data, len};
	uint8_t options = tape_u8(&t), piece = tape_u8(&t);
	const uint8_t *end = t.left ? memchr(t.at, 0, t.left) : NULL, *text = t.at;
	size_t n = end ? (size_t)(end - text) : t.left;
	int fds = fds_count(getpid());
	struct regions r;
	struct err err;

	if (handshake_parse((const char *)text, n, &r, &err) == HANDSHAKE_DONE) {
		/* What has arrived until then can become it. */
		enum handshake_step before = handshake_parse((const char *)text, n * piece / 256,
							     &(struct regions){0}, &err);

		FUZZ_CHECK(before == HANDSHAKE_MORE || before == HANDSHAKE_DONE);
		t = (struct tape){text + n + !!end, t.left - n - !!end};
		if (regions_check(&r, UINT64_C(1) << 40, &err) == 0) {
			check_regions(&r);
			move(&r, &t);
		}
	}
	check_read(options, text, n, 1 + piece * (1 + n / PIECE) % (n + 1));
	FUZZ_CHECK(fds_count(getpid()) == fds);
	return 0;
}
