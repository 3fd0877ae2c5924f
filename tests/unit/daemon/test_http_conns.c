/* test_http_conns - caps, deadlines, want of descriptors, and every way a connection can end */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tests/support/harness.h"
#include "tests/fakes/http/httpd.h"

#define NAME_LEN 60

/* CVE-2026-63388 */
START_TEST(client_with_a_long_name)
{
	char dir[] = "/tmp/check_http.XXXXXX";
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len;

	httpd_start_default();
	if (_i) {
		ck_assert_ptr_nonnull(mkdtemp(dir));
		snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%.*s", dir,
			 NAME_LEN - (int)strlen(dir) - 1,
			 "client-with-a-name-that-is-very-long-"
			 "indeed-and-goes-on-and-on-and-on");
	} else {
		snprintf(sun.sun_path + 1, sizeof(sun.sun_path) - 1, "check_http-%060d",
			 (int)getpid());
	}
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + NAME_LEN);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sun, len), 0);
	if (_i) {
		unlink(sun.sun_path);
		rmdir(dir);
	}
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&srv.addr, srv.addr_len), 0);
	client_expect_served(fd);
	close(fd);
	httpd_stop();
}
END_TEST

/* Caps */

START_TEST(caps)
{
	struct http_limits limits = http_limits_default();
	int fds[12], open_ones = 0;

	*(_i ? &limits.connections : &limits.connections_per_uid) = 3;
	httpd_start(&limits);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = client_dial();
		client_say(fds[i], "GET /x HTTP/1.1\r\n\r\n");
	}
	WAIT_FOR(http_stats(srv.http).accepted == ARRAY_LEN(fds));
	ck_assert_uint_eq(http_stats(srv.http).connections, 3);
	ck_assert_uint_eq(http_stats(srv.http).refused, ARRAY_LEN(fds) - 3);
	WAIT_FOR(srv.requests == 3);
	/* Those over the cap are closed, and what they asked for is not done. */
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		open_ones += !client_is_closed(fds[i]);
	ck_assert_int_eq(open_ones, 3);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	WAIT_FOR(http_stats(srv.http).connections == 0);
	ck_assert_uint_eq(srv.requests, 3);
	for (int i = 0; i < 3; i++) {
		fds[i] = client_dial();
		client_expect_served(fds[i]);
	}
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	httpd_stop();
}
END_TEST

/* One user at the caps does not touch another. Only root can be two users. */
START_TEST(caps_are_each_users_own)
{
	struct http_limits limits = http_limits_default();
	int mine, theirs, third;

	if (geteuid())
		return;
	limits.connections_per_uid = limits.held_per_uid = 1;
	httpd_start(&limits);
	mine = client_hold();
	theirs = client_dial_as(65534);
	client_say(theirs, "GET /stream HTTP/1.1\r\n\r\n");
	WAIT_FOR(srv.stream);
	third = client_dial_as(65534);
	client_expect_closed(third);
	third = client_dial_as(65533);
	client_expect_served(third);
	close(mine);
	close(theirs);
	close(third);
	httpd_stop();
}
END_TEST

/* Deadlines */

static const struct {
	const char *name, *first; /* sent at once */
	bool answered;            /* first is a whole request; then comes the drip */
	char drip;                /* every 20 ms, or 0 */
	bool cut;
} drips[] = {
	{"silent", "", false, 0, true},
	{"request line", "GET /", false, 'a', true},
	{"header", "GET /a HTTP/1.1\r\nX: ", false, 'a', true},
	{"blank lines", "GET /a HTTP/1.1\r\nX: a", false, '\r', true},
	{"body", "PUT /a HTTP/1.1\r\nContent-Length: 1000\r\n\r\n", false, 'a', true},
	{"half a header", "GET /a HTTP/1.1\r\nX: a", false, 0, true},
	{"second request", "GET /a HTTP/1.1\r\n\r\n", true, 'a', true},
	{"half a second request", "GET /a HTTP/1.1\r\n\r\nGET /b", true, 0, true},
	{"idle after a request", "GET /a HTTP/1.1\r\n\r\n", true, 0, false},
};

/* evhttp's own timer starts again with every byte. */
START_TEST(deadline)
{
	struct http_limits limits = http_limits_default();
	uint64_t begin = now_us(), took = 0;
	uint64_t end = drips[_i].cut ? httpd_deadline_us() : begin + 250 * 1000;
	bool closed = false;
	int fd;

	limits.header_deadline_ms = 100;
	httpd_start(&limits);
	fd = client_dial();
	client_say(fd, drips[_i].first);
	if (drips[_i].answered)
		client_hear(fd);
	for (; !closed && begin + took < end; took = now_us() - begin) {
		httpd_run_ms(20);
		closed = client_is_closed(fd);
		if (!closed && drips[_i].drip)
			client_say(fd, (char[]){drips[_i].drip, '\0'});
	}
	ck_assert_msg(closed == drips[_i].cut, "%s", drips[_i].name);
	ck_assert_msg(took >= 50 * 1000, "%s: after %d us", drips[_i].name, (int)took);
	ck_assert_msg(http_stats(srv.http).cut == drips[_i].cut, "%s", drips[_i].name);
	if (!drips[_i].cut)
		client_expect_served(fd);
	close(fd);
	httpd_stop();
}
END_TEST

