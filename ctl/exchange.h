/*
 * exchange - one HTTP/1.1 exchange over a Unix socket, by libcurl
 *
 * Blocking, one connection per request, from any thread. Everything that the
 * other end chooses the size of is bounded, and every exchange ends by its
 * deadline. What the bytes of a body mean is the caller's business.
 */
#ifndef UFFDD_EXCHANGE_H
#define UFFDD_EXCHANGE_H

#include "common/base.h"
#include "common/err.h"

#define EXCHANGE_HEAD_MAX 16384       /* bytes: status line and headers */
#define EXCHANGE_BODY_MAX (16u << 20) /* bytes that are gathered */

struct exchange_request {
	const char *socket; /* path */
	const char *method;
	const char *target;  /* path and query, already escaped */
	const char *body;    /* sent as application/json; NULL: none, and no headers about it */
	uint64_t timeout_ms; /* until the reply is complete; with @on_piece, between two pieces */
	/* Called with the body of a 2xx reply as it comes, or NULL: it is gathered. */
	int (*on_piece)(const char *bytes, size_t len, void *arg, struct err *err);
	void *arg;
};

/* Bytes that grow; they end with a NUL that is not counted. @data is NULL while there are none. */
struct text {
	char *data; /* owned */
	size_t len, room;
};

struct exchange_reply {
	int status;            /* 0 until the head is whole */
	char content_type[64]; /* as sent; "" if there was none */
	struct text head;      /* status line and headers */
	struct text body;
};

/*
 * exchange_run - send a request, take the whole reply
 * @ret: to be freed with exchange_reply_fini() either way
 *
 * Returns 0 whatever the status is, or -1 with ERR_UNREADY (nobody there, no answer
 * in time, hung up), ERR_DENIED (the socket's rights), ERR_PATH (no socket path),
 * ERR_PEER (the answer is not HTTP, or too large), or what @on_piece failed with. Then
 * *ret has what came before; a status in it is the reply's.
 */
int exchange_run(const struct exchange_request *req, struct exchange_reply *ret, struct err *err);
void exchange_reply_fini(struct exchange_reply *reply);

int text_add(struct text *text, const char *bytes, size_t len, struct err *err);

#endif
