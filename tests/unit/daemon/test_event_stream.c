/* test_event_stream - the event stream: what is in it, for whom, and readers that are slow or leave */
#include "daemon/event_stream.h"

#include <errno.h>
#include <sys/socket.h>

#include "tests/fakes/http/httpd.h"
#include "tests/support/storekit.h"

static struct event_streams streams;
static struct store *store;
static const char *tenant; /* of who asks; NULL: an admin */
static uint64_t kept;      /* events of red, once a stream has begun; 0: all */

static void handler(struct http_request *req, void *arg)
{
	struct api_request c = {.req = req, .streams = &streams};
	struct err err;

	(void)arg;
	if (event_stream_get(&c, tenant, &err))
		api_problem(req, &err);
	else if (kept)
		ck_assert_int_eq(store_trim_tenant(store, "red", kept, &err), 0);
}

static void start(const struct http_limits *limits)
{
	empty_dir();
	watch_opening();
	store = must_open();
	httpd_serve(limits, handler, NULL);
	event_streams_init(&streams, srv.base, store);
}

static void start_default(void)
{
	struct http_limits limits = http_limits_default();

	start(&limits);
}

static void stop(void)
{
	httpd_stop();
	ck_assert(TAILQ_EMPTY(&streams.open));
	store_close(store);
}

static void add(const char *of, const char *restore, uint64_t seq)
{
	struct store_event e = event_at(1700000000000, of, restore);

	must_write(store, NULL, &e, seq);
}

static int ask(const char *query, const char *version)
{
	char text[256];
	int fd = client_dial();

	snprintf(text, sizeof(text), "GET /v1/events%s HTTP/%s\r\nConnection: close\r\n\r\n", query,
		 version);
	client_say(fd, text);
	return fd;
}

/* All up to the end of the connection; owned by the caller. */
static char *read_to_end(int fd)
{
	char *all = xcalloc(1, 1), piece[8192];
	size_t n = 0;
	ssize_t got = -1;

	for (uint64_t end = httpd_deadline_us(); got != 0; httpd_turn()) {
		char *longer;

		ck_assert_msg(now_us() < end, "no end after %s", all);
		got = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);
		if (got <= 0)
			continue;
		longer = xcalloc(1, n + (size_t)got + 1);
		memcpy(longer, all, n);
		memcpy(longer + n, piece, (size_t)got);
		free(all);
		all = longer;
		n += (size_t)got;
	}
	close(fd);
	return all;
}

/* The numbers of the events in a reply to HTTP/1.0, each with a blank behind; "" if none. */
static char *numbers(const char *reply)
{
	const char *line = strstr(reply, "\r\n\r\n");
	char *list = xcalloc(1, strlen(reply) + 1);
	size_t n = 0;

	ck_assert_msg(strncmp(reply, "HTTP/1.0 200 ", 13) == 0 ||
			      strncmp(reply, "HTTP/1.1 200 ", 13) == 0,
		      "%s", reply);
	ck_assert_ptr_nonnull(strstr(reply, "\r\nContent-Type: application/x-ndjson\r\n"));
	for (line += 4; *line; line += strcspn(line, "\n") + 1) {
		unsigned long long seq;

		ck_assert_msg(sscanf(line, "{\"seq\":%llu,\"time\":\"", &seq) == 1, "%s", line);
		n += (size_t)sprintf(list + n, "%llu ", seq);
		ck_assert_msg(strncmp(line + strcspn(line, "\n") - 2, "}}\n", 3) == 0, "%s", line);
	}
	return list;
}

static void expect_numbers(const char *query, const char *want)
{
	cleanup_free char *reply = read_to_end(ask(query, "1.0"));
	cleanup_free char *got = numbers(reply);

	ck_assert_msg(strcmp(got, want) == 0, "%s: %s, not %s", query, got, want);
}

static void expect_refused(const char *query, int status, const char *detail)
{
	cleanup_free char *reply = read_to_end(ask(query, "1.1"));

	ck_assert_msg(strtol(reply + strlen("HTTP/1.1 "), NULL, 10) == status &&
			      strstr(reply, detail),
		      "%s: %s", query, reply);
	ck_assert(TAILQ_EMPTY(&streams.open));
}

