/* The HTTP client against servers that do well, badly, slowly, and not at all. */
#include "config.h"

#include <check.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/exchange.h"
#include "tests/fakes/http/canned.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define SHORT_MS 100  /* for requests that must run into their deadline */
#define STREAM_MS 300 /* between two lines, at first */

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#define CHUNKED HEAD "Transfer-Encoding: chunked\r\n\r\n"
#define PROBLEM(code)                                                                \
	"{\"type\":\"about:blank\",\"title\":\"T\",\"status\":404,\"detail\":\"D\"," \
	"\"code\":\"" code "\"}"

/* clang-format off */
static const struct reply_case {
	const char *name;
	struct canned_reply reply;
	int code;         /* -1: success, else enum err_code */
	const char *says; /* reply as JSON text (NULL: none), or part of the error */
} replies[] = {
	{"length", {200, "{\"a\":1}"}, -1, "{\"a\":1}"},
	{"chunked", {200, "{\"abcdefghijklmn\":1}", CANNED_CHUNKED}, -1, "{\"abcdefghijklmn\":1}"},
	{"until close", {200, "{\"a\":1}", CANNED_CLOSE}, -1, "{\"a\":1}"},
	{"byte by byte", {201, "{\"a\":1}", CANNED_DRIP}, -1, "{\"a\":1}"},
	{"chunk extension and trailer",
	 {200, CHUNKED "7;x=y\r\n{\"a\":1}\r\n0\r\nX-Sum: 1\r\n\r\n", CANNED_RAW}, -1, "{\"a\":1}"},
	{"header names in any case",
	 {200, "HTTP/1.0 200 ok\r\ncontent-TYPE:application/json;charset=utf-8\r\n"
	       "CONTENT-LENGTH:  2 \r\n\r\n{}trailing", CANNED_RAW}, -1, "{}"},
	{"no content", {200, "HTTP/1.1 204 No Content\r\n\r\n", CANNED_RAW}, -1, NULL},
	{"not JSON", {200, "ok\n", CANNED_LENGTH, "text/plain"}, -1, NULL},
	{"empty", {200, ""}, -1, NULL},

	{"other protocol", {200, "SSH-2.0-OpenSSH_9.2\r\n", CANNED_STALL}, ERR_PEER,
	 "not speak HTTP"},
	{"binary", {200, "\x16\x03\x01\x02", CANNED_RAW}, ERR_PEER, "not speak HTTP"},
	{"status of two digits", {200, "HTTP/1.1 20\r\n\r\n", CANNED_RAW}, ERR_PEER,
	 "not speak HTTP"},
	{"status of four", {200, "HTTP/1.1 2000\r\n\r\n", CANNED_RAW}, ERR_PEER, "not speak HTTP"},
	{"hang-up", {200, "", CANNED_RAW}, ERR_UNREADY, "hung up without an answer"},
	{"cut head", {200, "HTTP/1.1 200 OK\r\nConte", CANNED_RAW}, ERR_UNREADY, "in the middle"},
	{"cut body", {200, HEAD "Content-Length: 9\r\n\r\n{\"a\"", CANNED_RAW}, ERR_UNREADY,
	 "in the middle"},
	{"cut chunk", {200, CHUNKED "9\r\n{\"a\"", CANNED_RAW}, ERR_UNREADY, "in the middle"},
	{"cut chunk line", {200, CHUNKED "9", CANNED_RAW}, ERR_UNREADY, "in the middle"},
	{"no last chunk", {200, CHUNKED "2\r\n{}\r\n", CANNED_RAW}, ERR_UNREADY, "in the middle"},
	{"cut trailer", {200, CHUNKED "2\r\n{}\r\n0\r\n", CANNED_RAW}, ERR_UNREADY,
	 "in the middle"},
	{"chunk size is a word", {200, CHUNKED "zz\r\n{}\r\n", CANNED_RAW}, ERR_PEER,
	 "broken chunks"},
	{"chunk size is negative", {200, CHUNKED "-2\r\n{}\r\n", CANNED_RAW}, ERR_PEER,
	 "broken chunks"},
	/* libcurl takes the tail for an extension; what is missing here is the last chunk. */
	{"chunk size has a tail", {200, CHUNKED "2x\r\n{}\r\n", CANNED_RAW}, ERR_UNREADY,
	 "in the middle"},
	{"chunk size of 2^64", {200, CHUNKED "10000000000000000\r\n", CANNED_RAW}, ERR_PEER,
	 "broken chunks"},
	{"chunk longer than it says", {200, CHUNKED "1\r\n{}\r\n0\r\n\r\n", CANNED_RAW}, ERR_PEER,
	 "broken chunks"},
	{"huge chunk", {200, CHUNKED "7fffffff\r\n{}", CANNED_STALL}, ERR_UNREADY, "in time"},
	{"length is a word", {200, HEAD "Content-Length: two\r\n\r\n{}", CANNED_RAW}, ERR_PEER,
	 "Content-Length"},
	{"length has a tail", {200, HEAD "Content-Length: 2,2\r\n\r\n{}", CANNED_RAW}, ERR_PEER,
	 "Content-Length"},
	{"length is negative", {200, HEAD "Content-Length: -2\r\n\r\n{}", CANNED_RAW}, ERR_PEER,
	 "Content-Length"},
	{"length of 2^64", {200, HEAD "Content-Length: 18446744073709551616\r\n\r\n{}", CANNED_RAW},
	 ERR_PEER, "Content-Length"},
	{"length over the limit", {200, HEAD "Content-Length: 16777217\r\n\r\n", CANNED_STALL},
	 ERR_PEER, "more than 16777216 bytes"},
	{"body without end", {200, "0123456789abcdef0123456789abcdef0123456789abcdef",
	 CANNED_FLOOD},
	 ERR_PEER, "more than 16777216 bytes"},
	{"unknown encoding", {200, HEAD "Transfer-Encoding: gzip\r\n\r\n", CANNED_RAW}, ERR_PEER,
	 "transfer encoding"},
	{"bad JSON", {200, "{\"a\":}"}, ERR_PEER, "uffdd's answer"},
	{"silence", {200, "", CANNED_STALL}, ERR_UNREADY, "in time"},
	{"half a head and silence", {200, "HTTP/1.1 200 OK\r\n", CANNED_STALL}, ERR_UNREADY,
	 "in time"},
	{"half a body and silence", {200, HEAD "Content-Length: 9\r\n\r\n{", CANNED_STALL},
	 ERR_UNREADY, "in time"},

	{"problem", {404, PROBLEM("not-found")}, ERR_NOTFOUND, "D"},
	{"problem, chunked", {409, PROBLEM("paused"), CANNED_CHUNKED}, ERR_PAUSED, "D"},
	{"problem of a code to come", {403, PROBLEM("from-the-future")}, ERR_DENIED, "D"},
	{"status to come", {418, PROBLEM("teapot")}, ERR_SYSTEM, "D"},
	{"problem without detail", {429, "{\"title\":\"T\",\"code\":\"quota-exceeded\"}"},
	 ERR_QUOTA, "T"},
	{"problem without words", {404, "{}"}, ERR_NOTFOUND, "no reason"},
	{"problem of wrong types", {404, "{\"detail\":1,\"code\":[]}"}, ERR_NOTFOUND, "no reason"},
	{"problem that is no JSON", {503, "oops"}, ERR_UNREADY, "status 503"},
	{"page of HTML", {400, "<html>", CANNED_LENGTH, "text/html"}, ERR_INVALID, "status 400"},
	{"method page", {501, "<html>", CANNED_LENGTH, "text/html"}, ERR_SYSTEM, "status 501"},
	{"not there yet", {100, "", CANNED_LENGTH}, ERR_SYSTEM, "status 100"},
	{"cut problem", {200, "HTTP/1.1 413 X\r\nContent-Length: 99\r\n\r\n<htm", CANNED_RAW},
	 ERR_TOOBIG, "status 413"},
};
/* clang-format on */

