/* the harness itself: what it reports of replies and programs */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/sock.h"
#include "tests/support/fds.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

static char *dir;
static char path[128];

static void make_dir(void)
{
	dir = harness_tmpdir();
	snprintf(path, sizeof(path), "%s/s", dir);
}

static void remove_dir(void)
{
	harness_rmtree(dir);
	harness_rmtree(dir);
	free(dir);
}

/* clang-format off */
static const struct {
	const char *what, *reply;
	int status;
	const char *type, *body;
} replies[] = {
	{"length", "HTTP/1.1 200 OK\r\ncontent-type:  text/plain; x=y\r\nContent-Length: 5\r\n\r\n"
	 "hello", 200, "text/plain; x=y", "hello"},
	{"chunks", "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nb;x\r\n",
	 -1, "", ""},
	{"two chunks", "HTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
	 "A\r\n 012345678\r\n0\r\n\r\n", 201, "", "hello 012345678"},
	{"chunk cut off", "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", -1, "",
	 ""},
	{"last chunk missing", "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n",
	 -1, "", ""},
	{"body cut off", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", -1, "", ""},
	{"to the end", "HTTP/1.0 503 Bad\r\n\r\nhello", 503, "", "hello"},
	{"no body", "HTTP/1.1 204 No\r\n\r\n", 204, "", ""},
	{"no head", "HTTP/1.1 200 OK\r\n", -1, "", ""},
	{"nothing", "", -1, "", ""},
};
/* clang-format on */

static void serve_one(int listener, const char *reply)
{
	char request[4096];
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ssize_t n = recv(fd, request, sizeof(request) - 1, 0);

	request[n > 0 ? n : 0] = '\0';
	if (!strstr(request, "PUT /x?y=1 HTTP/1.1\r\n") || !strstr(request, "\r\n\r\n{\"a\":1}"))
		_exit(1);
	_exit(write(fd, reply, strlen(reply)) < 0);
}

START_TEST(reads_replies)
{
	int listener, status;
	struct harness_reply reply;
	struct err err;
	pid_t pid;

	ck_assert_int_eq(sock_listen(path, SOCK_STREAM, sock_mode(0600), &listener, &err), 0);
	ck_assert_int_eq(fcntl(listener, F_SETFL, 0), 0);
	pid = fork();
	if (pid == 0)
		serve_one(listener, replies[_i].reply);
	ck_assert_msg(harness_http(path, "PUT", "/x?y=1", "{\"a\":1}", &reply) ==
			      replies[_i].status,
		      "%s: %d", replies[_i].what, reply.status);
	ck_assert_str_eq(reply.content_type, replies[_i].type);
	ck_assert_str_eq(reply.body ? reply.body : "", replies[_i].body);
	ck_assert_uint_eq(reply.len, strlen(replies[_i].body));
	harness_reply_fini(&reply);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "%s: the request was wrong", replies[_i].what);
	close(listener);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(harness_http(path, "GET", "/", NULL, &reply), -1);
}
END_TEST

START_TEST(runs_programs)
{
	const char *const script[] = {"sh", "-c", "cat; echo out; echo err >&2; exit 3", NULL};
	const char *const killed[] = {"sh", "-c", "kill -9 $$", NULL};
	const char *const missing[] = {"/no/such/program", NULL};
	struct harness_output output;
	int fds = fds_count(getpid());
	pid_t pid;

	harness_run(script, &output);
	ck_assert_int_eq(output.code, 3);
	ck_assert_str_eq(output.out, "out\n");
	ck_assert_str_eq(output.err, "err\n");
	harness_output_fini(&output);
	harness_run(killed, &output);
	ck_assert_int_eq(output.code, 128 + SIGKILL);
	harness_output_fini(&output);
	harness_run(missing, &output);
	ck_assert_int_eq(output.code, 127);
	harness_output_fini(&output);
	ck_assert_int_eq(fds_count(getpid()), fds);

	ck_assert_int_eq(harness_count_children(getpid()), 0);
	pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	ck_assert_int_eq(harness_count_children(getpid()), 1);
	ck_assert_int_gt(fds_count(pid), 2);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ck_assert_int_eq(harness_count_children(getpid()), 0);
	ck_assert_int_eq(fds_count(pid), -1);
}
END_TEST

static bool counts_down(void *arg)
{
	return --*(int *)arg == 0;
}

START_TEST(waits_and_gives_up)
{
	int n = 3;

	ck_assert(harness_wait(counts_down, &n, 10000));
	ck_assert_int_eq(n, 0);
	ck_assert(!harness_wait(counts_down, &n, 20));
	ck_assert_int_lt(n, -1);
}
END_TEST

/* Killed and started again in its directory, then stopped; nothing of it is left. */
START_TEST(runs_a_daemon)
{
	struct harness_daemon d = {.config = "{\"log_level\": \"debug\"} /* text of ours */"};
	const char *const args[] = {"--pool-workers", "1", NULL};
	char was[sizeof(d.dir)], *log;
	struct harness_reply reply;

	harness_daemon_start(&d, NULL);
	snprintf(was, sizeof(was), "%s", d.dir);
	ck_assert_int_eq(harness_http(d.socket, "GET", "/healthz", NULL, &reply), 200);
	harness_reply_fini(&reply);
	harness_daemon_kill(&d);
	ck_assert_int_eq(harness_http(d.socket, "GET", "/healthz", NULL, &reply), -1);
	harness_daemon_start(&d, args);
	ck_assert_str_eq(d.dir, was);
	ck_assert_int_eq(harness_http(d.socket, "GET", "/healthz", NULL, &reply), 200);
	harness_reply_fini(&reply);
	log = harness_daemon_log(&d);
	ck_assert_uint_gt(strlen(log), 0);
	free(log);
	harness_daemon_stop(&d);
	ck_assert_int_eq(access(was, F_OK), -1);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("harness");
	TCase *tc = tcase_create("harness");

	tcase_add_unchecked_fixture(tc, make_dir, remove_dir);
	tcase_add_loop_test(tc, reads_replies, 0, ARRAY_LEN(replies));
	tcase_add_test(tc, runs_programs);
	tcase_add_test(tc, waits_and_gives_up);
	tcase_add_test(tc, runs_a_daemon);
	suite_add_tcase(suite, tc);
	return suite;
}
