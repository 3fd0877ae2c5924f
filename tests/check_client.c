/* The HTTP client against servers that do well, badly, slowly, and not at all. */
#include <check.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "ctl/client.h"
#include "tests/canned.h"
#include "tests/harness.h"
#include "tests/runner.h"

#define SHORT_MS 100  /* for requests that must run into their deadline */
#define STREAM_MS 300 /* between two lines, at first */

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#define CHUNKED HEAD "Transfer-Encoding: chunked\r\n\r\n"
#define PROBLEM(code) \
	"{\"type\":\"about:blank\",\"title\":\"T\",\"status\":404,\"detail\":\"D\"," \
	"\"code\":\"" code "\"}"

static const struct reply_case {
	const char *name;
	struct canned_reply reply;
	int code; /* -1: success, else enum err_code */
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
	{"chunk size has a tail", {200, CHUNKED "2x\r\n{}\r\n", CANNED_RAW}, ERR_PEER,
	 "broken chunks"},
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

START_TEST(head_without_end)
{
	struct reply_case c = {"head", {200, NULL, CANNED_STALL}, ERR_PEER, "bytes of headers"};
	cleanup_free char *head = xcalloc(1, CLIENT_HEAD_MAX + 100);

	memset(head, 'x', CLIENT_HEAD_MAX + 99);
	memcpy(head, HEAD, strlen(HEAD));
	c.reply.body = head;
	run_case(&c);
}
END_TEST

START_TEST(chunk_line_without_end)
{
	struct reply_case c = {"chunk", {200, NULL, CANNED_STALL}, ERR_PEER, "broken chunks"};
	cleanup_free char *text = xcalloc(1, CLIENT_HEAD_MAX + 200);

	memset(text, '0', CLIENT_HEAD_MAX + 199);
	memcpy(text, CHUNKED, strlen(CHUNKED));
	c.reply.body = text;
	run_case(&c);
}
END_TEST

/* ---- requests ---- */

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
	struct err err;

	canned_start(&server, script);
	client.path = server.socket;
	ck_assert_msg(client_call(&client, &put, &reply, &err) == 0, "%s", err.msg);
	ck_assert_msg(client_call(&client, &post, &none, &err) == 0, "%s", err.msg);
	asked = canned_stop(&server);
	ck_assert_ptr_eq(strstr(asked, "PUT /v1/x?a=b HTTP/1.1\r\n"), asked);
	ck_assert_ptr_nonnull(strstr(asked, "\r\nHost: localhost\r\nConnection: close\r\n"));
	ck_assert_ptr_nonnull(strstr(asked, "Content-Type: application/json\r\n"
					    "Content-Length: 23\r\n\r\n"
					    "{\"path\":\"/a/b\",\"n\":[1]}POST /v1/y "));
	ck_assert_ptr_nonnull(strstr(asked, "Content-Length: 0\r\n\r\n"));
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

/* ---- nobody there ---- */

START_TEST(no_socket)
{
	static const struct {
		const char *path;
		enum err_code code;
		const char *says;
	} cases[] = {
		{"/nonexistent/control.sock", ERR_UNREADY,
		 "socket /nonexistent/control.sock: No such file"},
		{"/dev/null", ERR_UNREADY, "is uffdd running? cannot reach it at socket /dev/null"},
		{"", ERR_PATH, "1 to 107 bytes"},
		{"/12345678901234567890123456789012345678901234567890123456789012345678901234567890"
		 "123456789012345678901234567", ERR_PATH, "1 to 107 bytes"},
	};
	struct client_request req = {"GET", "/x"};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct client client = {.path = cases[i].path};
		struct json_object *none;
		struct err err;

		ck_assert_int_eq(client_call(&client, &req, &none, &err), -1);
		ck_assert_msg(err.code == cases[i].code, "%s: %s", cases[i].path, err.msg);
		ck_assert_msg(strstr(err.msg, cases[i].says), "%s: %s", cases[i].path, err.msg);
	}
}
END_TEST

