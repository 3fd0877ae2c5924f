/* test_http - requests, replies, long polls and streams */
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/http_target.h"
#include "tests/fakes/http/httpd.h"

/* The target, pure */

static const struct {
	const char *path, *query, *want; /* want: path and parameters, or NULL for refused */
} targets[] = {
	{"/v1/restores", NULL, "/v1/restores"},
	{"/", "", "/"},
	{"/a%2fb%41%7e", NULL, "/a/bA~"},
	{"/a+b", "x=1+2&y=%2B", "/a+b x=1 2 y=+"},
	{"/a/../b", NULL, "/a/../b"},
	{"/a", "follow&after=&n=a=b", "/a follow= after= n=a=b"},
	{"/a", "%61=%62", "/a a=b"},
	{"/%252e", NULL, "/%2e"},
	{"/a%00b", NULL, NULL},
	{"/a%", NULL, NULL},
	{"/a%4", NULL, NULL},
	{"/a%zz", NULL, NULL},
	{"/a%4g", NULL, NULL},
	{"/a", "x=%00", NULL},
	{"/a", "%0=1", NULL},
	{"/a", "x=1&x=1", NULL},
	{"/a", "x=1&%78=2", NULL},
	{"/a", "x=1&", NULL},
	{"/a", "=1", NULL},
	{"/a", "a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q", NULL},
	{"", NULL, NULL},
	{"*", NULL, NULL},
	{NULL, NULL, NULL},
};

START_TEST(target)
{
	struct http_target t;
	struct err err;
	char got[256];
	size_t n;
	int rc = http_target_parse(targets[_i].path, targets[_i].query, &t, &err);

	if (!targets[_i].want) {
		ck_assert_msg(rc == -1 && err.code == ERR_INVALID, "%s?%s", targets[_i].path,
			      targets[_i].query);
		return;
	}
	ck_assert_msg(rc == 0, "%s: %s", targets[_i].path, err.msg);
	n = (size_t)snprintf(got, sizeof(got), "%s", t.path);
	for (size_t i = 0; i < t.nparams; i++)
		n += (size_t)snprintf(got + n, sizeof(got) - n, " %s=%s", t.params[i].key,
				      t.params[i].value);
	ck_assert_str_eq(got, targets[_i].want);
	http_target_fini(&t);
}
END_TEST

/* Requests and replies */

/* clang-format off */
static const struct {
	const char *say, *want; /* want: method|path|, query|body */
} echoes[] = {
	{"GET /a HTTP/1.1\r\n\r\n", "GET|/a|U||"},
	{"GET /a%20b?x=%31&y HTTP/1.1\r\n\r\n", "GET|/a b|U|x=1;y=;|"},
	{"PUT /a HTTP/1.1\r\nContent-Type: Application/JSON; charset=x\r\n"
	 "Content-Length: 2\r\n\r\n{}", "PUT|/a|U||{}"},
	{"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
	 "POST|/a|U||abcde"},
	{"DELETE /a HTTP/1.1\r\n\r\n", "DELETE|/a|U||"},
	{"PATCH /a HTTP/1.1\r\n\r\n", "PATCH|/a|U||"},
	{"OPTIONS /a HTTP/1.1\r\n\r\n", "OPTIONS|/a|U||"},
	{"GET http://host/a HTTP/1.1\r\n\r\n", "GET|/a|U||"},
	{"GET /a HTTP/1.0\r\n\r\n", "GET|/a|U||"},
	{"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET|/a|U||"},
};
/* clang-format on */

START_TEST(echo)
{
	char want[256];
	const char *mark = strstr(echoes[_i].want, "|U|");
	struct reply *r;
	int fd;

	httpd_start_default();
	fd = client_dial();
	client_say(fd, echoes[_i].say);
	snprintf(want, sizeof(want), "%.*s|%u|%s", (int)(mark - echoes[_i].want), echoes[_i].want,
		 getuid(), mark + 3);
	r = client_hear(fd);
	ck_assert_str_eq(r->body, want);
	ck_assert_ptr_nonnull(strstr(r->text, " 422 Unprocessable Content\r\n"));
	ck_assert_ptr_nonnull(strstr(r->text, "\r\nContent-Type: text/plain\r\n"));
	ck_assert_ptr_nonnull(strstr(r->text, "\r\nAllow: GET\r\n"));
	close(fd);
	httpd_stop();
}
END_TEST