/*
 * A server that stalls does so until the client leaves: one that waits where it knows enough
 * runs into its deadline, and says so.
 */
static void run_case(const struct reply_case *c)
{
	const struct canned_reply script[] = {c->reply, {0}};
	bool slow = c->reply.how == CANNED_STALL && c->code == ERR_UNREADY;
	struct client_request req = {"GET", "/x", .timeout_ms = slow ? SHORT_MS : 0};
	struct canned server;
	struct client client = {0};
	struct json_object *reply;
	struct err err = {0};
	const char *text;
	int rc;

	canned_start(&server, script);
	client.path = server.socket;
	rc = client_call(&client, &req, &reply, &err);
	free(canned_stop(&server));
	ck_assert_msg(rc == (c->code < 0 ? 0 : -1), "%s: %d %s", c->name, rc, err.msg);
	if (rc == 0) {
		text = json_object_to_json_string_ext(reply, JSON_C_TO_STRING_PLAIN);
		ck_assert_msg(strcmp(text, c->says ? c->says : "null") == 0, "%s: %s", c->name,
			      text);
	} else {
		ck_assert_msg((int)err.code == c->code, "%s: %s %s", c->name, err_name(err.code),
			      err.msg);
		ck_assert_msg(strstr(err.msg, c->says), "%s: %s", c->name, err.msg);
	}
	json_object_put(reply);
	client_fini(&client);
}

