#include "tests/fakes/http/canned.h"

#include <check.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/support/harness.h"

#define REQUEST_MAX (256u << 10)
#define FLOOD_BYTES (40u << 20)

extern char **environ;

/* ---- the server ---- */

static bool ready(int fd, short events)
{
	struct pollfd p = {fd, events, 0};

	return poll(&p, 1, harness_scale_ms(HARNESS_MS)) == 1;
}

/* False when the other end has hung up, which some replies provoke. */
static bool put(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static void put_text(int fd, const char *text)
{
	put(fd, text, strlen(text));
}

/* Reads head and body; the log gets what was read. Returns the "wait=" in it, ms. */
static int take_request(int fd, int log_fd, bool with_body)
{
	char *buf = xcalloc(1, REQUEST_MAX + 1);
	size_t len = 0, want = SIZE_MAX;
	const char *wait;
	int wait_ms;

	while (len < want && len < REQUEST_MAX && ready(fd, POLLIN)) {
		ssize_t n = recv(fd, buf + len, with_body ? REQUEST_MAX - len : 1, 0);
		const char *length, *end;

		if (n <= 0)
			break;
		len += (size_t)n;
		end = strstr(buf, "\r\n\r\n");
		if (!end || want != SIZE_MAX)
			continue;
		length = strstr(buf, "Content-Length: ");
		want = (size_t)(end + 4 - buf);
		if (with_body && length && length < end)
			want += strtoul(length + 16, NULL, 10);
	}
	if (write(log_fd, buf, len) != (ssize_t)len)
		_exit(2);
	wait = strstr(buf, "wait=");
	wait_ms = wait ? (int)strtol(wait + 5, NULL, 10) : 0;
	free(buf);
	return wait_ms;
}

static void put_chunks(int fd, const struct canned_reply *r)
{
	const bool pulse = r->how == CANNED_PULSE;

	for (const char *p = r->body; *p;) {
		size_t n = pulse ? strcspn(p, "\n") + 1 : min_u64(strlen(p), 5);
		char size[16];

		if (pulse)
			poll(NULL, 0, r->pulse_ms);
		snprintf(size, sizeof(size), "%zx\r\n", n);
		put_text(fd, size);
		put(fd, p, n);
		put_text(fd, "\r\n");
		p += n;
	}
	put_text(fd, "0\r\n\r\n");
}

static size_t body_len(const struct canned_reply *r)
{
	return r->len ? r->len : strlen(r->body);
}

static void put_head(int fd, const struct canned_reply *r)
{
	const char *type = r->type           ? r->type
			   : r->status < 400 ? "application/json"
					     : "application/problem+json";
	char head[256], framing[64] = "";

	if (r->how == CANNED_CHUNKED || r->how == CANNED_PULSE)
		snprintf(framing, sizeof(framing), "Transfer-Encoding: chunked\r\n");
	else if (r->how != CANNED_CLOSE && r->how != CANNED_FLOOD)
		snprintf(framing, sizeof(framing), "Content-Length: %zu\r\n", body_len(r));
	snprintf(head, sizeof(head), "HTTP/1.1 %d Whatever\r\nContent-Type: %s\r\n%s\r\n",
		 r->status, type, framing);
	put_text(fd, head);
}

static void flood(int fd, const char *text)
{
	char block[32768];

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = text[i % strlen(text)];
	for (size_t sent = 0; sent < FLOOD_BYTES; sent += sizeof(block))
		if (!put(fd, block, sizeof(block)))
			return;
}

static void answer(int fd, const struct canned_reply *r)
{
	char byte;

	if (r->how != CANNED_RAW && r->how != CANNED_STALL)
		put_head(fd, r);
	switch (r->how) {
	case CANNED_CHUNKED:
	case CANNED_PULSE:
		put_chunks(fd, r);
		break;
	case CANNED_DRIP:
		for (const char *p = r->body; *p; p++)
			put(fd, p, 1);
		break;
	case CANNED_FLOOD:
		flood(fd, r->body);
		break;
	default:
		put(fd, r->body, body_len(r));
	}
	/* A stall ends when the client has had enough, and not before. */
	if (r->how == CANNED_STALL && recv(fd, &byte, 1, 0) > 0)
		_exit(3);
}

static void serve(int listener, int log_fd, const struct canned_reply *script)
{
	for (; script->status; script++) {
		int fd, wait_ms;

		if (!ready(listener, POLLIN))
			_exit(4);
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			_exit(5);
		wait_ms = take_request(fd, log_fd, script->how != CANNED_EARLY);
		if (script->how == CANNED_HOLD)
			poll(NULL, 0, wait_ms);
		answer(fd, script);
		close(fd);
	}
	_exit(0);
}

void canned_start(struct canned *c, const struct canned_reply *script)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	c->dir = harness_tmpdir();
	snprintf(c->socket, sizeof(c->socket), "%s/control.sock", c->dir);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", c->socket);
	c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(c->listener, 0);
	ck_assert_int_eq(bind(c->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(c->listener, 8), 0);
	c->log_fd = memfd_create("requests", MFD_CLOEXEC);
	ck_assert_int_ge(c->log_fd, 0);
	c->pid = fork();
	ck_assert_int_ge(c->pid, 0);
	if (c->pid == 0)
		serve(c->listener, c->log_fd, script);
}

static char *slurp(int fd)
{
	off_t len = lseek(fd, 0, SEEK_END);
	char *text = xcalloc(1, (size_t)len + 1);

	ck_assert_int_eq(pread(fd, text, (size_t)len, 0), len);
	return text;
}

static int reap(pid_t pid)
{
	uint64_t deadline = now_us() + (uint64_t)harness_scale_ms(HARNESS_MS) * 1000;
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (now_us() > deadline) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
		poll(NULL, 0, 1);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

char *canned_stop(struct canned *c)
{
	/* The directory goes first: a failed assertion must not leave it behind. */
	int code;
	char *requests;

	harness_rmtree(c->dir);
	free(steal_ptr(&c->dir));
	/* Whoever asked has ended: when those in the backlog are served, nobody comes any more. */
	shutdown(c->listener, SHUT_RDWR);
	close_fd(&c->listener);
	code = reap(c->pid);
	requests = slurp(c->log_fd);
	close(c->log_fd);
	ck_assert_msg(code == 0, "the script of the server was not used up (%d) after:\n%s", code,
		      requests);
	return requests;
}

/* ---- the program ---- */

static void drop_power(void)
{
	prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0);
	prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH, 0, 0, 0);
}

