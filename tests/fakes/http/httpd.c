#include "tests/fakes/http/httpd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/timer.h"

struct httpd srv;

static void on_gone(struct http_request *req, void *arg)
{
	ck_assert_ptr_eq(arg, &srv);
	srv.gone++;
	if (srv.stream == req)
		srv.stream = NULL;
	for (size_t i = 0; i < srv.nheld; i++)
		if (srv.held[i] == req)
			srv.held[i] = srv.held[--srv.nheld];
}

static void text(struct http_request *req, int status, const char *body)
{
	http_reply(req, status, "text/plain", body, strlen(body));
}

static void route_echo(struct http_request *req)
{
	char out[4096];
	size_t len, n;
	const char *body = http_body(req, &len), *key;

	n = (size_t)snprintf(out, sizeof(out), "%s|%s|%u|", http_method(req), http_path(req),
			     http_peer(req)->uid);
	for (size_t i = 0; (key = http_query_key(req, i)); i++)
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%s=%s;", key,
				      http_query(req, key));
	snprintf(out + n, sizeof(out) - n, "|%.*s", (int)(len < 64 ? len : 64), body);
	http_reply_header(req, "Allow", "GET");
	text(req, 422, out);
}

static void route_hold(struct http_request *req)
{
	if (http_hold(req, on_gone, &srv))
		text(req, 429, "");
	else
		srv.held[srv.nheld++] = req;
}

void httpd_stream(struct http_request *req)
{
	if (http_stream_begin(req, 200, "application/x-ndjson", on_gone, &srv))
		text(req, 429, "");
	else
		srv.stream = req;
}

static void route_drop(struct http_request *req)
{
	ck_assert_int_eq(http_stream_begin(req, 200, "text/plain", on_gone, &srv), 0);
	http_stream_drop(req);
}

static void route_big(struct http_request *req)
{
	size_t len = (size_t)8 << 20;
	char *body = xcalloc(1, len);

	http_reply(req, 200, "application/octet-stream", body, len);
	free(body);
}

static void route_forget(struct http_request *req)
{
	(void)req;
}

static void handler(struct http_request *req, void *arg)
{
	static const struct {
		const char *path;
		void (*fn)(struct http_request *req);
	} routes[] = {
		{"/hold", route_hold}, {"/stream", httpd_stream}, {"/drop", route_drop},
		{"/big", route_big},   {"/forget", route_forget},
	};

	ck_assert_ptr_eq(arg, &srv);
	srv.requests++;
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (strcmp(routes[i].path, http_path(req)) == 0) {
			routes[i].fn(req);
			return;
		}
	route_echo(req);
}

/* Each user has an account. */
static bool identify(void *arg, const struct sock_peer *peer,
		     char ret_account[HTTP_ACCOUNT_MAX + 1])
{
	(void)arg;
	snprintf(ret_account, HTTP_ACCOUNT_MAX + 1, "%u", (unsigned)peer->uid);
	return peer->uid == HTTPD_PRIVILEGED;
}

void httpd_serve(const struct http_limits *limits, http_handler fn, void *arg)
{
	const struct http_options options = {*limits, fn, identify, arg};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct err err;

	memset(&srv, 0, sizeof(srv));
	signal(SIGPIPE, SIG_IGN);
	srv.base = timer_base_new();
	srv.addr.sun_family = AF_UNIX;
	srv.addr_len = sizeof(srv.addr);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&srv.addr, sizeof(sa_family_t)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&srv.addr, &srv.addr_len), 0);
	ck_assert_int_eq(listen(fd, 64), 0);
	ck_assert_msg(http_new(srv.base, fd, &options, &srv.http, &err) == 0, "%s", err.msg);
}

void httpd_start(const struct http_limits *limits)
{
	httpd_serve(limits, handler, &srv);
}

void httpd_start_default(void)
{
	struct http_limits limits = http_limits_default();

	httpd_start(&limits);
}

void httpd_stop(void)
{
	http_free(srv.http);
	srv.http = NULL;
	event_base_free(srv.base);
}

void httpd_turn(void)
{
	event_base_loop(srv.base, EVLOOP_NONBLOCK);
}

uint64_t httpd_deadline_us(void)
{
	return now_us() + (uint64_t)harness_scale_ms(HARNESS_MS) * 1000;
}

