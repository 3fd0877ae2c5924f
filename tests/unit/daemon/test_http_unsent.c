/* test_http_unsent - answers that nobody reads: how many bytes of them a user may leave */
#include "tests/fakes/http/httpd.h"

#include <string.h>

#define BIG "GET /big HTTP/1.1\r\n\r\n"
#define BIG_BYTES ((size_t)8 << 20)

static void start(size_t bytes)
{
	struct http_limits limits = http_limits_default();

	limits.unsent_bytes_per_uid = bytes;
	httpd_start(&limits);
}

/* Asks for it and reads the head only. */
static int ask(uid_t uid, const char *status)
{
	int fd = uid == geteuid() ? client_dial() : client_dial_as(uid);
	static struct heard heard;

	heard.n = 0;
	client_say(fd, BIG);
	WAIT_FOR(client_hears(fd, &heard, "\r\n\r\n"));
	ck_assert_msg(strncmp(heard.text + 9, status, 3) == 0, "%.200s", heard.text);
	return fd;
}

START_TEST(test_refused)
{
	int first, second, third;

	start(BIG_BYTES + BIG_BYTES / 2);
	first = ask(geteuid(), "200");
	second = ask(geteuid(), "429");
	/* Small ones are always answered. */
	client_expect_served(second);
	/* Once the first is gone, there is room. */
	close(first);
	WAIT_FOR(http_stats(srv.http).connections == 1);
	third = ask(geteuid(), "200");
	close(second);
	close(third);
	httpd_stop();
}
END_TEST

/* However small the limit, one answer can be had. */
START_TEST(test_one)
{
	int fd;

	start(1);
	fd = ask(geteuid(), "200");
	close(fd);
	httpd_stop();
}
END_TEST

START_TEST(test_of_each_user)
{
	int mine, other;

	start(BIG_BYTES);
	mine = ask(geteuid(), "200");
	other = ask(65533, "200");
	close(ask(65533, "429"));
	close(mine);
	close(other);
	httpd_stop();
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("http_unsent");
	TCase *t = tcase_create("unsent");

	tcase_add_test(t, test_refused);
	tcase_add_test(t, test_one);
	/* Only root can ask as somebody else. */
	if (geteuid() == 0)
		tcase_add_test(t, test_of_each_user);
	suite_add_tcase(s, t);
	return s;
}
