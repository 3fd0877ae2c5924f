/* test_api - the control socket, and news of the supervisor that reach those who wait */
#include "daemon/api.h"

#include <string.h>
#include <sys/stat.h>

#include "tests/support/apikit.h"

static char *dir;

static void make_dir(void)
{
	dir = harness_tmpdir();
}

static void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
}

static void prepare(struct apikit *k)
{
	harness_rmtree(dir);
	ck_assert_int_eq(mkdir(dir, 0755), 0);
	apikit_prepare(k, dir);
}

START_TEST(test_socket)
{
	struct apikit k;
	struct stat st;

	prepare(&k);
	k.conf.socket_mode = 0620;
	apikit_start(&k);
	ck_assert_int_eq(lstat(srv.addr.sun_path, &st), 0);
	ck_assert(S_ISSOCK(st.st_mode));
	ck_assert_uint_eq(st.st_mode & 07777, 0620);
	ck_assert_int_eq(apikit_ask(geteuid(), "GET", "/healthz", NULL)->status, 200);
	apikit_stop(&k);
	ck_assert_int_eq(lstat(srv.addr.sun_path, &st), -1);
}
END_TEST

START_TEST(test_group)
{
	struct err err = {.msg = ""};
	char path[PROTO_SUN_MAX + 1];
	struct apikit k;
	struct stat st;

	prepare(&k);
	snprintf(k.conf.socket_group, sizeof(k.conf.socket_group), "no-such-group");
	ck_assert_int_eq(apikit_try(&k, &err), -1);
	ck_assert_int_eq(err.code, ERR_INVALID);
	ck_assert_str_eq(err.msg, "socket_group: there is no group no-such-group");
	snprintf(path, sizeof(path), "%s/control.sock", k.conf.run_dir);
	ck_assert_int_eq(lstat(path, &st), -1);
	apikit_stop(&k);
}
END_TEST

/* What an operator allows of clients reaches the server. */
START_TEST(test_limits)
{
	struct apikit k;
	char body[256];

	prepare(&k);
	k.conf.http_body_bytes = 100;
	k.conf.http_held_per_uid = 0;
	apikit_start(&k);
	ck_assert_int_eq(apikit_ask(geteuid(), "GET", "/v1/events?follow=true", NULL)->status, 429);
	snprintf(body, sizeof(body), "{\"snapshot\":{\"dir\":\"/%0200d\"}}", 0);
	ck_assert_int_eq(apikit_ask(geteuid(), "PUT", "/v1/restores/a", body)->status, 413);
	apikit_stop(&k);
}
END_TEST

static struct heard heard;

/* Others may hold all places there are: an admin has some of its own. */
START_TEST(test_places_of_admins)
{
	static const char follow[] = "GET /v1/events?follow=true HTTP/1.1\r\n\r\n";
	struct apikit k;
	int fd;

	prepare(&k);
	k.conf.http_held = 0;
	apikit_start(&k);
	if (geteuid() == 0)
		ck_assert_int_eq(apikit_ask(65534, "GET", "/v1/events?follow=true", NULL)->status,
				 429);
	fd = client_dial();
	client_say(fd, follow);
	WAIT_FOR(client_hears(fd, &heard, "HTTP/1.1 200 OK\r\n"));
	close(fd);
	apikit_stop(&k);
}
END_TEST

/* A change of a restore ends the long polls for it, and its event goes to the streams. */
START_TEST(test_news)
{
	int stream, poll_end, poll_other;
	struct apikit k;
	struct restore *r;

	prepare(&k);
	apikit_start(&k);
	r = supervisor_find(k.sup, "roots", NULL);
	/* As if it were still to be served. */
	r->rec.state = STATE_WAITING;
	stream = client_dial();
	client_say(stream, "GET /v1/events?follow=true&after=2 HTTP/1.1\r\n\r\n");
	poll_end = client_dial();
	client_say(poll_end, "GET /v1/restores/roots?for=ended&wait=300s HTTP/1.1\r\n\r\n");
	poll_other = client_dial();
	client_say(poll_other, "GET /v1/restores/roots?for=serving&wait=300s HTTP/1.1\r\n\r\n");
	WAIT_FOR(client_hears(stream, &heard, "\r\n\r\n"));
	/* All that was said before this is held by now. */
	ck_assert_int_eq(apikit_ask(geteuid(), "GET", "/healthz", NULL)->status, 200);
	ck_assert_int_eq(recv(poll_end, &(char){0}, 1, MSG_DONTWAIT | MSG_PEEK), -1);
	record_move(&r->rec, STATE_SERVING, NULL, 1);
	restore_changed(r, "connected", NULL);
	ck_assert_ptr_nonnull(strstr(client_hear(poll_other)->body, "\"state\":\"serving\""));
	WAIT_FOR(client_hears(stream, &heard, "\"type\":\"connected\""));
	ck_assert_int_eq(recv(poll_end, &(char){0}, 1, MSG_DONTWAIT | MSG_PEEK), -1);
	record_move(&r->rec, STATE_ENDED, "stopped", 2);
	restore_changed(r, "ended", NULL);
	ck_assert_ptr_nonnull(strstr(client_hear(poll_end)->body, "\"state\":\"ended\""));
	WAIT_FOR(client_hears(stream, &heard, "\"type\":\"ended\""));
	apikit_stop(&k);
	close(stream);
	close(poll_end);
	close(poll_other);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("api");
	TCase *tc = tcase_create("socket and news");

	tcase_add_unchecked_fixture(tc, make_dir, remove_dir);
	tcase_add_test(tc, test_socket);
	tcase_add_test(tc, test_group);
	tcase_add_test(tc, test_limits);
	tcase_add_test(tc, test_places_of_admins);
	tcase_add_test(tc, test_news);
	suite_add_tcase(suite, tc);
	return suite;
}