/* A daemon that hangs lets its backlog fill up, and connect() then blocks. */
START_TEST(full_backlog)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct client_request req = {"GET", "/x", .timeout_ms = SHORT_MS};
	struct client client = {.path = addr.sun_path};
	struct json_object *none;
	struct err err;
	int fds[2];

	snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/check_client.%d", (int)getpid());
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fds[0], (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fds[0], 0), 0);
	ck_assert_int_eq(connect(fds[1], (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(client_call(&client, &req, &none, &err), -1);
	unlink(addr.sun_path);
	ck_assert_msg(err.code == ERR_UNREADY, "%s", err.msg);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

static int ask(const char *path, uint64_t timeout_ms)
{
	struct client_request req = {"GET", "/x", .timeout_ms = timeout_ms};
	struct client client = {.path = path};
	struct json_object *reply;
	struct err err;

	return client_call(&client, &req, &reply, &err);
}

static void hear_request(int fd)
{
	char request[4096] = "";
	size_t len = 0;
	ssize_t n;

	while (!strstr(request, "\r\n\r\n")) {
		n = recv(fd, request + len, sizeof(request) - 1 - len, 0);
		ck_assert_int_gt(n, 0);
		len += (size_t)n;
	}
}

/* The client stands still while the answer comes and its time goes by. True: it has it. */
static bool answer_a_stopped_client(int listener, const char *path, uint64_t timeout_ms)
{
	static const char head[] = HEAD "Content-Length: 100000\r\n\r\n";
	char body[100001]; /* takes it more than one look */
	pid_t pid = fork();
	int fd, status;

	if (pid == 0)
		_exit(ask(path, timeout_ms) == 0 ? 0 : 1);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	hear_request(fd);
	kill(pid, SIGSTOP);
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	snprintf(body, sizeof(body), "{\"a\":\"%0*d\"}", (int)sizeof(body) - 9, 0);
	ck_assert_uint_eq(strlen(body), sizeof(body) - 1);
	send(fd, head, strlen(head), MSG_NOSIGNAL);
	send(fd, body, strlen(body), MSG_NOSIGNAL);
	close(fd);
	poll(NULL, 0, (int)timeout_ms + 1);
	if (WIFSTOPPED(status)) {
		kill(pid, SIGCONT);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Late is what is not there. Where it was too late to stop the client: again, with more time. */
START_TEST(answer_that_came_while_we_did_not_run)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t ms = SHORT_MS;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/check_client.%d", (int)getpid());
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	while (!answer_a_stopped_client(listener, addr.sun_path, ms) && ms < HARNESS_MS)
		ms *= 4;
	unlink(addr.sun_path);
	close(listener);
	ck_assert_msg(ms < HARNESS_MS, "it gives up an answer that is there");
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

START_TEST(streams)
{
	static const struct {
		const char *name;
		struct canned_reply reply;
		size_t refuse_at;
		int code; /* -1: success */
		const char *lines, *says; /* says: part of the error, or NULL */
	} cases[] = {
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

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct lines lines;
		struct err err;
		int rc;

		/* On a busy host the first line may be too late: then again, with more time. */
		for (uint64_t ms = STREAM_MS; ms < 4 * HARNESS_MS; ms *= 4) {
			lines = (struct lines){.refuse_at = cases[i].refuse_at};
			err = (struct err){0};
			rc = stream(&cases[i].reply, ms, &lines, &err);
			if (rc == 0 || strcmp(lines.text, cases[i].lines) == 0)
				break;
		}
		ck_assert_msg(rc == (cases[i].code < 0 ? 0 : -1), "%s: %s", cases[i].name, err.msg);
		ck_assert_msg(rc == 0 || (int)err.code == cases[i].code, "%s: %s", cases[i].name,
			      err.msg);
		ck_assert_msg(!cases[i].says || strstr(err.msg, cases[i].says), "%s: %s",
			      cases[i].name, err.msg);
		ck_assert_msg(strcmp(lines.text, cases[i].lines) == 0, "%s: %s", cases[i].name,
			      lines.text);
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
	tcase_add_test(tcase, head_without_end);
	tcase_add_test(tcase, chunk_line_without_end);
	tcase_add_test(tcase, request_as_sent);
	tcase_add_test(tcase, refused_while_sending);
	tcase_add_test(tcase, no_socket);
	tcase_add_test(tcase, full_backlog);
	tcase_add_test(tcase, answer_that_came_while_we_did_not_run);
	tcase_add_test(tcase, streams);
	tcase_add_test(tcase, escaping);
	suite_add_tcase(suite, tcase);
	return suite;
}
