#include "common/handshake.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>

#include "common/foreign.h"
#include "common/io.h"
#include "common/js.h"

/* *ret 0: absent. Some forks of Firecracker write a member that they do not use, as 0 or null. */
static int get_size(struct js_at at, const char *key, uint64_t *ret, struct err *err)
{
	struct json_object *value = NULL;
	bool have;

	*ret = 0;
	if (json_object_object_get_ex(at.o, key, &value) && !value)
		return 0;
	return js_u64(at, key, UINT64_MAX, ret, &have, err);
}

static int parse_page_size(struct js_at at, uint64_t *ret, struct err *err)
{
	uint64_t size, kib;

	if (get_size(at, "page_size", &size, err) || get_size(at, "page_size_kib", &kib, err))
		return -1;
	/* No page has so few bytes: the number is in KiB. */
	if (kib == PAGE_4K >> 10 || kib == PAGE_2M >> 10)
		kib <<= 10;
	if (size && kib && size != kib)
		return err_set(err, ERR_PEER,
			       "%s: page_size %" PRIu64 " and page_size_kib %" PRIu64
			       " (in bytes, too) differ",
			       at.path, size, kib);
	*ret = size ? size : kib ? kib : PAGE_4K;
	return 0;
}

static int parse_region(struct json_object *o, size_t i, struct regions *r, struct err *err)
{
	struct region *region = &r->v[i];
	uint64_t page_bytes = 0;
	char name[32];
	const struct js_at at = {o, name};

	snprintf(name, sizeof(name), "region %zu", i);
	if (!json_object_is_type(o, json_type_object))
		return err_set(err, ERR_PEER, "%s is not an object", name);
	if (js_u64(at, "base_host_virt_addr", UINT64_MAX, &region->base, NULL, err) ||
	    js_u64(at, "size", UINT64_MAX, &region->size, NULL, err) ||
	    js_u64(at, "offset", UINT64_MAX, &region->offset, NULL, err) ||
	    parse_page_size(at, &page_bytes, err))
		return -1;
	if (i > 0 && page_bytes != r->page_bytes)
		return err_set(err, ERR_PEER, "%s has page size %" PRIu64 ", region 0 has %" PRIu64,
			       name, page_bytes, r->page_bytes);
	r->page_bytes = page_bytes;
	return 0;
}

static int parse_regions(struct json_object *array, struct regions *r, struct err *err)
{
	size_t n = json_object_array_length(array);

	if (n == 0)
		return err_set(err, ERR_PEER, "no regions");
	if (n > REGIONS_MAX)
		return err_set(err, ERR_PEER, "more than %d regions", REGIONS_MAX);
	for (size_t i = 0; i < n; i++)
		if (parse_region(json_object_array_get_idx(array, i), i, r, err) < 0)
			return -1;
	r->n = (uint32_t)n;
	return 0;
}

/* The array itself, or the one in an object around it. */
static int find_array(struct json_object *message, struct json_object **ret, struct err *err)
{
	static const char *const names[] = {"regions", "mappings"};
	bool found = false;

	*ret = message;
	if (json_object_is_type(message, json_type_array))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!json_object_object_get_ex(message, names[i], NULL))
			continue;
		if (found)
			return err_set(err, ERR_PEER, "both \"%s\" and \"%s\"", names[0], names[1]);
		found = true;
		if (js_array((struct js_at){message, ""}, names[i], SIZE_MAX, ret, NULL, err))
			return -1;
	}
	if (!found)
		return err_set(err, ERR_PEER, "an object without \"%s\" or \"%s\"", names[0],
			       names[1]);
	return 0;
}

enum handshake_step handshake_parse(const char *text, size_t len, struct regions *ret,
				    struct err *err)
{
	cleanup_json struct json_object *message = NULL;
	struct json_object *array;
	struct regions r = {.n = 0};
	bool more;

	if (len > HANDSHAKE_BYTES_MAX) {
		err_set(err, ERR_PEER, "longer than %d bytes", HANDSHAKE_BYTES_MAX);
		return HANDSHAKE_BAD;
	}
	message = js_parse_arriving(text, len, &more, err);
	if (!message && more)
		return HANDSHAKE_MORE;
	if (!message || find_array(message, &array, err) || parse_regions(array, &r, err)) {
		err->code = ERR_PEER;
		return HANDSHAKE_BAD;
	}
	*ret = r;
	return HANDSHAKE_DONE;
}

int handshake_init(struct handshake *hs, int sock, struct err *err)
{
	const int from = 0;
	int flags = fcntl(sock, F_GETFL);

	*hs = (struct handshake){.sock = sock};
	for (size_t i = 0; i < HANDSHAKE_FDS_MAX; i++)
		hs->fds[i] = -1;
	if (flags < 0 || fcntl(sock, F_SETFL, flags | O_NONBLOCK) < 0) {
		err_sys(err, "making the VMM's connection non-blocking");
		handshake_fini(hs);
		return -1;
	}
	if (setsockopt(sock, SOL_SOCKET, SO_PEEK_OFF, &from, sizeof(from)) < 0) {
		err_sys(err, "looking at the VMM's connection without reading it");
		handshake_fini(hs);
		return -1;
	}
	hs->buf = calloc(1, HANDSHAKE_BYTES_MAX);
	if (!hs->buf) {
		err_sys(err, "buffer for the handshake");
		handshake_fini(hs);
		return -1;
	}
	return 0;
}

