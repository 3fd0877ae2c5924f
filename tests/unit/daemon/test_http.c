/* test_http - requests and replies */
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/fakes/http/httpd.h"
#include "tests/support/fds.h"

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
	{"PUT /a HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", 0, 0, 400,
	 PROBLEM},
	{"PUT /a HTTP/1.1\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\n{}", 0, 0, 400, PROBLEM},
	{"PUT /a HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "2\r\n{}\r\n0\r\n\r\n",
	 0, 0, 400, HTML},
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

/* What follows may be a part of that body: it is not answered. */
START_TEST(closed_after_two_lengths)
{
	int fd;

	httpd_start_default();
	fd = client_dial();
	client_say(fd, "PUT /a HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 22\r\n\r\n"
		       "GET /smuggled HTTP/1.1\r\n\r\n");
	ck_assert_ptr_null(strstr(client_hear_all(fd), "smuggled"));
	ck_assert_uint_eq(srv.requests, 0);
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
	int before;

	httpd_start_default();
	before = fds_count(getpid());
	for (int i = 0; i < 200; i++) {
		int fd = client_dial();

		if (i % 2)
			client_expect_served(fd);
		close(fd);
	}
	WAIT_FOR(http_stats(srv.http).connections == 0);
	httpd_turn();
	ck_assert_int_eq(fds_count(getpid()), before);
	ck_assert_uint_eq(http_stats(srv.http).accepted, 200);
	ck_assert_uint_eq(http_stats(srv.http).refused, 0);
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

Suite *test_suite(void)
{
	Suite *suite = suite_create("http");
	TCase *tc = tcase_create("requests");

	tcase_add_test(tc, defaults);
	tcase_add_loop_test(tc, echo, 0, ARRAY_LEN(echoes));
	tcase_add_loop_test(tc, refusal, 0, ARRAY_LEN(refusals));
	tcase_add_test(tc, closed_after_two_lengths);
	tcase_add_test(tc, largest_body);
	tcase_add_test(tc, keep_alive);
	tcase_add_test(tc, many_connections_leak_nothing);
	tcase_add_test_raise_signal(tc, forgetful_handler, SIGABRT);
	suite_add_tcase(suite, tc);
	return suite;
}