/* Two at different times: each is cut in its turn, and neither before its own time. */
START_TEST(deadlines_are_each_connections_own)
{
	struct http_limits limits = http_limits_default();
	uint64_t dialled[3], cut[3] = {0};
	int fds[3];

	limits.header_deadline_ms = 500;
	httpd_start(&limits);
	for (int i = 0; i < 3; i++) {
		dialled[i] = now_us();
		fds[i] = client_dial();
		if (i == 1)
			client_expect_served(fds[i]);
		httpd_run_ms(100);
	}
	while (!cut[0] || !cut[2]) {
		WAIT_FOR(http_stats(srv.http).cut > (cut[0] != 0));
		for (int i = 0; i < 3; i += 2)
			if (!cut[i] && client_is_closed(fds[i]))
				cut[i] = now_us();
		ck_assert_msg(cut[0], "the later one was cut first");
	}
	for (int i = 0; i < 3; i += 2)
		ck_assert_msg(cut[i] - dialled[i] >= 450 * 1000, "%d was cut after %ju us", i,
			      (uintmax_t)(cut[i] - dialled[i]));
	ck_assert_uint_eq(http_stats(srv.http).cut, 2);
	client_expect_served(fds[1]);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	httpd_stop();
}
END_TEST

/* More than any request may have, and no end: neither stored nor spun upon. */
START_TEST(endless_request)
{
	static const char *const heads[] = {
		"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: ",
	};
	size_t before;
	int fd;

	httpd_start_default();
	fd = client_dial();
	client_say(fd, heads[_i]);
	httpd_turn();
	before = rss_kib();
	ck_assert_uint_lt(client_flood(fd), 4 << 20);
	ck_assert_uint_lt(rss_kib(), before + 8192);
	WAIT_FOR(http_stats(srv.http).connections == 0);
	ck_assert_uint_eq(srv.requests, 0);
	close(fd);
	httpd_stop();
}
END_TEST

/* Ends */

static const struct {
	const char *say;
	size_t gone; /* of a client that hangs up afterwards */
} ends[] = {
	{"", 0},
	{"GET /a HT", 0},
	{"GET /a HTTP/1.1\r\nX", 0},
	{"PUT /a HTTP/1.1\r\nContent-Length: 100000\r\n\r\nabc", 0},
	{"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 0},
	{"PUT /a HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", 0},
	{"GET /x HTTP/1.1\r\n\r\n", 0},
	{"GET /big HTTP/1.1\r\n\r\n", 0},
	{"GET /hold HTTP/1.1\r\n\r\n", 1},
	{"GET /hold HTTP/1.1\r\n\r\nGET /hold HTTP/1.1\r\n\r\n", 1},
	{"GET /stream HTTP/1.1\r\n\r\n", 1},
	{"BREW /a HTTP/1.1\r\n\r\n", 0},
	{"GET /big HTTP/1.1\r\n\r\nnonsense\r\n\r\n", 0},
};

/* Whatever the connection was at, its end leaves nothing; a leak checker watches. */
START_TEST(client_leaves)
{
	int fd;

	httpd_start_default();
	fd = client_dial();
	client_say(fd, ends[_i].say);
	for (int i = 0; i < 4; i++)
		httpd_turn();
	close(fd);
	WAIT_FOR(http_stats(srv.http).connections == 0);
	ck_assert_msg(srv.gone == ends[_i].gone, "%s", ends[_i].say);
	fd = client_dial();
	client_expect_served(fd);
	close(fd);
	httpd_stop();
}
END_TEST

START_TEST(server_leaves)
{
	int fd;

	httpd_start_default();
	fd = client_dial();
	client_say(fd, ends[_i].say);
	for (int i = 0; i < 4; i++)
		httpd_turn();
	httpd_stop();
	ck_assert_msg(srv.gone == ends[_i].gone, "%s", ends[_i].say);
	while (!client_is_closed(fd))
		;
	close(fd);
}
END_TEST

/* Accepted, but nobody has looked at it yet. */
START_TEST(server_leaves_at_accept)
{
	int fd, late;

	httpd_start_default();
	fd = client_dial();
	event_base_loopbreak(srv.base);
	httpd_stop();
	late = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(late, (struct sockaddr *)&srv.addr, srv.addr_len), -1);
	ck_assert_int_eq(errno, ECONNREFUSED);
	ck_assert(client_is_closed(fd));
	close(fd);
	close(late);
	http_free(NULL);
}
END_TEST