START_TEST(replies_of_all_kinds)
{
	run_case(&replies[_i]);
}
END_TEST

#define LIBCURL_HEAD_MAX (300 << 10) /* bytes: of one line, its largest limit of all releases */

/* A head of @len bytes, or a little more, that does not end; @line is repeated in it. */
static char *endless_head(size_t len, const char *line)
{
	size_t room = len + strlen(HEAD) + strlen(line) + 1, n = strlen(HEAD);
	char *head = xcalloc(1, room);

	memcpy(head, HEAD, n);
	while (n < len)
		n += (size_t)snprintf(head + n, room - n, "%s", line);
	return head;
}

START_TEST(head_without_end)
{
	static const struct {
		size_t len;
		const char *line;
	} heads[] = {
		{EXCHANGE_HEAD_MAX + 1, "X-Y: z\r\n"},
		{LIBCURL_HEAD_MAX + 65536, "xxxxxxxxxxxxxxxx"},
	};
	struct reply_case c = {"head", {200, NULL, CANNED_STALL}, ERR_PEER, "bytes of headers"};
	cleanup_free char *head = endless_head(heads[_i].len, heads[_i].line);

	c.reply.body = head;
	run_case(&c);
}
END_TEST

START_TEST(head_of_many_headers)
{
	struct reply_case c = {"head", {200, NULL, CANNED_RAW}, -1, NULL};
	cleanup_free char *head = endless_head(EXCHANGE_HEAD_MAX - 16, "X-Y: z\r\n");
	cleanup_free char *whole = NULL;

	ck_assert_int_le(asprintf(&whole, "%s\r\n", head), EXCHANGE_HEAD_MAX);
	c.reply.body = whole;
	run_case(&c);
}
END_TEST

START_TEST(chunk_line_without_end)
{
	struct reply_case c = {"chunk", {200, NULL, CANNED_STALL}, ERR_PEER, "broken chunks"};
	cleanup_free char *text = xcalloc(1, 16384 + 200);

	memset(text, '0', 16384 + 199);
	memcpy(text, CHUNKED, strlen(CHUNKED));
	c.reply.body = text;
	run_case(&c);
}
END_TEST

/* ---- requests ---- */

/* These headers in whatever order, no others, and behind them the body. */
static void check_request(const char *text, const char *end, const char *length, const char *body)
{
	const char *headers[] = {"Host: localhost", "Connection: close",
				 "User-Agent: uffdctl/" PACKAGE_VERSION,
				 "Content-Type: application/json", length};
	const char *blank = strstr(text, "\r\n\r\n");
	size_t lines = 0;

	ck_assert(blank && blank + 4 + strlen(body) == end);
	ck_assert(memcmp(blank + 4, body, strlen(body)) == 0);
	for (const char *p = text; p < blank; p = strstr(p + 2, "\r\n"), lines++)
		;
	ck_assert_uint_eq(lines, 1 + ARRAY_LEN(headers));
	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		cleanup_free char *line = NULL;
		const char *at;

		ck_assert_int_gt(asprintf(&line, "\r\n%s\r\n", headers[i]), 0);
		at = strstr(text, line);
		ck_assert_msg(at && at < blank, "no %s in:\n%s", headers[i], text);
	}
}

