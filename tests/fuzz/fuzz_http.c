/*
 * fuzz_http - what any client may send to the control socket: each request has one answer
 *
 * Input: options, user, length of a piece, then either bytes as they are, or (SOUND) method, target
 * and body with a NUL between them, which make a sound request with a second one behind it. A
 * create fails, since its worker ends at once.
 */
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/js.h"
#include "daemon/log.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/apikit.h"
#include "tests/support/fds.h"

#define HEARD_MAX 262144
#define TURNS 4
#define CREATE_TURNS 2000
#define SECOND "GET /version HTTP/1.1\r\n\r\n"

enum { SOUND = 1, HANGS_UP = 2 };

static struct apikit k;
static char *dir;

/* What one connection has brought. */
static struct {
	int fd;
	bool closed;
	size_t len;
	char text[HEARD_MAX + 1];
} heard;

struct answer {
	int status;
	bool open; /* the end has not come */
	const char *head, *body;
	size_t len;
};

bool fuzz_needs_root(void)
{
	return true;
}

static void stop(void)
{
	apikit_stop(&k);
	harness_rmtree(dir);
	free(dir);
}

static void start(void)
{
	log_set_level(LOG_LEVEL_ERROR);
	dir = harness_tmpdir();
	apikit_prepare(&k, dir);
	snprintf(k.conf.worker, sizeof(k.conf.worker), "/bin/true");
	apikit_start(&k);
	atexit(stop);
}

/* ---- one connection ---- */