/* What the person who runs the tests has set must not matter. */
static void clean_environment(const struct run *run)
{
	unsetenv("NO_COLOR");
	unsetenv("UFFDD_SOCKET");
	setenv("TERM", "xterm", 1);
	if (run->socket)
		setenv("UFFDD_SOCKET", run->socket, 1);
	for (const char *const *e = run->env; e && *e; e++)
		putenv((char *)(uintptr_t)*e);
}

size_t canned_split(char *line, char **words, size_t max)
{
	size_t n = 0;
	char *word;

	while (n < max && (word = strsep(&line, " ")))
		if (*word)
			words[n++] = strcmp(word, "''") == 0 ? word + 2 : word;
	return n;
}

static _Noreturn void become(const struct run *run, int out_fd, int err_fd)
{
	char program[] = TEST_BUILD "/ctl/uffdctl";
	char *words[CANNED_WORDS_MAX] = {program};

	canned_split(strdup(run->args), words + 1, CANNED_WORDS_MAX - 2);
	clean_environment(run);
	if (dup2(out_fd, STDOUT_FILENO) < 0 || dup2(err_fd, STDERR_FILENO) < 0)
		_exit(126);
	if (run->cwd && chdir(run->cwd) < 0)
		_exit(126);
	if (run->powerless)
		drop_power();
	execve(program, words, environ);
	_exit(127);
}

pid_t ran_start(const struct run *run, int fds[2])
{
	pid_t pid;

	fds[0] = memfd_create("stdout", MFD_CLOEXEC);
	fds[1] = memfd_create("stderr", MFD_CLOEXEC);
	ck_assert(fds[0] >= 0 && fds[1] >= 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		become(run, run->out_fd ? run->out_fd : fds[0], run->err_fd ? run->err_fd : fds[1]);
	return pid;
}

void ran_finish(struct ran *ran, pid_t pid, int fds[2])
{
	ran->code = reap(pid);
	ran->out = slurp(fds[0]);
	ran->err = slurp(fds[1]);
	close(fds[0]);
	close(fds[1]);
}

void ran_run(struct ran *ran, const struct run *run)
{
	int fds[2];

	ran_finish(ran, ran_start(run, fds), fds);
}

void ran_fini(struct ran *ran)
{
	free(ran->out);
	free(ran->err);
}
