/*
 * test_http_foreign - a client sends a descriptor whose last close() waits for it
 *
 * The loop is turned by this process: if it hung, so would the test.
 */
#include "daemon/http_foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "common/foreign.h"
#include "daemon/closer.h"
#include "tests/fakes/http/httpd.h"
#include "tests/support/lingerkit.h"
#include "tests/support/oldkernel.h"

#define REQUEST "GET /x HTTP/1.1\r\n\r\n"

static bool kernel_refuses(void)
{
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return http_foreign_refuse(fd);
}

START_TEST(test_kernel_refuses)
{
	struct linger_end l;
	int fd;

	if (!kernel_refuses()) {
		fprintf(stderr, "not tested: this kernel lets every socket have descriptors\n");
		return;
	}
	httpd_start_default();
	fd = client_dial();
	lingerkit_open(&l);
	/* Before the connection is accepted, and after. */
	ck_assert_int_eq(lingerkit_send(&l, fd, REQUEST, strlen(REQUEST)), -1);
	ck_assert_int_eq(errno, EPERM);
	client_expect_served(fd);
	ck_assert_int_eq(lingerkit_send(&l, fd, REQUEST, strlen(REQUEST)), -1);
	client_expect_served(fd);
	close(fd);
	lingerkit_close(&l);
	httpd_stop();
}
END_TEST

/* ---- a kernel before 6.16 ---- */

static void say_nothing(int fd)
{
	(void)fd;
}

static void say_half(int fd)
{
	client_say(fd, "GET /x HT");
}

static void be_served(int fd)
{
	client_expect_served(fd);
}

/* The request before is held: nothing more is read for it. */
static void be_held(int fd)
{
	size_t n = srv.nheld;

	client_say(fd, "GET /hold HTTP/1.1\r\n\r\n");
	WAIT_FOR(srv.nheld > n);
}

static const struct attack {
	void (*before)(int fd);
	bool hang_up; /* the client is gone before anything of it is read */
} attacks[] = {{say_nothing, false}, {say_nothing, true}, {say_half, false}, {say_half, true},
	       {be_served, false},   {be_served, true},   {be_held, true}};

static size_t open_descriptors(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

START_TEST(test_old_kernel)
{
	const struct attack *a = &attacks[_i];
	struct linger_end l;
	int fd, honest;
	size_t before;

	oldkernel_without_passrights();
	foreign_close_by(closer_close);
	ck_assert(!kernel_refuses());
	httpd_start_default();
	honest = client_dial();
	client_expect_served(honest);
	before = open_descriptors();
	fd = client_dial();
	a->before(fd);
	lingerkit_open(&l);
	ck_assert_int_eq(lingerkit_send(&l, fd, REQUEST, strlen(REQUEST)), strlen(REQUEST));
	if (a->hang_up)
		close(fd);
	else
		client_expect_closed(fd);
	WAIT_FOR(http_stats(srv.http).connections == 1);
	WAIT_FOR(closer_waiting() == 1);
	client_expect_served(honest);
	lingerkit_close(&l);
	WAIT_FOR(closer_waiting() == 0);
	ck_assert_uint_eq(open_descriptors(), before);
	close(honest);
	httpd_stop();
}
END_TEST

/* Honest clients notice nothing of it. */
START_TEST(test_old_kernel_serves)
{
	int fd;

	oldkernel_without_passrights();
	foreign_close_by(closer_close);
	httpd_start_default();
	for (int i = 0; i < 20; i++) {
		fd = client_dial();
		client_expect_served(fd);
		client_expect_served(fd);
		close(fd);
	}
	fd = client_dial();
	client_say(fd, "GET /x HTTP/1.1\r\nConnection: close\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(client_hear_all(fd), "GET|/x|"));
	WAIT_FOR(http_stats(srv.http).connections == 0);
	httpd_stop();
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("http-foreign");
	TCase *tc = tcase_create("descriptors");

	tcase_add_test(tc, test_kernel_refuses);
	tcase_add_loop_test(tc, test_old_kernel, 0, ARRAY_LEN(attacks));
	tcase_add_test(tc, test_old_kernel_serves);
	suite_add_tcase(s, tc);
	return s;
}