static void hear(void)
{
	ssize_t n;

	httpd_turn();
	while (!heard.closed && heard.len < HEARD_MAX) {
		n = recv(heard.fd, heard.text + heard.len, HEARD_MAX - heard.len, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			break;
		heard.closed = n <= 0;
		heard.len += n > 0 ? (size_t)n : 0;
	}
	heard.text[heard.len] = '\0';
}

static void say(const char *text, size_t len, size_t piece)
{
	for (size_t at = 0; at < len && !heard.closed; at += piece) {
		send(heard.fd, text + at, min_u64(piece, len - at), MSG_NOSIGNAL | MSG_DONTWAIT);
		hear();
	}
}

static bool has_child(void)
{
	siginfo_t how = {0};

	return waitid(P_ALL, 0, &how, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* Until what was sent has been dealt with: a create waits for its worker. */
static void settle(void)
{
	struct pollfd p = {.fd = heard.fd, .events = POLLIN};

	for (int i = 0; i < TURNS || (has_child() && i < CREATE_TURNS); i++) {
		hear();
		if (i >= TURNS)
			poll(&p, !heard.closed, 1);
	}
}

/* ---- answers ---- */

static const char *header(const struct answer *a, const char *name)
{
	const char *at = strcasestr(a->head, name);

	return at && at < a->body ? at + strlen(name) : NULL;
}

/* Moves *at behind the body; false: the end has not come. */
static bool take_chunks(const char **at, const char *end)
{
	for (;;) {
		const char *line = *at, *eol = strstr(line, "\r\n");
		char *rest;
		size_t n;

		if (!eol)
			return false;
		n = strtoul(line, &rest, 16);
		FUZZ_CHECK(rest == eol && rest > line);
		if (n > (size_t)(end - eol) || (size_t)(end - eol) < n + 4)
			return false;
		FUZZ_CHECK(memcmp(eol + 2 + n, "\r\n", 2) == 0);
		*at = eol + 2 + n + 2;
		if (n == 0)
			return true;
	}
}

static void take_body(struct answer *a, const char **at, const char *end)
{
	const char *length = header(a, "\r\nContent-Length: ");

	a->body = *at;
	if (a->status == 204 || a->status < 200)
		return;
	if (length) {
		a->len = strtoul(length, NULL, 10);
		a->open = a->len > (size_t)(end - *at);
		*at = a->open ? end : *at + a->len;
	} else if (header(a, "\r\nTransfer-Encoding: chunked")) {
		a->open = !take_chunks(at, end);
		*at = a->open ? end : *at;
	} else {
		*at = end;
		a->open = !heard.closed;
	}
}

static void check_json(const struct answer *a)
{
	struct err err = {.msg = ""};
	cleanup_json struct json_object *o = NULL;

	if (a->open || !header(a, "\r\nContent-Length: ") ||
	    (!header(a, "\r\nContent-Type: application/json") &&
	     !header(a, "\r\nContent-Type: application/problem+json")))
		return;
	o = js_parse(a->body, a->len, false, &err);
	if (!o)
		fuzz_fail(__FILE__, __LINE__, "%s: %s", err.msg, a->body);
}

/* The next one at *at, all of whose head is there. evhttp answers with the request's version. */
static bool take_answer(const char **at, const char *end, struct answer *a)
{
	const char *eoh = strstr(*at, "\r\n\r\n");

	*a = (struct answer){.head = *at};
	if (*at == end)
		return false;
	if (!eoh && !heard.closed && heard.len < HEARD_MAX)
		return false;
	if (!eoh || sscanf(*at, "HTTP/%*d.%*d %3d ", &a->status) != 1 || a->status < 100)
		fuzz_fail(__FILE__, __LINE__, "this is no answer: %.200s", *at);
	a->body = *at = eoh + 4;
	take_body(a, at, end);
	check_json(a);
	return true;
}

/* Counts the answers, of which the last is *ret; those that say "continue" are none. */
static size_t count_answers(struct answer *ret)
{
	const char *at = heard.text, *end = heard.text + heard.len;
	struct answer a;
	size_t n = 0;

	while (take_answer(&at, end, &a)) {
		if (a.status < 200)
			continue;
		*ret = a;
		n++;
	}
	return n;
}

/* ---- what is sent ---- */

static void send_raw(struct tape *t, size_t piece)
{
	size_t lines = 1, n;
	struct answer last = {0};

	for (size_t i = 0; i < t->left; i++)
		lines += t->at[i] == '\n';
	say((const char *)t->at, t->left, piece);
	settle();
	n = count_answers(&last);
	if (n > lines)
		fuzz_fail(__FILE__, __LINE__, "%zu answers to %zu lines", n, lines);
}

/* Up to a NUL, which is skipped. */
static size_t take_text(struct tape *t, char *ret, size_t size)
{
	const uint8_t *end = t->left ? memchr(t->at, 0, t->left) : NULL;
	size_t len = end ? (size_t)(end - t->at) : t->left, n = min_u64(len, size - 1);

	if (n)
		memcpy(ret, t->at, n);
	ret[n] = '\0';
	len += end != NULL;
	t->at += len;
	t->left -= len;
	return n;
}

static void send_sound(struct tape *t, size_t piece)
{
	static const char *const methods[] = {"GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"};
	const char *method = methods[tape_u8(t) % ARRAY_LEN(methods)];
	char target[1024], body[2048], text[4096];
	size_t n, body_len, len;
	struct answer last = {0};

	take_text(t, target, sizeof(target));
	body_len = take_text(t, body, sizeof(body));
	for (char *c = target; *c; c++)
		if (*c <= ' ' || *c > '~')
			*c = '_';
	len = (size_t)snprintf(text, sizeof(text),
			       "%s /%s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", method,
			       target, body_len);
	memcpy(text + len, body, body_len);
	memcpy(text + len + body_len, SECOND, strlen(SECOND));
	say(text, len + body_len + strlen(SECOND), piece);
	settle();
	n = count_answers(&last);
	/* None, or one without an end: a long poll, or a stream. Closed: it was no request. */
	if (n == 0 || last.open || heard.closed) {
		FUZZ_CHECK(n <= 1 && (n || !heard.closed));
		return;
	}
	if (n != 2 || last.status != 200 || !strstr(last.body, "\"version\""))
		fuzz_fail(__FILE__, __LINE__, "%zu answers to two requests: %s", n, heard.text);
}

static void dial(uid_t uid)
{
	heard.fd = apikit_dial(uid);
	heard.closed = false;
	heard.len = 0;
	heard.text[0] = '\0';
}

static void hang_up(void)
{
	close(heard.fd);
	for (int i = 0; i < TURNS; i++)
		httpd_turn();
}

/* Others are served, and exactly once. */
static void check_served(void)
{
	static const char request[] = "GET /healthz HTTP/1.1\r\n\r\n";
	struct answer last = {0};

	dial(0);
	say(request, strlen(request), sizeof(request));
	settle();
	FUZZ_CHECK(count_answers(&last) == 1 && last.status == 200 && !last.open);
	hang_up();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uid_t users[] = {0, APIKIT_OWNER, APIKIT_OTHER};
	struct tape t = {data, len};
	static int fds = -1;
	uint8_t options;
	size_t piece;

	if (!dir) {
		start();
		check_served();
		fds = fds_count(getpid());
	}
	options = tape_u8(&t);
	dial(users[tape_u8(&t) % ARRAY_LEN(users)]);
	piece = 1 + tape_u8(&t) * 4;
	if (options & SOUND)
		send_sound(&t, piece);
	else
		send_raw(&t, piece);
	if (options & HANGS_UP)
		shutdown(heard.fd, SHUT_WR);
	hang_up();
	check_served();
	/* Some are closed when the loop has had its turn, or a worker has been reaped. */
	for (int i = 0; fds_count(getpid()) != fds; i++) {
		FUZZ_CHECK(i < CREATE_TURNS);
		poll(NULL, 0, 1);
		httpd_turn();
	}
	return 0;
}
