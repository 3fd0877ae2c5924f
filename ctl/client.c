#include "config.h"
#include "ctl/client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/proto.h"

struct conn {
	int fd;
	uint64_t deadline_us;
	uint64_t idle_us; /* 0, or the deadline moves with every piece that comes */
	size_t pos, len;  /* what is read and not yet used: buf[pos..len) */
	char buf[CLIENT_HEAD_MAX];
};

struct head {
	int status;
	bool chunked, have_length, json;
	uint64_t length;
};

/* Where the body goes: gathered, and cut into lines if the caller wants those. */
struct sink {
	const struct client_request *req;
	bool lines;
	char *data; /* owned, ends with NUL */
	size_t len, room;
};

/* ---- bytes ---- */

static int dial(const char *path, uint64_t timeout_ms, int *ret_fd, struct err *err)
{
	struct timeval limit = {.tv_sec = (time_t)(timeout_ms / 1000),
				.tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000)};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	cleanup_fd int fd = -1;
	size_t len = strlen(path);

	if (len == 0 || len > PROTO_SUN_MAX)
		return err_set(err, ERR_PATH, "socket path \"%.200s\": must have 1 to %d bytes",
			       path, PROTO_SUN_MAX);
	memcpy(addr.sun_path, path, len + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, "socket");
	/* A full backlog blocks connect() without end; this bounds it. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return err_sys(err, "socket %s: set timeout", path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0) {
		*ret_fd = steal_fd(&fd);
		return 0;
	}
	if (errno == EACCES || errno == EPERM)
		return err_set(err, ERR_DENIED,
			       "socket %s: %s; your user must be in the group that owns it", path,
			       strerror(errno));
	return err_set(err, ERR_UNREADY,
		       "is uffdd running? cannot reach it at socket %s: %s (-S or " PROTO_SOCKET_ENV
		       " names another)", path, strerror(errno));
}

static int await(struct conn *c, short events, struct err *err)
{
	struct pollfd p = {c->fd, events, 0};

	for (;;) {
		uint64_t now = now_us();
		uint64_t left_ms = now < c->deadline_us ? (c->deadline_us - now + 999) / 1000 : 0;
		/* Late is only what is not there: a busy host may have kept us from looking. */
		int n = poll(&p, 1, (int)min_u64(left_ms, INT_MAX));

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_sys(err, "poll");
		if (left_ms == 0)
			return err_set(err, ERR_UNREADY, "uffdd did not answer in time");
	}
}