/* The answer of a long poll is under way when the client goes. */
START_TEST(leaves_during_a_late_answer)
{
	static char block[4 << 20];
	int fd;

	httpd_start_default();
	fd = client_hold();
	http_reply(srv.held[--srv.nheld], 200, "text/plain", block, sizeof(block));
	httpd_turn();
	if (_i) {
		close(fd);
		WAIT_FOR(http_stats(srv.http).connections == 0);
	}
	httpd_stop();
	ck_assert_uint_eq(srv.gone, 0);
	if (!_i)
		close(fd);
}
END_TEST

START_TEST(leaves_after_a_streams_end)
{
	static char block[512 << 10];
	int fd;

	httpd_start_default();
	fd = client_stream();
	ck_assert_int_eq(http_stream_write(srv.stream, block, sizeof(block)), 0);
	http_stream_end(srv.stream);
	httpd_turn();
	if (_i) {
		close(fd);
		WAIT_FOR(http_stats(srv.http).connections == 0);
	}
	httpd_stop();
	ck_assert_uint_eq(srv.gone, 0);
	if (!_i)
		close(fd);
}
END_TEST

/* Want of descriptors */

/* Until somebody was turned away. Each turn sleeps for 10 ms, unless the loop spins. */
static void await_refusal(void)
{
	uint64_t begin = now_us(), end = httpd_deadline_us(), ms;
	size_t n = 0;

	for (struct timeval tv = {0, 10 * 1000}; !http_stats(srv.http).refused; n++) {
		ck_assert_msg(now_us() < end, "nobody is turned away");
		event_base_loopexit(srv.base, &tv);
		event_base_loop(srv.base, EVLOOP_ONCE);
	}
	ms = (now_us() - begin) / 1000;
	ck_assert_msg(n < 200 + ms / 10, "%zu turns in %ju ms", n, (uintmax_t)ms);
}

START_TEST(out_of_descriptors)
{
	struct rlimit lim;
	int fds[30];

	httpd_start_default();
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = client_dial();
	lim = harness_limit_fds(1);
	/* One accepted, one refused by the kernel, */
	httpd_turn();
	ck_assert_uint_eq(http_stats(srv.http).accepted, 1);
	ck_assert_uint_eq(http_stats(srv.http).refused, 0);
	client_expect_served(fds[0]);
	/* then quiet; a whole back-off later, one is turned away. */
	await_refusal();
	ck_assert(client_is_closed(fds[1]));
	ck_assert(!client_is_closed(fds[29]));
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &lim), 0);
	client_expect_served(fds[29]);
	client_expect_served(fds[0]);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	httpd_stop();
}
END_TEST

/* A burst beyond the cap is turned away one by one, without running out on the way. */
START_TEST(burst_at_the_cap)
{
	struct http_limits limits = http_limits_default();
	struct rlimit lim;
	int fds[20];

	limits.connections = 2;
	httpd_start(&limits);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = client_dial();
	lim = harness_limit_fds(4);
	for (int i = 0; i < 100; i++)
		httpd_turn();
	ck_assert_uint_eq(http_stats(srv.http).accepted, ARRAY_LEN(fds));
	ck_assert_uint_eq(http_stats(srv.http).refused, ARRAY_LEN(fds) - 2);
	ck_assert_uint_eq(http_stats(srv.http).connections, 2);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &lim), 0);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	httpd_stop();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("http_conns");
	TCase *tc = tcase_create("conns");

	tcase_add_loop_test(tc, client_with_a_long_name, 0, 2);
	tcase_add_loop_test(tc, caps, 0, 2);
	tcase_add_test(tc, caps_are_each_users_own);
	tcase_add_loop_test(tc, deadline, 0, ARRAY_LEN(drips));
	tcase_add_test(tc, deadlines_are_each_connections_own);
	tcase_add_loop_test(tc, endless_request, 0, 2);
	tcase_add_loop_test(tc, client_leaves, 0, ARRAY_LEN(ends));
	tcase_add_loop_test(tc, server_leaves, 0, ARRAY_LEN(ends));
	tcase_add_test(tc, server_leaves_at_accept);
	tcase_add_loop_test(tc, leaves_during_a_late_answer, 0, 2);
	tcase_add_loop_test(tc, leaves_after_a_streams_end, 0, 2);
	tcase_add_test(tc, out_of_descriptors);
	tcase_add_test(tc, burst_at_the_cap);
	suite_add_tcase(suite, tc);
	return suite;
}