#define PROBLEM "application/problem+json"
#define HTML "text/html"
static const struct {
	const char *say;
	char fill; /* then so many of these */
	size_t nfill;
	int status;
	const char *type;
} refusals[] = {
	{"GET /a%00b HTTP/1.1\r\n\r\n", 0, 0, 400, PROBLEM},
	{"GET /a%zz HTTP/1.1\r\n\r\n", 0, 0, 400, PROBLEM},
	{"GET /a?x=1&x=2 HTTP/1.1\r\n\r\n", 0, 0, 400, PROBLEM},
	{"GET a HTTP/1.1\r\n\r\n", 0, 0, 400, PROBLEM},
	{"OPTIONS * HTTP/1.1\r\n\r\n", 0, 0, 400, PROBLEM},
	{"HEAD /a HTTP/1.1\r\n\r\n", 0, 0, 501, HTML},
	{"BREW /a HTTP/1.1\r\n\r\n", 0, 0, 501, HTML},
	{"TRACE /a HTTP/1.1\r\n\r\n", 0, 0, 501, HTML},
	{"CONNECT a:1 HTTP/1.1\r\n\r\n", 0, 0, 501, HTML},
	{"GET /a HTTP/2.0\r\n\r\n", 0, 0, 400, HTML},
	{"nonsense\r\n\r\n", 0, 0, 400, HTML},
	{"GET /a HTTP/1.1\r\nnonsense\r\n\r\n", 0, 0, 400, HTML},
	{"PUT /a HTTP/1.1\r\nContent-Length: x\r\n\r\n", 0, 0, 400, HTML},
	{"PUT /a HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 0, 0, 400, HTML},
	{"GET /", 'a', 8200, 400, HTML},
	{"GET /a HTTP/1.1\r\nX: ", 'a', 8200, 400, HTML},
	{"PUT /a HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", 0, 0, 413, HTML},
	{"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n", 0, 0, 413, HTML},
};

START_TEST(refusal)
{
	char fill[8201] = "", type[64];
	struct reply *r;
	int fd, other;

	httpd_start_default();
	fd = client_dial();
	other = client_dial();
	client_say(fd, refusals[_i].say);
	memset(fill, refusals[_i].fill, refusals[_i].nfill);
	client_say(fd, fill);
	r = client_hear(fd);
	snprintf(type, sizeof(type), "\r\nContent-Type: %s\r\n", refusals[_i].type);
	ck_assert_msg(r->status == refusals[_i].status && strstr(r->text, type), "%s: %s",
		      refusals[_i].say, r->text);
	ck_assert_uint_eq(srv.requests, 0);
	client_expect_served(other);
	close(fd);
	close(other);
	WAIT_FOR(http_stats(srv.http).connections == 0);
	httpd_stop();
}
END_TEST

/* The largest body is taken whole, and so is one that comes in pieces. */
START_TEST(largest_body)
{
	static char half[1 << 19];
	int fd;

	httpd_start_default();
	fd = client_dial();
	client_expect_served(fd);
	memset(half, 'b', sizeof(half) - 1);
	client_say(fd, "PUT /a HTTP/1.1\r\nContent-Length: 1048574\r\n\r\n");
	for (int i = 0; i < 2; i++)
		for (size_t n = 0; n < sizeof(half) - 1; httpd_turn()) {
			ssize_t put = send(fd, half + n, sizeof(half) - 1 - n, MSG_DONTWAIT);

			n += put > 0 ? (size_t)put : 0;
		}
	ck_assert_ptr_nonnull(strstr(client_hear(fd)->body, "||bbbb"));
	client_expect_served(fd);
	close(fd);
	httpd_stop();
}
END_TEST

START_TEST(keep_alive)
{
	int fd;

	httpd_start_default();
	fd = client_dial();
	for (int i = 0; i < 5; i++)
		client_expect_served(fd);
	ck_assert_uint_eq(http_stats(srv.http).accepted, 1);
	client_say(fd, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n");
	for (int i = 1; i <= 3; i++)
		ck_assert_int_eq(client_hear(fd)->body[5], '0' + i);
	client_say(fd, "GET /x HTTP/1.1\r\nConnection: close\r\n\r\n");
	ck_assert_int_eq(client_hear(fd)->status, 422);
	client_expect_closed(fd);
	httpd_stop();
}
END_TEST

START_TEST(many_connections_leak_nothing)
{
	size_t before;

	httpd_start_default();
	before = count_fds();
	for (int i = 0; i < 200; i++) {
		int fd = client_dial();

		if (i % 2)
			client_expect_served(fd);
		close(fd);
	}
	WAIT_FOR(http_stats(srv.http).connections == 0);
	httpd_turn();
	ck_assert_uint_eq(count_fds(), before);
	ck_assert_uint_eq(http_stats(srv.http).accepted, 200);
	ck_assert_uint_eq(http_stats(srv.http).refused, 0);
	httpd_stop();
}
END_TEST

/* Long polls */

START_TEST(hang_up_is_seen_within_one_turn)
{
	int fd;

	httpd_start_default();
	fd = client_hold();
	ck_assert_uint_eq(http_stats(srv.http).held, 1);
	if (_i == 1) { /* with a byte that nobody asked for */
		client_say(fd, "x");
		httpd_turn();
	}
	ck_assert_uint_eq(srv.gone, 0);
	if (_i == 2)
		shutdown(fd, SHUT_WR);
	else
		close(fd);
	httpd_turn();
	ck_assert_uint_eq(srv.gone, 1);
	ck_assert_uint_eq(http_stats(srv.http).held, 0);
	ck_assert_uint_eq(http_stats(srv.http).connections, 0);
	if (_i == 2)
		client_expect_closed(fd);
	httpd_stop();
}
END_TEST

/* evhttp 2.1.12 would exit the process at the first byte. */
START_TEST(bytes_while_held)
{
	static const char *const ahead[] = {"G", "GET /next HTTP/1.1\r\n\r\n"};
	int fd;

	httpd_start_default();
	fd = client_hold();
	client_say(fd, ahead[_i]);
	httpd_turn();
	httpd_turn();
	ck_assert_uint_eq(srv.requests, 1);
	httpd_release();
	ck_assert_str_eq(client_hear(fd)->body, "released");
	if (_i == 0)
		client_say(fd, "ET /next HTTP/1.1\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(client_hear(fd)->body, "GET|/next|"));
	client_expect_served(fd);
	close(fd);
	httpd_stop();
}
END_TEST

/* Both in one piece: the second is read before the first is held. */
START_TEST(pipelined_behind_a_hold)
{
	int fd;

	httpd_start_default();
	fd = client_dial();
	client_say(fd,
		   "GET /hold HTTP/1.1\r\n\r\nGET /hold HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n");
	for (int i = 0; i < 2; i++) {
		WAIT_FOR(srv.nheld == 1);
		httpd_release();
		ck_assert_int_eq(client_hear(fd)->status, 200);
	}
	ck_assert_int_eq(client_hear(fd)->status, 422);
	close(fd);
	WAIT_FOR(http_stats(srv.http).connections == 0);
	ck_assert_uint_eq(srv.gone, 0);
	httpd_stop();
}
END_TEST

START_TEST(held_caps)
{
	struct http_limits limits = http_limits_default();
	int fds[2], more;

	*(_i ? &limits.held : &limits.held_per_uid) = 2;
	httpd_start(&limits);
	for (size_t i = 0; i < 2; i++)
		fds[i] = client_hold();
	more = client_dial();
	client_say(more, "GET /hold HTTP/1.1\r\n\r\n");
	ck_assert_int_eq(client_hear(more)->status, 429);
	client_say(more, "GET /stream HTTP/1.1\r\n\r\n");
	ck_assert_int_eq(client_hear(more)->status, 429);
	close(fds[0]);
	httpd_turn();
	client_say(more, "GET /stream HTTP/1.1\r\n\r\n");
	WAIT_FOR(srv.stream);
	ck_assert_uint_eq(http_stats(srv.http).held, 2);
	http_stream_end(srv.stream);
	ck_assert_uint_eq(http_stats(srv.http).held, 1);
	close(fds[1]);
	close(more);
	httpd_stop();
}
END_TEST

/* A held request outlives the idle time; afterwards it counts again. */
START_TEST(idle)
{
	struct http_limits limits = http_limits_default();
	int fd;

	if (_i)
		limits.idle_ms = 150;
	httpd_start(&limits);
	fd = client_hold();
	httpd_run_ms(350);
	ck_assert_uint_eq(srv.gone, 0);
	httpd_release();
	ck_assert_int_eq(client_hear(fd)->status, 200);
	if (!_i)
		client_expect_served(fd);
	else
		WAIT_FOR(client_is_closed(fd));
	close(fd);
	httpd_stop();
}
END_TEST

/* Streams */

START_TEST(stream)
{
	static const char *const says[] = {
		"GET /stream HTTP/1.1\r\nConnection: close\r\n\r\n",
		"GET /stream HTTP/1.0\r\n\r\n",
		"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	};
	const char *all;
	int fd;

	httpd_start_default();
	fd = client_dial();
	client_say(fd, says[_i]);
	WAIT_FOR(srv.stream);
	ck_assert_int_eq(http_stream_write(srv.stream, "{}\n", 3), 0);
	ck_assert_int_eq(http_stream_write(srv.stream, NULL, 0), 0);
	httpd_turn();
	ck_assert_int_eq(http_stream_write(srv.stream, "{\"a\":1}\n", 8), 0);
	http_stream_end(srv.stream);
	all = client_hear_all(fd);
	ck_assert_ptr_nonnull(strstr(all, "\r\nContent-Type: application/x-ndjson\r\n"));
	ck_assert_ptr_null(strstr(all, "Content-Length"));
	ck_assert_ptr_nonnull(
		strstr(all, _i ? "\r\n\r\n{}\n{\"a\":1}\n"
			       : "\r\n\r\n3\r\n{}\n\r\n8\r\n{\"a\":1}\n\r\n0\r\n\r\n"));
	ck_assert_uint_eq(srv.gone, 0);
	httpd_stop();
}
END_TEST

/* It keeps the place it had; after its end the connection is like any other again. */
START_TEST(stream_after_hold)
{
	struct http_limits limits = http_limits_default();
	char buf[4096];
	ssize_t n = 0;
	int fd;

	limits.held = 1;
	if (!_i)
		limits.idle_ms = 150;
	httpd_start(&limits);
	fd = client_hold();
	httpd_stream(srv.held[--srv.nheld]);
	ck_assert_int_eq(http_stream_write(srv.stream, "x", 1), 0);
	http_stream_end(srv.stream);
	WAIT_FOR((n = recv(fd, buf, sizeof(buf) - 1, MSG_PEEK | MSG_DONTWAIT)) > 5 &&
		 memcmp(buf + n - 5, "0\r\n\r\n", 5) == 0);
	ck_assert_int_eq(recv(fd, buf, (size_t)n, 0), n);
	if (_i)
		client_expect_served(fd);
	else
		WAIT_FOR(client_is_closed(fd));
	close(fd);
	httpd_stop();
}
END_TEST

START_TEST(stream_hang_up)
{
	int fd;

	httpd_start_default();
	fd = client_stream();
	close(fd);
	httpd_turn();
	ck_assert_uint_eq(srv.gone, 1);
	ck_assert_ptr_null(srv.stream);
	ck_assert_uint_eq(http_stats(srv.http).held, 0);
	httpd_stop();
}
END_TEST

/* Also for a client that never reads, and while a long answer waits for it. */
START_TEST(flood_is_not_stored)
{
	size_t before, took;
	int fd, other;

	httpd_start_default();
	other = client_dial();
	client_expect_served(other);
	if (_i == 0)
		fd = client_stream();
	else if (_i == 1)
		fd = client_hold();
	else {
		fd = client_dial();
		client_say(fd, "GET /big HTTP/1.1\r\n\r\n");
		WAIT_FOR(srv.requests == 2);
	}
	before = rss_kib();
	took = client_flood(fd);
	ck_assert_msg(rss_kib() < before + 4096, "from %zu to %zu KiB", before, rss_kib());
	ck_assert_uint_lt(took, 512 << 10); /* the kernel's buffer, mostly */
	client_expect_served(other);
	if (_i == 0)
		ck_assert_int_eq(http_stream_write(srv.stream, "{}\n", 3), 0);
	close(other);
	close(fd);
	httpd_stop();
}
END_TEST

START_TEST(slow_reader_is_dropped)
{
	static char block[32768];
	size_t total = 0;
	const char *all;
	int fd, other;

	httpd_start_default();
	fd = client_stream();
	other = client_dial();
	memset(block, 'z', sizeof(block));
	while (total < (size_t)64 << 20 && !http_stream_write(srv.stream, block, sizeof(block))) {
		total += sizeof(block);
		httpd_turn();
	}
	ck_assert_uint_ge(total, (1 << 20) - 2 * sizeof(block));
	ck_assert_uint_lt(total, 4 << 20);
	http_stream_drop(srv.stream);
	ck_assert_uint_eq(srv.gone, 0);
	ck_assert_uint_eq(http_stats(srv.http).held, 0);
	client_expect_served(other);
	shutdown(fd, SHUT_WR);
	while (total > 16000 && recv(fd, block, sizeof(block), 0) > 0)
		;
	all = client_hear_all(fd);
	ck_assert_ptr_null(strstr(all, "\r\n0\r\n"));
	close(other);
	httpd_stop();
}
END_TEST

START_TEST(stall)
{
	struct http_limits limits = http_limits_default();
	static char block[700 << 10];
	int fd;

	limits.stall_ms = 150;
	httpd_start(&limits);
	if (_i) {
		fd = client_stream();
		httpd_run_ms(350); /* silence is not a stall */
		ck_assert_uint_eq(srv.gone, 0);
		ck_assert_int_eq(http_stream_write(srv.stream, block, sizeof(block)), 0);
		WAIT_FOR(srv.gone == 1);
	} else {
		fd = client_dial();
		client_say(fd, "GET /big HTTP/1.1\r\n\r\n");
		WAIT_FOR(srv.requests == 1);
	}
	WAIT_FOR(http_stats(srv.http).connections == 0);
	close(fd);
	httpd_stop();
}
END_TEST

START_TEST(drop_inside_the_handler)
{
	int fd;

	httpd_start_default();
	fd = client_dial();
	client_say(fd, "GET /drop HTTP/1.1\r\n\r\n");
	client_expect_closed(fd);
	ck_assert_uint_eq(srv.gone, 0);
	ck_assert_uint_eq(http_stats(srv.http).connections, 0);
	httpd_stop();
}
END_TEST

START_TEST(forgetful_handler)
{
	int fd;

	httpd_start_default();
	fd = client_dial();
	client_say(fd, "GET /forget HTTP/1.1\r\n\r\n");
	httpd_run_ms(500);
}
END_TEST

START_TEST(defaults)
{
	struct http_limits l = http_limits_default();

	ck_assert_uint_eq(l.header_bytes, 8192);
	ck_assert_uint_eq(l.body_bytes, 1048576);
	ck_assert_uint_eq(l.connections, 256);
	ck_assert_uint_eq(l.connections_per_uid, 64);
	ck_assert_uint_eq(l.held, 64);
	ck_assert_uint_eq(l.held_per_uid, 16);
	ck_assert_uint_eq(l.queue_bytes, 1048576);
	ck_assert_uint_eq(l.idle_ms, 60000);
	ck_assert_uint_eq(l.header_deadline_ms, 10000);
	ck_assert_uint_eq(l.stall_ms, 30000);
}
END_TEST

static TCase *requests_case(void)
{
	TCase *tc = tcase_create("requests");

	tcase_add_test(tc, defaults);
	tcase_add_loop_test(tc, target, 0, ARRAY_LEN(targets));
	tcase_add_loop_test(tc, echo, 0, ARRAY_LEN(echoes));
	tcase_add_loop_test(tc, refusal, 0, ARRAY_LEN(refusals));
	tcase_add_test(tc, largest_body);
	tcase_add_test(tc, keep_alive);
	tcase_add_test(tc, many_connections_leak_nothing);
	tcase_add_test_raise_signal(tc, forgetful_handler, SIGABRT);
	return tc;
}

static TCase *waits_case(void)
{
	TCase *tc = tcase_create("waits");

	tcase_add_loop_test(tc, hang_up_is_seen_within_one_turn, 0, 3);
	tcase_add_loop_test(tc, bytes_while_held, 0, 2);
	tcase_add_test(tc, pipelined_behind_a_hold);
	tcase_add_loop_test(tc, held_caps, 0, 2);
	tcase_add_loop_test(tc, idle, 0, 2);
	tcase_add_loop_test(tc, stream, 0, 3);
	tcase_add_loop_test(tc, stream_after_hold, 0, 2);
	tcase_add_test(tc, stream_hang_up);
	tcase_add_loop_test(tc, flood_is_not_stored, 0, 3);
	tcase_add_test(tc, slow_reader_is_dropped);
	tcase_add_loop_test(tc, stall, 0, 2);
	tcase_add_test(tc, drop_inside_the_handler);
	return tc;
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("http");

	suite_add_tcase(suite, requests_case());
	suite_add_tcase(suite, waits_case());
	return suite;
}
