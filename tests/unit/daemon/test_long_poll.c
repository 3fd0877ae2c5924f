/* test_long_poll - long polls: at once, at a change, too late, refused, and by clients that leave */
#include "daemon/long_poll.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/api_request.h"
#include "daemon/restore.h"
#include "tests/fakes/http/httpd.h"

#define HOUR_MS "3600000"

static struct long_polls polls;
/* Only their addresses count. */
static struct restore here, there;
static int stage_of_here, stage_of_there;
static bool refusing, needless;
static size_t asked;

static bool has_reached(const struct restore *restore, int target)
{
	return (restore == &here ? stage_of_here : stage_of_there) >= target;
}

static int answer(struct http_request *req, const struct restore *restore, bool late,
		  struct err *err)
{
	char text[64];

	snprintf(text, sizeof(text), "%s %s", restore == &here ? "here" : "there",
		 late ? "late" : "reached");
	if (refusing)
		return err_set(err, ERR_STATE, "not %s", text);
	http_reply(req, 200, "text/plain", text, strlen(text));
	return 0;
}

static void answer_unheld(struct http_request *req, const struct restore *restore)
{
	const char *text = restore == &here ? "here unheld" : "there unheld";

	http_reply(req, 202, "text/plain", text, strlen(text));
}

static uint64_t number(struct http_request *req, const char *key)
{
	return strtoull(http_query(req, key), NULL, 10);
}

/* GET /here or /there, with a target and how long to wait. */
static void handler(struct http_request *req, void *arg)
{
	const struct wait_goal goal = {has_reached, (int)number(req, "target"), answer,
				       needless ? answer_unheld : NULL};
	const struct restore *restore = strcmp(http_path(req), "/here") == 0 ? &here : &there;
	struct err err;

	ck_assert_ptr_eq(arg, &polls);
	if (long_poll_hold(&polls, req, restore, number(req, "ms"), &goal, &err))
		api_problem(req, &err);
	asked++;
}

static void start(size_t held)
{
	struct http_limits limits = http_limits_default();

	limits.held = held;
	httpd_serve(&limits, handler, &polls);
	long_poll_init(&polls, srv.base);
}

static void stop(void)
{
	httpd_stop();
	ck_assert(TAILQ_EMPTY(&polls.held));
}

static int ask(const char *path, int target, const char *ms)
{
	char text[128];
	size_t before = asked;
	int fd = client_dial();

	snprintf(text, sizeof(text), "GET %s?target=%d&ms=%s HTTP/1.1\r\n\r\n", path, target, ms);
	client_say(fd, text);
	WAIT_FOR(asked == before + 1);
	return fd;
}

static void expect(int fd, int status, const char *text)
{
	struct reply *r = client_hear(fd);

	ck_assert_int_eq(r->status, status);
	ck_assert_msg(strstr(r->body, text) != NULL, "%s", r->text);
	close(fd);
}

