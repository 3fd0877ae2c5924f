/* test_http_held - requests that their handler keeps: long polls and streams */
#include <string.h>
#include <sys/socket.h>

#include "tests/fakes/http/httpd.h"

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

/* Who holds what, in order, and whose first one goes when the last user comes. */
#define NOBODY -1
static const struct {
	const char *name;
	uid_t uids[3], next;
	bool held;
	int goes;
} places[] = {
	{"has none", {65534, 65534, 65534}, 65533, true, 0},
	{"has none, one has two", {65532, 65534, 65534}, 65533, true, 1},
	{"has none, one has two, first", {65534, 65534, 65532}, 65533, true, 0},
	{"one each", {65532, 65533, 65534}, 65531, false, NOBODY},
	{"has one", {65533, 65534, 65534}, 65533, false, NOBODY},
	{"privileged", {65532, 65533, 65534}, HTTPD_PRIVILEGED, true, NOBODY},
	{"privileged, has some",
	 {HTTPD_PRIVILEGED, HTTPD_PRIVILEGED, 65534},
	 HTTPD_PRIVILEGED,
	 true,
	 NOBODY},
	{"privileged, has its own all",
	 {HTTPD_PRIVILEGED, HTTPD_PRIVILEGED, HTTPD_PRIVILEGED},
	 HTTPD_PRIVILEGED,
	 false,
	 NOBODY},
};

/* Users who hold much keep nobody out who holds nothing. Only root can be many users. */
START_TEST(held_place_of_another)
{
	struct http_limits limits = http_limits_default();
	int fds[3], next;

	if (geteuid())
		return;
	limits.held = limits.held_per_uid = 3;
	httpd_start(&limits);
	for (int i = 0; i < 3; i++)
		fds[i] = client_hold_as(places[_i].uids[i]);
	next = client_dial_as(places[_i].next);
	client_say(next, "GET /hold HTTP/1.1\r\n\r\n");
	WAIT_FOR(srv.requests == 4);
	if (!places[_i].held)
		ck_assert_int_eq(client_hear(next)->status, 429);
	ck_assert_msg(http_stats(srv.http).held ==
			      3u + places[_i].held - (places[_i].goes != NOBODY),
		      "%s", places[_i].name);
	ck_assert_uint_eq(srv.gone, places[_i].goes != NOBODY);
	for (int i = 0; i < 3; i++) {
		ck_assert_msg(client_is_closed(fds[i]) == (i == places[_i].goes), "%s: %d",
			      places[_i].name, i);
		close(fds[i]);
	}
	close(next);
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

Suite *test_suite(void)
{
	Suite *suite = suite_create("http_held");
	TCase *tc = tcase_create("held");

	tcase_add_loop_test(tc, hang_up_is_seen_within_one_turn, 0, 3);
	tcase_add_loop_test(tc, bytes_while_held, 0, 2);
	tcase_add_test(tc, pipelined_behind_a_hold);
	tcase_add_loop_test(tc, held_caps, 0, 2);
	tcase_add_loop_test(tc, held_place_of_another, 0, ARRAY_LEN(places));
	tcase_add_loop_test(tc, idle, 0, 2);
	tcase_add_loop_test(tc, stream, 0, 3);
	tcase_add_loop_test(tc, stream_after_hold, 0, 2);
	tcase_add_test(tc, stream_hang_up);
	tcase_add_loop_test(tc, flood_is_not_stored, 0, 3);
	tcase_add_test(tc, slow_reader_is_dropped);
	tcase_add_loop_test(tc, stall, 0, 2);
	tcase_add_test(tc, drop_inside_the_handler);
	suite_add_tcase(suite, tc);
	return suite;
}
