/* Between a request and its answer: nobody there, a queue, a client that stands still. */
#include <check.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "ctl/client.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define SHORT_MS 100 /* for requests that must run into their deadline */
#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

START_TEST(no_socket)
{
	/* clang-format off */
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
	/* clang-format on */
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

/* A socket whose backlog has a place for one, who is there. */
struct queue {
	struct sockaddr_un addr;
	int listener, first;
};

static void queue_open(struct queue *q)
{
	*q = (struct queue){.addr = {.sun_family = AF_UNIX}};
	q->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	q->first = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(q->addr.sun_path, sizeof(q->addr.sun_path), "/tmp/check_exchange.%d",
		 (int)getpid());
	ck_assert_int_eq(bind(q->listener, (struct sockaddr *)&q->addr, sizeof(q->addr)), 0);
	ck_assert_int_eq(listen(q->listener, 0), 0);
	ck_assert_int_eq(connect(q->first, (struct sockaddr *)&q->addr, sizeof(q->addr)), 0);
}

static void queue_close(struct queue *q)
{
	unlink(q->addr.sun_path);
	close(q->listener);
	close(q->first);
}

/* A daemon that hangs lets its backlog fill up. */
START_TEST(full_backlog)
{
	struct client_request req = {"GET", "/x", .timeout_ms = SHORT_MS};
	struct queue q;
	struct client client = {.path = q.addr.sun_path};
	struct json_object *none;
	struct err err;

	queue_open(&q);
	ck_assert_int_eq(client_call(&client, &req, &none, &err), -1);
	queue_close(&q);
	ck_assert_msg(err.code == ERR_UNREADY, "%s", err.msg);
	ck_assert_msg(strstr(err.msg, "cannot reach it"), "%s", err.msg);
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

#define REQUEST_MAX 4096

/* Its head, that is; a body is there only if it came along. */
static void hear_request(int fd, char request[REQUEST_MAX])
{
	size_t len = 0;
	ssize_t n;

	memset(request, 0, REQUEST_MAX);
	while (!strstr(request, "\r\n\r\n")) {
		n = recv(fd, request + len, REQUEST_MAX - 1 - len, 0);
		ck_assert_int_gt(n, 0);
		len += (size_t)n;
	}
}

/* For harness_wait(): the process waits for something, or has ended. */
static bool waits_or_ended(void *arg)
{
	cleanup_file FILE *f = NULL;
	char path[32], state = '\0';

	snprintf(path, sizeof(path), "/proc/%d/stat", *(const pid_t *)arg);
	f = fopen(path, "re");
	ck_assert(f && fscanf(f, "%*d (%*[^)]) %c", &state) == 1);
	return state == 'S' || state == 'Z';
}

static void answer_next(struct queue *q)
{
	static const char reply[] = HEAD "Content-Length: 2\r\n\r\n{}";
	int fd = accept4(q->listener, NULL, NULL, SOCK_CLOEXEC);
	char request[REQUEST_MAX];

	ck_assert_int_ge(fd, 0);
	hear_request(fd, request);
	ck_assert_int_eq(send(fd, reply, strlen(reply), MSG_NOSIGNAL), strlen(reply));
	close(fd);
}

/* One that is only busy answers who has waited. */
START_TEST(place_in_a_full_backlog)
{
	struct queue q;
	pid_t pid;
	int status;

	queue_open(&q);
	pid = fork();
	if (pid == 0)
		_exit(ask(q.addr.sun_path, HARNESS_MS) == 0 ? 0 : 1);
	ck_assert(harness_wait(waits_or_ended, &pid, HARNESS_MS));
	ck_assert_msg(waitpid(pid, &status, WNOHANG) == 0, "it takes a queue for a refusal");
	close(accept4(q.listener, NULL, NULL, SOCK_CLOEXEC));
	answer_next(&q);
	queue_close(&q);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* The client stands still while the answer comes and its time goes by. True: it has it. */
static bool answer_a_stopped_client(int listener, const char *path, uint64_t timeout_ms)
{
	static const char head[] = HEAD "Content-Length: 100000\r\n\r\n";
	char body[100001]; /* takes it more than one look */
	char request[REQUEST_MAX];
	pid_t pid = fork();
	int fd, status;

	if (pid == 0)
		_exit(ask(path, timeout_ms) == 0 ? 0 : 1);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	hear_request(fd, request);
	ck_assert(harness_wait(waits_or_ended, &pid, HARNESS_MS));
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

	snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/check_exchange.%d", (int)getpid());
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	while (!answer_a_stopped_client(listener, addr.sun_path, ms) && ms < HARNESS_MS)
		ms *= 4;
	unlink(addr.sun_path);
	close(listener);
	ck_assert_msg(ms < HARNESS_MS, "it gives up an answer that is there");
}
END_TEST

#define LARGE (64 << 10)

static enum err_code ask_large(const char *path, int *ret_rc)
{
	static char big[LARGE + 1];
	cleanup_json struct json_object *body = json_object_new_object();
	struct client_request req = {"PUT", "/x", .body = body};
	struct client client = {.path = path};
	struct json_object *reply;
	struct err err = {0};

	memset(big, 'x', LARGE);
	js_add_string(body, "b", big);
	*ret_rc = client_call(&client, &req, &reply, &err);
	json_object_put(reply);
	client_fini(&client);
	return err.code;
}

static void hear_large(int fd)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	char request[REQUEST_MAX], piece[REQUEST_MAX];
	size_t want, len = 0;

	hear_request(fd, request);
	ck_assert_msg(strstr(request, "\r\nExpect: 100-continue\r\n"), "%s", request);
	ck_assert_str_eq(strstr(request, "\r\n\r\n"), "\r\n\r\n");
	want = strtoul(strstr(request, "Content-Length: ") + 16, NULL, 10);
	ck_assert_uint_eq(want, LARGE + strlen("{\"b\":\"\"}"));
	ck_assert_int_eq(send(fd, go_on, strlen(go_on), MSG_NOSIGNAL), strlen(go_on));
	while (len < want) {
		ssize_t n = recv(fd, piece, sizeof(piece), 0);

		ck_assert_int_gt(n, 0);
		len += (size_t)n;
	}
}

/* "Go on" is no answer: the one that follows is, and if none does, nobody has answered. */
START_TEST(large_body_is_asked_for)
{
	static const char reply[] = HEAD "Content-Length: 2\r\n\r\n{}";
	bool answers = _i == 0;
	struct queue q;
	pid_t pid;
	int fd, rc, status;

	queue_open(&q);
	close(accept4(q.listener, NULL, NULL, SOCK_CLOEXEC));
	pid = fork();
	if (pid == 0)
		_exit(ask_large(q.addr.sun_path, &rc) == (answers ? 0 : ERR_UNREADY) &&
				      (rc == 0) == answers
			      ? 0
			      : 1);
	fd = accept4(q.listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	hear_large(fd);
	if (answers)
		send(fd, reply, strlen(reply), MSG_NOSIGNAL);
	close(fd);
	queue_close(&q);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

static int ask_and_say(const char *path, const char *expected)
{
	struct client_request req = {"GET", "/x"};
	struct client client = {.path = path};
	struct json_object *reply;
	struct err err;

	return client_call(&client, &req, &reply, &err) < 0 && err.code == ERR_UNREADY &&
			       strstr(err.msg, expected)
		       ? 0
		       : 1;
}

/* A daemon that ends leaves requests unread: for us that is no end of the bytes but an error. */
START_TEST(broken_connection)
{
	static const struct {
		const char *answer, *says;
	} cases[] = {
		{"HTTP/1.1 200 OK\r\n", "in the middle"},
		{HEAD "Transfer-Encoding: chunked\r\n\r\n4\r\nab", "in the middle"},
		{"", "without an answer"},
	};
	struct queue q;
	char byte;
	pid_t pid;
	int fd, status;

	queue_open(&q);
	close(accept4(q.listener, NULL, NULL, SOCK_CLOEXEC));
	pid = fork();
	if (pid == 0)
		_exit(ask_and_say(q.addr.sun_path, cases[_i].says));
	fd = accept4(q.listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(recv(fd, &byte, 1, 0), 1);
	send(fd, cases[_i].answer, strlen(cases[_i].answer), MSG_NOSIGNAL);
	close(fd);
	queue_close(&q);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("exchange");
	TCase *tcase = tcase_create("exchange");

	tcase_add_test(tcase, no_socket);
	tcase_add_test(tcase, full_backlog);
	tcase_add_test(tcase, place_in_a_full_backlog);
	tcase_add_loop_test(tcase, large_body_is_asked_for, 0, 2);
	tcase_add_loop_test(tcase, broken_connection, 0, 3);
	tcase_add_test(tcase, answer_that_came_while_we_did_not_run);
	suite_add_tcase(suite, tcase);
	return suite;
}