START_TEST(request_as_sent)
{
	const struct canned_reply script[] = {{200, "{}"}, {204, ""}, {0}};
	cleanup_json struct json_object *body = json_tokener_parse("{\"path\":\"/a/b\",\"n\":[1]}");
	struct client_request put = {"PUT", "/v1/x?a=b", .body = body}, post = {"POST", "/v1/y"};
	cleanup_json struct json_object *reply = NULL;
	cleanup_free char *asked = NULL;
	struct json_object *none;
	struct canned server;
	struct client client = {0};
	const char *second;
	struct err err;

	canned_start(&server, script);
	client.path = server.socket;
	ck_assert_msg(client_call(&client, &put, &reply, &err) == 0, "%s", err.msg);
	ck_assert_msg(client_call(&client, &post, &none, &err) == 0, "%s", err.msg);
	asked = canned_stop(&server);
	second = strstr(asked, "POST /v1/y HTTP/1.1\r\n");
	ck_assert_ptr_nonnull(second);
	ck_assert_ptr_eq(strstr(asked, "PUT /v1/x?a=b HTTP/1.1\r\n"), asked);
	check_request(asked, second, "Content-Length: 23", "{\"path\":\"/a/b\",\"n\":[1]}");
	check_request(second, second + strlen(second), "Content-Length: 0", "");
}
END_TEST

/* Neither an answer nor the environment sends it elsewhere. */
START_TEST(goes_nowhere_else)
{
	static const char moved[] = "HTTP/1.1 302 X\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n";
	const struct canned_reply script[] = {{200, moved, CANNED_RAW}, {200, "{}"}, {0}};
	struct client_request first = {"GET", "/x"}, next = {"GET", "/z"};
	cleanup_json struct json_object *reply = NULL;
	cleanup_free char *asked = NULL;
	struct json_object *none;
	struct canned server;
	struct client client = {0};
	struct err err;

	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("all_proxy", "http://127.0.0.1:1", 1);
	canned_start(&server, script);
	client.path = server.socket;
	ck_assert_int_eq(client_call(&client, &first, &none, &err), -1);
	ck_assert_msg(strstr(err.msg, "status 302"), "%s", err.msg);
	ck_assert_msg(client_call(&client, &next, &reply, &err) == 0, "%s", err.msg);
	asked = canned_stop(&server);
	ck_assert_ptr_eq(strstr(asked, "GET /x HTTP"), asked);
	ck_assert_msg(strstr(asked, "GET /z HTTP") && !strstr(asked, "/y"), "%s", asked);
}
END_TEST

/* A daemon that refuses at the head does not wait for the rest of 8 MiB. */
START_TEST(refused_while_sending)
{
	const struct canned_reply script[] = {{413, PROBLEM("too-large"), CANNED_EARLY}, {0}};
	cleanup_free char *big = xcalloc(1, (8u << 20) + 1);
	cleanup_json struct json_object *body = json_object_new_object();
	struct client_request req = {"POST", "/x", .body = body};
	struct canned server;
	struct client client = {0};
	struct json_object *none;
	struct err err;
	int rc;

	memset(big, 'x', 8u << 20);
	js_add_string(body, "big", big);
	canned_start(&server, script);
	client.path = server.socket;
	rc = client_call(&client, &req, &none, &err);
	free(canned_stop(&server));
	ck_assert_int_eq(rc, -1);
	ck_assert_msg(err.code == ERR_TOOBIG, "%s", err.msg);
	client_fini(&client);
}
END_TEST

/* ---- streams ---- */

struct lines {
	char text[512];
	size_t n, refuse_at;
};

static int take_line(const char *line, size_t len, void *arg, struct err *err)
{
	struct lines *lines = arg;
	size_t used = strlen(lines->text);

	ck_assert_uint_eq(strlen(line), len);
	snprintf(lines->text + used, sizeof(lines->text) - used, "[%s]", line);
	lines->n++;
	return lines->n == lines->refuse_at ? err_set(err, ERR_NOSPACE, "enough") : 0;
}

static int stream(const struct canned_reply *reply, uint64_t timeout_ms, struct lines *lines,
		  struct err *err)
{
	struct canned_reply script[] = {*reply, {0}};
	struct client_request req = {"GET", "/x", .timeout_ms = timeout_ms, .on_line = take_line,
				     .arg = lines};
	struct canned server;
	struct client client = {0};
	struct json_object *none;
	int rc;

	script[0].pulse_ms = (int)timeout_ms / 6;
	canned_start(&server, script);
	client.path = server.socket;
	rc = client_call(&client, &req, &none, err);
	free(canned_stop(&server));
	client_fini(&client);
	return rc;
}