/* An answer that was given would be there after two turns. */
static void expect_silence(int fd)
{
	char c;

	httpd_turn();
	httpd_turn();
	ck_assert_int_eq(recv(fd, &c, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

START_TEST(test_at_once)
{
	start(1);
	stage_of_here = 2;
	expect(ask("/here", 2, HOUR_MS), 200, "here reached");
	expect(ask("/here", 2, "0"), 200, "here reached");
	expect(ask("/here", 3, "0"), 200, "here late");
	expect(ask("/there", 0, HOUR_MS), 200, "there reached");
	ck_assert(TAILQ_EMPTY(&polls.held));
	stop();
}
END_TEST

START_TEST(test_at_a_change)
{
	int fd;

	start(1);
	fd = ask("/here", 2, HOUR_MS);
	stage_of_here = 1;
	long_poll_look(&polls, &here);
	expect_silence(fd);
	stage_of_here = 2;
	expect_silence(fd);
	long_poll_look(&polls, &here);
	expect(fd, 200, "here reached");
	ck_assert(TAILQ_EMPTY(&polls.held));
	/* Its place is free again. */
	fd = ask("/here", 3, HOUR_MS);
	stop();
	close(fd);
}
END_TEST

/* A change of one restore says nothing about another. */
START_TEST(test_whose_change)
{
	int fds[4];

	start(8);
	fds[0] = ask("/here", 1, HOUR_MS);
	fds[1] = ask("/there", 1, HOUR_MS);
	fds[2] = ask("/here", 2, HOUR_MS);
	fds[3] = ask("/here", 1, HOUR_MS);
	stage_of_here = stage_of_there = 1;
	long_poll_look(&polls, &here);
	expect(fds[0], 200, "here reached");
	expect(fds[3], 200, "here reached");
	expect_silence(fds[1]);
	expect_silence(fds[2]);
	long_poll_look(&polls, &there);
	expect(fds[1], 200, "there reached");
	stage_of_here = 2;
	long_poll_look(&polls, &here);
	expect(fds[2], 200, "here reached");
	stop();
}
END_TEST

START_TEST(test_too_late)
{
	int patient;

	start(2);
	patient = ask("/here", 1, HOUR_MS);
	expect(ask("/here", 1, "1"), 200, "here late");
	expect_silence(patient);
	/* Of the one that was late nothing is left to be answered. */
	stage_of_here = 1;
	long_poll_look(&polls, &here);
	expect(patient, 200, "here reached");
	stop();
}
END_TEST

/* The reason is the answer, whenever it comes. */
START_TEST(test_refused)
{
	int fd;

	start(1);
	refusing = true;
	stage_of_here = 1;
	expect(ask("/here", 1, HOUR_MS), 409, "\"detail\":\"not here reached\"");
	expect(ask("/here", 2, "0"), 409, "not here late");
	expect(ask("/here", 2, "1"), 409, "not here late");
	fd = ask("/here", 2, HOUR_MS);
	stage_of_here = 2;
	long_poll_look(&polls, &here);
	expect(fd, 409, "not here reached");
	stop();
}
END_TEST

START_TEST(test_too_many)
{
	int fd;

	start(1);
	fd = ask("/here", 1, HOUR_MS);
	expect(ask("/here", 1, HOUR_MS), 429, "too many requests wait already");
	expect(ask("/there", 0, HOUR_MS), 200, "there reached");
	stage_of_here = 1;
	long_poll_look(&polls, &here);
	expect(fd, 200, "here reached");
	stop();
}
END_TEST

/* The goal may have an answer for it: whoever asks need not wait. */
START_TEST(test_no_place)
{
	int fd;

	start(1);
	needless = true;
	fd = ask("/here", 1, HOUR_MS);
	expect_silence(fd);
	expect(ask("/there", 1, HOUR_MS), 202, "there unheld");
	expect(ask("/there", 0, HOUR_MS), 200, "there reached");
	stage_of_here = stage_of_there = 1;
	long_poll_look(&polls, &there);
	long_poll_look(&polls, &here);
	expect(fd, 200, "here reached");
	stop();
}
END_TEST

START_TEST(test_client_leaves)
{
	start(1);
	close(ask("/here", 1, HOUR_MS));
	WAIT_FOR(TAILQ_EMPTY(&polls.held));
	stage_of_here = 1;
	long_poll_look(&polls, &here);
	expect(ask("/here", 1, HOUR_MS), 200, "here reached");
	stop();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("polls");
	TCase *tc = tcase_create("long polls");

	tcase_add_test(tc, test_at_once);
	tcase_add_test(tc, test_at_a_change);
	tcase_add_test(tc, test_whose_change);
	tcase_add_test(tc, test_too_late);
	tcase_add_test(tc, test_refused);
	tcase_add_test(tc, test_too_many);
	tcase_add_test(tc, test_no_place);
	tcase_add_test(tc, test_client_leaves);
	suite_add_tcase(suite, tc);
	return suite;
}
