#include "daemon/selftest.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "common/base.h"

/* More than 26 bytes trigger the bug; the kernel counts abstract names like paths. */
#define NAME_LEN 60
/* Both ends are in this process: whatever is waited for is there already. */
#define TURNS_MAX 1000
/* Bounds an endless loop. Processor time, which a busy host does not use up. */
#define CPU_SECONDS_MAX 60

enum child_end { END_GOOD, END_NO_SETUP, END_NO_REPLY, END_STRANGE };

struct trial {
	struct event_base *base;
	int client;
	bool over;
	enum child_end end;
};

/* An abstract name: nothing on any file system. With @len 0 the kernel chooses one. */
static int bind_abstract(int fd, const char *name, size_t len)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	memcpy(sun.sun_path + 1, name, len);
	return bind(fd, (struct sockaddr *)&sun,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (len ? len + 1 : 0)));
}

static int listen_somewhere(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 && !bind_abstract(fd, "", 0) && !listen(fd, 1) ? fd : -1;
}

static int connect_from_long_name(int listen_fd)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un sun;
	socklen_t len = sizeof(sun);
	char name[NAME_LEN + 1];
	int n = snprintf(name, sizeof(name), "uffdd-selftest-%d-%llu-", (int)getpid(),
			 (unsigned long long)now_us());

	memset(name + n, '-', sizeof(name) - 1 - (size_t)n);
	if (fd < 0 || bind_abstract(fd, name, NAME_LEN) ||
	    getsockname(listen_fd, (struct sockaddr *)&sun, &len) ||
	    connect(fd, (struct sockaddr *)&sun, len))
		return -1;
	return fd;
}

/* daemon/http_conns.c finds a connection by this argument before its first request. */
static void on_request(struct evhttp_request *req, void *arg)
{
	struct trial *trial = arg;
	struct evhttp_connection *conn = evhttp_request_get_connection(req);
	void *cb_arg;

	bufferevent_getcb(evhttp_connection_get_bufferevent(conn), NULL, NULL, NULL, &cb_arg);
	trial->end = cb_arg == conn ? END_GOOD : END_STRANGE;
	evhttp_send_reply(req, 200, "OK", NULL);
}

static void on_reply(evutil_socket_t fd, short what, void *arg)
{
	static const char good[] = "HTTP/1.0 200 ";
	struct trial *trial = arg;
	char buf[64];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	(void)what;
	if (n < (ssize_t)strlen(good) || memcmp(buf, good, strlen(good)) != 0)
		trial->end = END_NO_REPLY;
	trial->over = true;
}

static enum child_end serve_one(void)
{
	static const char request[] = "GET / HTTP/1.0\r\n\r\n";
	int listen_fd = listen_somewhere();
	struct trial trial = {.base = event_base_new(),
			      .client = connect_from_long_name(listen_fd),
			      .end = END_NO_REPLY};
	struct evhttp *http = trial.base ? evhttp_new(trial.base) : NULL;
	struct event *reply;

	if (listen_fd < 0 || trial.client < 0 || !http || evhttp_accept_socket(http, listen_fd) ||
	    send(trial.client, request, strlen(request), MSG_NOSIGNAL) < 0)
		return END_NO_SETUP;
	evhttp_set_gencb(http, on_request, &trial);
	reply = event_new(trial.base, trial.client, EV_READ, on_reply, &trial);
	if (!reply || event_add(reply, NULL))
		return END_NO_SETUP;
	for (int i = 0; i < TURNS_MAX && !trial.over; i++)
		event_base_loop(trial.base, EVLOOP_NONBLOCK);
	event_free(reply);
	evhttp_free(http);
	event_base_free(trial.base);
	return trial.over ? trial.end : END_NO_REPLY;
}

/* The child may abort: so no core file, no output, no inherited handler, no endless loop. */
static void run_child(void) __attribute__((noreturn));
static void run_child(void)
{
	const struct rlimit cpu = {CPU_SECONDS_MAX, CPU_SECONDS_MAX + 1};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	prctl(PR_SET_DUMPABLE, 0);
	if (null >= 0)
		dup2(null, STDERR_FILENO);
	signal(SIGABRT, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGXCPU, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setrlimit(RLIMIT_CPU, &cpu);
	_exit(serve_one());
}

int selftest_verdict(int wait_status, struct err *err)
{
	static const char *const ends[] = {
		[END_NO_SETUP] = "could not set up its sockets",
		[END_NO_REPLY] = "got no reply",
		[END_STRANGE] = "found a libevent that works differently inside",
	};
	int sig = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
	int end = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;

	if (end == END_GOOD)
		return 0;
	if (sig == SIGABRT || sig == SIGSEGV || sig == SIGBUS)
		return err_set(err, ERR_SYSTEM,
			       "libevent %s lets any client abort this daemon (CVE-2026-63388): "
			       "install libevent >= 2.1.12-stable-8+deb12u1 or 2.1.13",
			       event_get_version());
	if (sig == SIGXCPU)
		return err_set(err, ERR_SYSTEM,
			       "the libevent %s self-test does not end: install "
			       "another libevent",
			       event_get_version());
	if (end > 0 && end < (int)ARRAY_LEN(ends))
		return err_set(err, ERR_SYSTEM, "the libevent %s self-test %s", event_get_version(),
			       ends[end]);
	return err_set(err, ERR_SYSTEM, "the libevent self-test ended with wait status 0x%x",
		       (unsigned)wait_status);
}

int selftest_libevent(struct err *err)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return err_sys(err, "fork for the libevent self-test");
	if (pid == 0)
		run_child();
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(err, "wait for the libevent self-test");
	return selftest_verdict(status, err);
}