START_TEST(test_what_is_told)
{
	static const struct {
		const char *tenant, *query, *want;
	} cases[] = {
		{NULL, "", "1 2 3 4 5 "},
		{NULL, "?after=0", "1 2 3 4 5 "},
		{NULL, "?after=3", "4 5 "},
		{NULL, "?after=5", ""},
		{NULL, "?after=500", ""},
		{NULL, "?follow=false", "1 2 3 4 5 "},
		{NULL, "?restore=a", "1 4 "},
		{NULL, "?restore=a&after=1", "4 "},
		{NULL, "?restore=nobody", ""},
		{"red", "", "1 4 "},
		{"red", "?after=1", "4 "},
		{"red", "?restore=a", "1 4 "},
		{"red", "?restore=b", ""},
		{"blue", "", "2 5 "},
		{"green", "", ""},
	};
	cleanup_free char *line = NULL;

	start_default();
	add("red", "a", 1);
	add("blue", "b", 2);
	add("", "", 3);
	add("red", "a", 4);
	add("blue", "c", 5);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		tenant = cases[i].tenant;
		expect_numbers(cases[i].query, cases[i].want);
	}
	tenant = NULL;
	line = read_to_end(ask("?after=4", "1.0"));
	ck_assert_ptr_nonnull(strstr(line,
				     "\r\n\r\n{\"seq\":5,"
				     "\"time\":\"2023-11-14T22:13:20.000Z\","
				     "\"type\":\"changed\",\"tenant\":\"blue\",\"restore\":\"c\","
				     "\"data\":{}}\n"));
	stop();
}
END_TEST

START_TEST(test_refused)
{
	struct err err;

	start_default();
	for (uint64_t seq = 1; seq <= 5; seq++)
		add("red", "a", seq);
	expect_refused("?after=x", 400, "after: must be a number");
	expect_refused("?follow=yes", 400, "follow: must be true or false");
	expect_refused("?restore=-", 400, "restore: is not an id");
	/* A place is named, and what came behind it is gone: that must be told. */
	ck_assert_int_eq(store_trim_tenant(store, "red", 2, &err), 0);
	expect_refused("?after=2", 410,
		       "events up to 3 are no longer kept: list the restores and "
		       "follow from 3");
	expect_refused("?after=0", 410, "events up to 3 are no longer kept");
	expect_numbers("?after=3", "4 5 ");
	expect_numbers("", "4 5 ");
	stop();
}
END_TEST

/* More than is read from the store at once. */
START_TEST(test_many)
{
	cleanup_free char *reply = NULL, *got = NULL, *want = xcalloc(1, 8192);
	size_t n = 0;

	start_default();
	for (uint64_t seq = 1; seq <= 600; seq++) {
		add("red", "a", seq);
		n += (size_t)sprintf(want + n, "%u ", (unsigned)seq);
	}
	reply = read_to_end(ask("", "1.0"));
	got = numbers(reply);
	ck_assert_str_eq(got, want);
	stop();
}
END_TEST

/* A queue of a few events, and a reader that takes nothing before it is full. */
START_TEST(test_slow_reader)
{
	struct http_limits limits = http_limits_default();
	cleanup_free char *reply = NULL, *got = NULL, *want = xcalloc(1, 1024);
	char data[1100];
	size_t n = 0;

	snprintf(data, sizeof(data), "{\"detail\":\"%01000d\"}", 0);
	limits.queue_bytes = 8000;
	start(&limits);
	for (uint64_t seq = 1; seq <= 60; seq++) {
		struct store_event e = event_at(1, "red", "a");

		e.data = data;
		must_write(store, NULL, &e, seq);
		n += (size_t)sprintf(want + n, "%u ", (unsigned)seq);
	}
	reply = read_to_end(ask("", "1.0"));
	got = numbers(reply);
	ck_assert_str_eq(got, want);
	stop();
}
END_TEST

static struct heard heard;

/* What happens after the stream has begun comes, too, to those whom it concerns. */
START_TEST(test_follow)
{
	int red, blue;

	start_default();
	add("red", "a", 1);
	tenant = "blue";
	blue = ask("?follow=true", "1.1");
	WAIT_FOR(client_hears(blue, &heard, "\r\n\r\n"));
	tenant = "red";
	red = ask("?follow=true", "1.1");
	WAIT_FOR(client_hears(red, &heard, "{\"seq\":1,"));
	add("red", "a", 2);
	event_stream_wake(&streams);
	WAIT_FOR(client_hears(red, &heard, "{\"seq\":2,"));
	add("blue", "a", 3);
	add("red", "a", 4);
	event_stream_wake(&streams);
	event_stream_wake(&streams);
	WAIT_FOR(client_hears(red, &heard, "{\"seq\":4,"));
	ck_assert_msg(!strstr(heard.text, "{\"seq\":3,"), "%s", heard.text);
	heard.n = 0;
	WAIT_FOR(client_hears(blue, &heard, "{\"seq\":3,"));
	ck_assert_msg(!strstr(heard.text, "red"), "%s", heard.text);
	close(red);
	WAIT_FOR(TAILQ_FIRST(&streams.open) == TAILQ_LAST(&streams.open, open_streams));
	event_stream_wake(&streams);
	stop();
	close(blue);
}
END_TEST