void handshake_fini(struct handshake *hs)
{
	for (size_t i = 0; i < hs->nfds; i++)
		foreign_close(&hs->fds[i]);
	hs->nfds = 0;
	hs->len = 0;
	foreign_close(&hs->sock);
	free(steal_ptr(&hs->buf));
}

/* False if descriptors were lost. */
static bool keep_fds(struct handshake *hs, struct msghdr *msg)
{
	bool all;

	hs->nfds += io_take_fds(msg, hs->fds + hs->nfds, HANDSHAKE_FDS_MAX - hs->nfds, &all);
	/* The peer has sent a descriptor, even if none could be received. */
	if (!all && hs->nfds == 0)
		hs->nfds = 1;
	return all;
}

enum arrival { ARRIVAL_DATA, ARRIVAL_NONE, ARRIVAL_END, ARRIVAL_BAD };

/*
 * Peeks at what has arrived and was not looked at yet, up to the next message with descriptors.
 * Each peek at a piece returns the piece's descriptors; there is room for the whole piece, so they
 * come once.
 */
static enum arrival receive(struct handshake *hs, struct err *err)
{
	union {
		char buf[CMSG_SPACE(HANDSHAKE_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	size_t room = HANDSHAKE_BYTES_MAX - hs->len;
	char excess;
	struct iovec iov[] = {
		{.iov_base = hs->buf + hs->len, .iov_len = room},
		{.iov_base = &excess, .iov_len = 1},
	};
	struct msghdr msg = {
		.msg_iov = iov,
		.msg_iovlen = ARRAY_LEN(iov),
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	ssize_t n;

	do
		n = recvmsg(hs->sock, &msg, MSG_PEEK | MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return ARRIVAL_NONE;
	if (n < 0 && errno != ECONNRESET) {
		err_sys(err, "receiving from the VMM");
		return ARRIVAL_BAD;
	}
	if (n <= 0)
		return ARRIVAL_END;
	if (!keep_fds(hs, &msg)) {
		err_set(err, ERR_PEER,
			"not all descriptors could be received: at most %d may be sent",
			HANDSHAKE_FDS_MAX);
		return ARRIVAL_BAD;
	}
	if ((size_t)n > room) {
		err_set(err, ERR_PEER, "longer than %d bytes", HANDSHAKE_BYTES_MAX);
		return ARRIVAL_BAD;
	}
	hs->len += (size_t)n;
	return ARRIVAL_DATA;
}

static enum handshake_step incomplete(const struct handshake *hs, enum arrival last,
				      struct err *err)
{
	if (last == ARRIVAL_END && hs->len == 0)
		return HANDSHAKE_EMPTY;
	if (last == ARRIVAL_END) {
		err_set(err, ERR_PEER, "the VMM closed after %zu bytes", hs->len);
		return HANDSHAKE_BAD;
	}
	return HANDSHAKE_MORE;
}

enum handshake_step handshake_read(struct handshake *hs, struct regions *ret, struct err *err)
{
	struct regions r;
	enum handshake_step step;
	enum arrival last;

	do
		last = receive(hs, err);
	while (last == ARRIVAL_DATA);
	if (last == ARRIVAL_BAD)
		return HANDSHAKE_BAD;
	step = handshake_parse(hs->buf, hs->len, &r, err);
	if (step == HANDSHAKE_MORE)
		return incomplete(hs, last, err);
	if (step == HANDSHAKE_BAD)
		return step;
	if (hs->nfds == 0) {
		err_set(err, ERR_PEER, "no descriptor came with the message");
		return HANDSHAKE_BAD;
	}
	*ret = r;
	return HANDSHAKE_DONE;
}

void handshake_consume(struct handshake *hs)
{
	/* No room for descriptors: the kernel closes them. */
	struct iovec iov = {.iov_base = hs->buf};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	while (hs->len) {
		ssize_t n;

		iov.iov_len = hs->len;
		n = recvmsg(hs->sock, &msg, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		hs->len -= n > 0 ? (size_t)n : hs->len;
	}
}

int handshake_first_fd(int sock)
{
	struct handshake hs;
	struct err err;
	int fd = -1;

	if (handshake_init(&hs, fcntl(sock, F_DUPFD_CLOEXEC, 0), &err))
		return -1;
	while (!hs.nfds && receive(&hs, &err) == ARRIVAL_DATA)
		;
	if (hs.nfds)
		fd = steal_fd(&hs.fds[0]);
	handshake_fini(&hs);
	return fd;
}
