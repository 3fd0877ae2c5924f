/*
 * client - one request to the daemon's API, and what the answer means
 *
 * Blocking, one connection per request. Every size that the other end chooses is bounded, and every
 * request ends by its deadline.
 */
#ifndef UFFDD_CLIENT_H
#define UFFDD_CLIENT_H

#include "common/js.h"

#define CLIENT_TIMEOUT_MS 60000     /* for a request without its own timeout */
#define CLIENT_LINE_MAX (64u << 10) /* maximum bytes of one line of a stream */
#define CLIENT_TOKEN_MAX 1024       /* maximum bytes for client_escape() */

struct client {
	const char *path; /* borrowed: the control socket */
	int status;       /* HTTP status of the last answer; 0: none came */
	/* Owned: the daemon's problem object if it refused the last request, else NULL. */
	struct json_object *problem;
};

struct client_request {
	const char *method;
	const char *target;       /* path and query, already escaped */
	struct json_object *body; /* borrowed; NULL: no body */
	/*
	 * Milliseconds until the reply must be complete; for a stream, between two pieces. 0:
	 * CLIENT_TIMEOUT_MS.
	 */
	uint64_t timeout_ms;
	/* Called for every line of a 2xx reply (no newline; ends with NUL); NULL: no stream. */
	int (*on_line)(const char *line, size_t len, void *arg, struct err *err);
	/* Called once with the body of a 2xx reply that is not JSON, or NULL. */
	int (*on_body)(const void *bytes, size_t len, void *arg, struct err *err);
	void *arg;
};

/*
 * client_call - send the request, take the reply
 * @ret_reply: the JSON of a 2xx reply, owned by the caller; NULL if the reply was a stream
 *	or not JSON
 *
 * Returns 0, or -1 with ERR_UNREADY (no daemon, no answer in time, hung up), ERR_DENIED (the
 * socket's rights), ERR_PATH (no socket path), ERR_PEER (the answer is not HTTP, or too large), or
 * the daemon's refusal, which is then in c->problem, too.
 */
int client_call(struct client *c, const struct client_request *req, struct json_object **ret_reply,
		struct err *err);
/* Frees c->problem. */
void client_fini(struct client *c);

/* Percent-encodes @text for a query. False if @text is longer than CLIENT_TOKEN_MAX. */
bool client_escape(const char *text, char ret[3 * CLIENT_TOKEN_MAX + 1]);

#endif