/* What others did is no loss to a reader who has had all of its own. */
START_TEST(test_idle_follower)
{
	struct err err = {.msg = ""};
	int fd;

	start_default();
	tenant = "red";
	add("red", "a", 1);
	heard.n = 0;
	fd = ask("?follow=true&after=0", "1.1");
	WAIT_FOR(client_hears(fd, &heard, "{\"seq\":1,"));
	for (uint64_t seq = 2; seq <= 9; seq++)
		add("blue", "a", seq);
	event_stream_wake(&streams);
	add("red", "a", 10);
	event_stream_wake(&streams);
	WAIT_FOR(client_hears(fd, &heard, "{\"seq\":10,"));
	ck_assert_msg(store_trim_events(store, INT64_MAX, &err) == 0, "%s", err.msg);
	add("red", "a", 11);
	event_stream_wake(&streams);
	WAIT_FOR(client_hears(fd, &heard, "{\"seq\":11,"));
	stop();
	close(fd);
	tenant = NULL;
}
END_TEST

/* Events that were removed before the reader came to them are missed: so it must not go on. */
START_TEST(test_removed_before_read)
{
	cleanup_free char *reply = NULL;

	start_default();
	for (uint64_t seq = 1; seq <= 5; seq++)
		add("red", "a", seq);
	kept = 2;
	reply = read_to_end(ask("?follow=true&after=1", "1.1"));
	kept = 0;
	ck_assert_msg(!strstr(reply, "\"seq\"") && !strstr(reply, "\r\n0\r\n"), "%s", reply);
	stop();
}
END_TEST

START_TEST(test_end)
{
	cleanup_free char *reply = NULL;

	start_default();
	add("red", "a", 1);
	reply = read_to_end(ask("", "1.1"));
	ck_assert_msg(strcmp(reply + strlen(reply) - 5, "0\r\n\r\n") == 0, "%s", reply);
	stop();
}
END_TEST

/* A stream that cannot go on must not look as if it were over. */
START_TEST(test_store_fails)
{
	cleanup_free char *rest = NULL;
	int fd;

	start_default();
	add("red", "a", 1);
	fd = ask("?follow=true", "1.1");
	WAIT_FOR(client_hears(fd, &heard, "{\"seq\":1,"));
	ck_assert_int_eq(sqlite3_exec(store_db, "DROP TABLE events", NULL, NULL, NULL), SQLITE_OK);
	event_stream_wake(&streams);
	rest = read_to_end(fd);
	ck_assert_str_eq(rest, "");
	ck_assert_msg(!strstr(heard.text, "\r\n0\r\n"), "%s", heard.text);
	stop();
}
END_TEST

START_TEST(test_too_many)
{
	struct http_limits limits = http_limits_default();
	cleanup_free char *reply = NULL;
	int fd;

	limits.held = 1;
	start(&limits);
	fd = ask("?follow=true", "1.1");
	WAIT_FOR(!TAILQ_EMPTY(&streams.open));
	reply = read_to_end(ask("", "1.1"));
	ck_assert_msg(strncmp(reply, "HTTP/1.1 429 ", 13) == 0 &&
			      strstr(reply, "too many streams are open already"),
		      "%s", reply);
	close(fd);
	WAIT_FOR(TAILQ_EMPTY(&streams.open));
	expect_numbers("", "");
	stop();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("feed");
	TCase *tc = tcase_create("event stream");

	tcase_add_unchecked_fixture(tc, make_dir, remove_dir);
	tcase_add_test(tc, test_what_is_told);
	tcase_add_test(tc, test_refused);
	tcase_add_test(tc, test_many);
	tcase_add_test(tc, test_slow_reader);
	tcase_add_test(tc, test_follow);
	tcase_add_test(tc, test_idle_follower);
	tcase_add_test(tc, test_removed_before_read);
	tcase_add_test(tc, test_end);
	tcase_add_test(tc, test_store_fails);
	tcase_add_test(tc, test_too_many);
	suite_add_tcase(suite, tc);
	return suite;
}