void httpd_run_ms(int ms)
{
	struct timeval tv = {0, ms * 1000};

	event_base_loopexit(srv.base, &tv);
	event_base_dispatch(srv.base);
}

int client_dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&srv.addr, srv.addr_len), 0);
	return fd;
}

int client_dial_as(uid_t uid)
{
	int fd;

	ck_assert_int_eq(seteuid(uid), 0);
	fd = client_dial();
	ck_assert_int_eq(seteuid(0), 0);
	return fd;
}

void client_say(int fd, const char *words)
{
	ck_assert_int_eq(send(fd, words, strlen(words), MSG_NOSIGNAL), (ssize_t)strlen(words));
}

bool client_is_closed(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

void client_expect_closed(int fd)
{
	WAIT_FOR(client_is_closed(fd));
	close(fd);
}

/* One reply with a length, exactly; what follows it stays in the socket. */
static bool take_reply(int fd, struct reply *r)
{
	ssize_t n = recv(fd, r->text, sizeof(r->text) - 1, MSG_PEEK | MSG_DONTWAIT);
	const char *end, *len;
	size_t total;

	if (n <= 0)
		return false;
	r->text[n] = '\0';
	end = strstr(r->text, "\r\n\r\n");
	len = strstr(r->text, "Content-Length: ");
	if (!end || (!len && !strstr(r->text, "</HTML>"))) /* evhttp's to HEAD and CONNECT */
		return false;
	total = (size_t)(end + 4 - r->text);
	if (len)
		total += strtoul(len + strlen("Content-Length: "), NULL, 10);
	else
		total = (size_t)n;
	if ((size_t)n < total)
		return false;
	ck_assert_int_eq(recv(fd, r->text, total, 0), (ssize_t)total);
	r->text[total] = '\0';
	r->body = end + 4;
	r->status = (int)strtol(r->text + strlen("HTTP/1.1 "), NULL, 10);
	return true;
}

struct reply *client_hear(int fd)
{
	static struct reply r;

	WAIT_FOR(take_reply(fd, &r));
	return &r;
}

const char *client_hear_all(int fd)
{
	static char all[16384];
	size_t n = 0;
	ssize_t got = -1;

	WAIT_FOR((got = recv(fd, all + n, sizeof(all) - 1 - n, MSG_DONTWAIT)) == 0 ||
		 (got < 0 && errno == ECONNRESET) || (n += got > 0 ? (size_t)got : 0, 0))
	all[n] = '\0';
	close(fd);
	return all;
}

bool client_hears(int fd, struct heard *h, const char *what)
{
	ssize_t n = recv(fd, h->text + h->n, sizeof(h->text) - 1 - h->n, MSG_DONTWAIT);

	h->n += n > 0 ? (size_t)n : 0;
	h->text[h->n] = '\0';
	return strstr(h->text, what) != NULL;
}

void client_expect_served(int fd)
{
	client_say(fd, "GET /x HTTP/1.1\r\n\r\n");
	ck_assert_int_eq(client_hear(fd)->status, 422);
}

static int hold(int fd)
{
	size_t n = srv.nheld;

	client_say(fd, "GET /hold HTTP/1.1\r\n\r\n");
	WAIT_FOR(srv.nheld == n + 1);
	return fd;
}

int client_hold(void)
{
	return hold(client_dial());
}

int client_hold_as(uid_t uid)
{
	return hold(client_dial_as(uid));
}

int client_stream(void)
{
	int fd = client_dial();

	client_say(fd, "GET /stream HTTP/1.1\r\n\r\n");
	WAIT_FOR(srv.stream);
	return fd;
}

void httpd_release(void)
{
	text(srv.held[--srv.nheld], 200, "released");
}

size_t rss_kib(void)
{
	char buf[256];
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, buf, sizeof(buf) - 1);
	char *rest;

	ck_assert_int_gt(n, 0);
	buf[n] = '\0';
	close(fd);
	strtoul(buf, &rest, 10);
	return strtoul(rest, NULL, 10) * 4;
}

size_t client_flood(int fd)
{
	static char junk[65536];
	size_t total = 0;
	int refused = 0;

	memset(junk, 'a', sizeof(junk));
	while (total < (size_t)64 << 20 && refused < 50) {
		ssize_t n = send(fd, junk, sizeof(junk), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			break;
		refused = n < 0 ? refused + 1 : 0;
		total += n > 0 ? (size_t)n : 0;
		httpd_turn();
	}
	return total;
}
