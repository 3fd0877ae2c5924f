/*
 * httpd - daemon/http in this process, raw clients beside it, one loop turned by hand
 *
 * Nothing runs unless a test turns the loop, so "within one turn" can be said exactly.
 */
#ifndef UFFDD_TESTS_HTTPD_H
#define UFFDD_TESTS_HTTPD_H

#include <event2/event.h>
#include <poll.h>
#include <sys/un.h>

#include "daemon/http.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define HTTPD_PRIVILEGED 65530 /* the uid of a privileged client */

/*
 * What the handler does, by path: /hold and /stream keep the request here, /drop
 * begins a stream and drops it at once, /big answers with 8 MiB, /forget does
 * nothing, everything else is echoed with 422: method|path|type|uid|query|body.
 */
struct httpd {
	struct event_base *base;
	struct http *http;
	struct sockaddr_un addr;
	socklen_t addr_len;
	struct http_request *held[8];
	size_t nheld, gone, requests;
	struct http_request *stream;
};
extern struct httpd srv;

void httpd_start(const struct http_limits *limits);
/* With a test's own handler; of the clients below client_hold() and _stream() want ours. */
void httpd_serve(const struct http_limits *limits, http_handler fn, void *arg);
void httpd_start_default(void);
void httpd_stop(void);
/* One turn: poll once, run what is ready, never wait. */
void httpd_turn(void);
void httpd_run_ms(int ms);

uint64_t httpd_deadline_us(void); /* a hang guard that begins now */

#define WAIT_FOR(cond)                                                         \
	for (uint64_t end_ = httpd_deadline_us(); !(cond); poll(NULL, 0, 1)) { \
		ck_assert_msg(now_us() < end_, "waited in vain for " #cond);   \
		httpd_turn();                                                  \
	}

/* Answer the request held last, with 200. */
void httpd_release(void);
/* Make a request a stream, or answer 429. */
void httpd_stream(struct http_request *req);

struct reply {
	int status;
	char text[16384]; /* head and body, NUL-terminated */
	const char *body;
};

int client_dial(void);
/* As that user; for root only. */
int client_dial_as(uid_t uid);
void client_say(int fd, const char *words);
/* The next reply that has a length; what follows it stays in the socket. Static storage. */
struct reply *client_hear(int fd);
/* Everything up to the end of the connection, which is closed then. Static storage. */
const char *client_hear_all(int fd);
void client_expect_served(int fd);
/* What has come on connections that stay open; all zero: nothing yet. */
struct heard {
	char text[65536]; /* NUL-terminated */
	size_t n;
};
/* Reads what is there now. Is @what in all that has come? */
bool client_hears(int fd, struct heard *h, const char *what);
bool client_is_closed(int fd);
/* Waits for the server's close, then closes. */
void client_expect_closed(int fd);
/* A new connection whose request is held, or has become the stream. */
int client_hold(void);
int client_hold_as(uid_t uid);
int client_stream(void);
/* Send up to 64 MiB, as long as the other side takes any. Returns how much it took. */
size_t client_flood(int fd);

size_t rss_kib(void);

#endif