/* clang-format off */
static const struct {
	const char *name;
	struct canned_reply reply;
	size_t refuse_at;
	int code;                 /* -1: success */
	const char *lines, *says; /* says: part of the error, or NULL */
} streamed[] = {
	{"lines", {200, "one\ntwo\n\nthree\n", CANNED_CHUNKED}, 0, -1,
	 "[one][two][][three]"},
	{"last one open", {200, "one\ntwo", CANNED_CHUNKED}, 0, -1, "[one][two]"},
	{"none", {200, "", CANNED_CHUNKED}, 0, -1, ""},
	/* Ten pulses last longer than the time given, but none is late. */
	{"longer than the timeout", {200, "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", CANNED_PULSE},
	 0, -1, "[1][2][3][4][5][6][7][8][9][10]"},
	{"caller has enough", {200, "one\ntwo\nthree\n", CANNED_LENGTH}, 2, ERR_NOSPACE,
	 "[one][two]"},
	{"silence", {200, CHUNKED "4\r\none\n\r\n", CANNED_STALL}, 0, ERR_UNREADY, "[one]"},
	{"broken off", {200, CHUNKED "4\r\none\n\r\n", CANNED_RAW}, 0, ERR_UNREADY,
	 "[one]"},
	{"trimmed", {410, PROBLEM("trimmed"), CANNED_LENGTH}, 0, ERR_TRIMMED, ""},
	{"line without end", {200, "0123456789abcdef0123456789abcdef", CANNED_FLOOD}, 0,
	 ERR_PEER, "", "line of more than 65536 bytes"},
};
/* clang-format on */

START_TEST(streams)
{
	for (size_t i = 0; i < ARRAY_LEN(streamed); i++) {
		struct lines lines;
		struct err err;
		int rc;

		/* On a busy host the first line may be too late: then again, with more time. */
		for (uint64_t ms = STREAM_MS; ms < 4 * HARNESS_MS; ms *= 4) {
			lines = (struct lines){.refuse_at = streamed[i].refuse_at};
			err = (struct err){0};
			rc = stream(&streamed[i].reply, ms, &lines, &err);
			if (rc == 0 || strcmp(lines.text, streamed[i].lines) == 0)
				break;
		}
		ck_assert_msg(rc == (streamed[i].code < 0 ? 0 : -1), "%s: %s", streamed[i].name,
			      err.msg);
		ck_assert_msg(rc == 0 || (int)err.code == streamed[i].code, "%s: %s",
			      streamed[i].name, err.msg);
		ck_assert_msg(!streamed[i].says || strstr(err.msg, streamed[i].says), "%s: %s",
			      streamed[i].name, err.msg);
		ck_assert_msg(strcmp(lines.text, streamed[i].lines) == 0, "%s: %s",
			      streamed[i].name, lines.text);
	}
}
END_TEST

START_TEST(escaping)
{
	char ret[3 * CLIENT_TOKEN_MAX + 1], longest[CLIENT_TOKEN_MAX + 2];

	ck_assert(client_escape("aZ09-._~ /+&=%\xc3\xa4", ret));
	ck_assert_str_eq(ret, "aZ09-._~%20%2F%2B%26%3D%25%C3%A4");
	memset(longest, '/', sizeof(longest));
	longest[CLIENT_TOKEN_MAX + 1] = '\0';
	ck_assert(!client_escape(longest, ret));
	longest[CLIENT_TOKEN_MAX] = '\0';
	ck_assert(client_escape(longest, ret));
	ck_assert_uint_eq(strlen(ret), 3 * CLIENT_TOKEN_MAX);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("client");
	TCase *tcase = tcase_create("client");

	tcase_add_loop_test(tcase, replies_of_all_kinds, 0, ARRAY_LEN(replies));
	tcase_add_loop_test(tcase, head_without_end, 0, 2);
	tcase_add_test(tcase, head_of_many_headers);
	tcase_add_test(tcase, chunk_line_without_end);
	tcase_add_test(tcase, request_as_sent);
	tcase_add_test(tcase, goes_nowhere_else);
	tcase_add_test(tcase, refused_while_sending);
	tcase_add_test(tcase, streams);
	tcase_add_test(tcase, escaping);
	suite_add_tcase(suite, tcase);
	return suite;
}