/* *ret_open is false when the other end is gone: it may refuse early and hang up. */
static int send_all(struct conn *c, const char *data, size_t len, bool *ret_open, struct err *err)
{
	while (len > 0) {
		ssize_t n;

		if (await(c, POLLOUT, err) < 0)
			return -1;
		n = send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
			*ret_open = false;
			return 0;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return err_sys(err, "send to uffdd");
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Read more behind what is there; *ret_eof is set at the end. There is room. */
static int fill(struct conn *c, bool *ret_eof, struct err *err)
{
	for (;;) {
		ssize_t n;

		if (await(c, POLLIN, err) < 0)
			return -1;
		n = recv(c->fd, c->buf + c->len, sizeof(c->buf) - c->len, MSG_DONTWAIT);
		if (n > 0) {
			c->len += (size_t)n;
			if (c->idle_us)
				c->deadline_us = now_us() + c->idle_us;
			return 0;
		}
		if (n == 0 || errno == ECONNRESET) {
			*ret_eof = true;
			return 0;
		}
		if (errno != EAGAIN && errno != EINTR)
			return err_sys(err, "read from uffdd");
	}
}

static int cut_short(struct err *err)
{
	return err_set(err, ERR_UNREADY, "uffdd hung up in the middle of its answer; try again");
}

/* ---- the request ---- */

static int send_request(struct conn *c, const struct client_request *req, struct err *err)
{
	const char *body = req->body ? json_object_to_json_string_ext(
					       req->body, JSON_C_TO_STRING_PLAIN |
							  JSON_C_TO_STRING_NOSLASHESCAPE) : "";
	cleanup_free char *head = NULL;
	bool open = true;
	int n;

	n = asprintf(&head,
		     "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
		     "User-Agent: uffdctl/" PACKAGE_VERSION "\r\n"
		     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
		     req->method, req->target, strlen(body));
	if (n < 0) {
		head = NULL;
		return err_set(err, ERR_SYSTEM, "out of memory");
	}
	if (send_all(c, head, (size_t)n, &open, err) < 0)
		return -1;
	return open ? send_all(c, body, strlen(body), &open, err) : 0;
}

/* ---- the head of the reply ---- */

static bool header_is(const char *line, const char *name, const char **ret_value)
{
	size_t len = strlen(name);

	if (strncasecmp(line, name, len) != 0 || line[len] != ':')
		return false;
	*ret_value = line + len + 1 + strspn(line + len + 1, " \t");
	return true;
}

/* Parameters may follow the type. */
static bool type_is(const char *value, const char *type)
{
	size_t len = strlen(type);

	return strcspn(value, "; \t") == len && strncasecmp(value, type, len) == 0;
}

static int parse_length(const char *value, struct head *head, struct err *err)
{
	char *end;

	errno = 0;
	head->length = strtoull(value, &end, 10);
	if (*value < '0' || *value > '9' || errno || end[strspn(end, " \t")] != '\0')
		return err_set(err, ERR_PEER, "answer with a bad Content-Length; is this uffdd?");
	head->have_length = true;
	return 0;
}

static int parse_header(const char *line, struct head *head, struct err *err)
{
	const char *value;

	if (header_is(line, "Content-Length", &value))
		return parse_length(value, head, err);
	if (header_is(line, "Transfer-Encoding", &value)) {
		if (strcasecmp(value, "chunked") != 0)
			return err_set(err, ERR_PEER, "answer in an unknown transfer encoding");
		head->chunked = true;
	}
	if (header_is(line, "Content-Type", &value)) {
		head->json = type_is(value, "application/json") ||
			     type_is(value, "application/problem+json");
	}
	return 0;
}

static int not_http(struct err *err)
{
	return err_set(err, ERR_PEER,
		       "what answers at this socket does not speak HTTP; is it uffdd's own?");
}

/* @text: status line and headers, each with its CRLF; cut up here. */
static int parse_head(char *text, struct head *head, struct err *err)
{
	static const char digits[] = "0123456789";

	/* "HTTP/1.1 200 OK" */
	if (strlen(text) < 12 || text[8] != ' ' || strspn(text + 9, digits) != 3)
		return not_http(err);
	head->status = (int)strtol(text + 9, NULL, 10);
	for (char *line = strstr(text, "\r\n"); line; ) {
		char *next;

		line += 2;
		next = strstr(line, "\r\n");
		if (next)
			*next = '\0';
		if (parse_header(line, head, err) < 0)
			return -1;
		line = next;
	}
	return 0;
}

static int read_head(struct conn *c, struct head *head, struct err *err)
{
	static const char magic[] = "HTTP/1.";
	bool eof = false;
	char *end;

	for (;;) {
		if (memcmp(c->buf, magic, min_u64(c->len, sizeof(magic) - 1)) != 0)
			return not_http(err);
		end = memmem(c->buf, c->len, "\r\n\r\n", 4);
		if (end)
			break;
		if (c->len == sizeof(c->buf))
			return err_set(err, ERR_PEER, "answer with more than %d bytes of headers",
				       CLIENT_HEAD_MAX);
		if (fill(c, &eof, err) < 0)
			return -1;
		if (eof)
			return c->len == 0 ? err_set(err, ERR_UNREADY,
						     "uffdd hung up without an answer; try again")
					   : cut_short(err);
	}
	c->pos = (size_t)(end + 4 - c->buf);
	end[2] = '\0';
	return parse_head(c->buf, head, err);
}

/* ---- its body ---- */

static int sink_lines(struct sink *sink, struct err *err)
{
	char *start = sink->data, *newline;
	size_t left = sink->len;

	while ((newline = memchr(start, '\n', left))) {
		size_t len = (size_t)(newline - start);

		*newline = '\0';
		if (sink->req->on_line(start, len, sink->req->arg, err) < 0)
			return -1;
		start += len + 1;
		left -= len + 1;
	}
	if (left > CLIENT_LINE_MAX)
		return err_set(err, ERR_PEER, "line of more than %u bytes in a stream",
			       CLIENT_LINE_MAX);
	memmove(sink->data, start, left);
	sink->len = left;
	return 0;
}

static int sink_put(struct sink *sink, const char *data, size_t len, struct err *err)
{
	if (sink->len + len > CLIENT_BODY_MAX)
		return err_set(err, ERR_PEER, "answer of more than %u bytes", CLIENT_BODY_MAX);
	if (sink->len + len + 1 > sink->room) {
		size_t room = max_u64(2 * sink->room, sink->len + len + 1);
		char *bigger = realloc(sink->data, room);

		if (!bigger)
			return err_set(err, ERR_SYSTEM, "no memory for %zu bytes of answer", room);
		sink->data = bigger;
		sink->room = room;
	}
	memcpy(sink->data + sink->len, data, len);
	sink->len += len;
	sink->data[sink->len] = '\0';
	return sink->lines ? sink_lines(sink, err) : 0;
}

/* Move up to @want bytes (UINT64_MAX: until the other end hangs up). */
static int body_bytes(struct conn *c, uint64_t want, struct sink *sink, struct err *err)
{
	bool eof = false;

	while (want > 0) {
		size_t n = min_u64(c->len - c->pos, want);

		if (sink_put(sink, c->buf + c->pos, n, err) < 0)
			return -1;
		c->pos += n;
		if (want != UINT64_MAX)
			want -= n;
		if (want == 0)
			break;
		c->pos = c->len = 0;
		if (fill(c, &eof, err) < 0)
			return -1;
		if (eof)
			return want == UINT64_MAX ? 0 : cut_short(err);
	}
	return 0;
}

/* One CRLF-ended line of the chunk framing; valid until the next read. */
static int frame_line(struct conn *c, char **ret_line, struct err *err)
{
	bool eof = false;
	char *end;

	while (!(end = memmem(c->buf + c->pos, c->len - c->pos, "\r\n", 2))) {
		memmove(c->buf, c->buf + c->pos, c->len - c->pos);
		c->len -= c->pos;
		c->pos = 0;
		if (c->len == sizeof(c->buf))
			return err_set(err, ERR_PEER, "answer with broken chunks");
		if (fill(c, &eof, err) < 0)
			return -1;
		if (eof)
			return cut_short(err);
	}
	*end = '\0';
	*ret_line = c->buf + c->pos;
	c->pos = (size_t)(end + 2 - c->buf);
	return 0;
}

static int body_chunked(struct conn *c, struct sink *sink, struct err *err)
{
	static const char hex[] = "0123456789abcdefABCDEF";
	char *line;

	for (;;) {
		uint64_t size;
		size_t digits;

		if (frame_line(c, &line, err) < 0)
			return -1;
		digits = strspn(line, hex);
		if (digits == 0 || digits > 8 || (line[digits] && !strchr("; \t", line[digits])))
			return err_set(err, ERR_PEER, "answer with broken chunks");
		size = strtoul(line, NULL, 16);
		if (size == 0)
			break;
		if (body_bytes(c, size, sink, err) < 0 || frame_line(c, &line, err) < 0)
			return -1;
		if (*line)
			return err_set(err, ERR_PEER, "answer with broken chunks");
	}
	do {
		if (frame_line(c, &line, err) < 0)
			return -1;
	} while (*line);
	return 0;
}

static int read_body(struct conn *c, const struct head *head, struct sink *sink, struct err *err)
{
	if (head->status == 204 || head->status == 304)
		return 0;
	if (head->chunked)
		return body_chunked(c, sink, err);
	if (head->have_length && head->length > CLIENT_BODY_MAX)
		return err_set(err, ERR_PEER, "answer of more than %u bytes", CLIENT_BODY_MAX);
	return body_bytes(c, head->have_length ? head->length : UINT64_MAX, sink, err);
}

/* ---- what it means ---- */

static const char *member(struct json_object *o, const char *key)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
		return NULL;
	return json_object_get_string(v);
}

/* A code that this program does not know yet still has a status. */
static enum err_code code_of(const char *name, int status)
{
	enum err_code code = name ? err_from_name(name) : ERR_SYSTEM;

	if (name && strcmp(err_name(code), name) == 0)
		return code;
	for (int i = 0; i < ERR_COUNT; i++)
		if (err_http((enum err_code)i) == status)
			return (enum err_code)i;
	return ERR_SYSTEM;
}

/* The HTTP library of the daemon answers some requests itself, with a page of HTML. */
static int refused(struct client *c, const struct head *head, const struct sink *sink,
		   struct err *err)
{
	struct err ignored;
	const char *detail;

	if (head->json && sink->data)
		c->problem = js_parse(sink->data, sink->len, false, &ignored);
	if (!json_object_is_type(c->problem, json_type_object)) {
		json_object_put(c->problem);
		c->problem = NULL;
		return err_set(err, code_of(NULL, head->status), "uffdd answered with status %d",
			       head->status);
	}
	detail = member(c->problem, "detail");
	if (!detail)
		detail = member(c->problem, "title");
	return err_set(err, code_of(member(c->problem, "code"), head->status), "%s",
		       detail ? detail : "uffdd gave no reason");
}

static int understood(const struct head *head, struct sink *sink, struct json_object **ret,
		      struct err *err)
{
	struct json_object *reply = NULL;

	/* A last line without its newline is a line. */
	if (sink->lines && sink->len > 0)
		return sink_put(sink, "\n", 1, err);
	if (sink->req->on_body && !head->json)
		return sink->req->on_body(sink->data, sink->len, sink->req->arg, err);
	if (!sink->lines && head->json && sink->len > 0) {
		reply = js_parse(sink->data, sink->len, false, err);
		if (!reply) {
			err->code = ERR_PEER;
			return err_wrap(err, "uffdd's answer");
		}
	}
	*ret = reply;
	return 0;
}

static int exchange(struct client *c, struct conn *conn, struct sink *sink,
		    struct json_object **ret_reply, struct err *err)
{
	struct head head = {0};
	bool good;

	if (send_request(conn, sink->req, err) < 0 || read_head(conn, &head, err) < 0)
		return -1;
	good = head.status >= 200 && head.status < 300;
	if (sink->req->on_line && good) {
		sink->lines = true;
		conn->idle_us = sink->req->timeout_ms * 1000;
	}
	/* A refusal is one even when the rest of it is lost, as after too large a request. */
	if (read_body(conn, &head, sink, err) < 0 && good)
		return -1;
	return good ? understood(&head, sink, ret_reply, err) : refused(c, &head, sink, err);
}

int client_call(struct client *c, const struct client_request *req,
		struct json_object **ret_reply, struct err *err)
{
	struct client_request full = *req;
	struct sink sink = {.req = &full};
	struct conn conn = {.fd = -1};
	int rc;

	json_object_put(c->problem);
	c->problem = NULL;
	*ret_reply = NULL;
	if (full.timeout_ms == 0)
		full.timeout_ms = CLIENT_TIMEOUT_MS;
	conn.deadline_us = now_us() + full.timeout_ms * 1000;
	if (dial(c->path, full.timeout_ms, &conn.fd, err) < 0)
		return -1;
	rc = exchange(c, &conn, &sink, ret_reply, err);
	close_fd(&conn.fd);
	free(sink.data);
	return rc;
}

void client_fini(struct client *c)
{
	json_object_put(c->problem);
	c->problem = NULL;
}

bool client_escape(const char *text, char ret[3 * CLIENT_TOKEN_MAX + 1])
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~";

	if (strlen(text) > CLIENT_TOKEN_MAX)
		return false;
	for (; *text; text++) {
		if (strchr(plain, *text))
			*ret++ = *text;
		else
			ret += snprintf(ret, 4, "%%%02X", (unsigned char)*text);
	}
	*ret = '\0';
	return true;
}
