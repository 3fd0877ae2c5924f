/*
 * exchange - one HTTP/1.1 exchange over a Unix socket, by libcurl
 *
 * Blocking, one connection per request, from any thread. Every size that the other end chooses is
 * bounded, and every exchange ends by its deadline. The caller interprets the body.
 */
#ifndef UFFDD_EXCHANGE_H
#define UFFDD_EXCHANGE_H

#include "common/base.h"
#include "common/err.h"

#define EXCHANGE_HEAD_MAX 16384       /* bytes: status line and headers */
#define EXCHANGE_BODY_MAX (16u << 20) /* bytes of a body that is not streamed */

struct exchange_request {
	const char *socket; /* path */
	const char *method;
	const char *target;  /* path and query, already escaped */
	const char *body;    /* sent as application/json; NULL: no body, and no headers about one */
	uint64_t timeout_ms; /* ms for the whole reply; with @on_piece, between pieces */
	/* Called with each piece of a 2xx reply's body; NULL: the body is gathered. */
	int (*on_piece)(const char *bytes, size_t len, void *arg, struct err *err);
	void *arg;
};

/* Growing bytes with a NUL behind them that is not counted. @data is NULL while empty. */
struct text {
	char *data; /* owned */
	size_t len, room;
};

struct exchange_reply {
	int status;            /* 0 until the head is complete */
	char content_type[64]; /* as sent; "": none */
	struct text head;      /* status line and headers */
	struct text body;
};

/*
 * exchange_run - send a request, take the whole reply
 * @ret: to be freed with exchange_reply_fini(), also after failure
 *
 * Returns 0 whatever the status is, or -1 with ERR_UNREADY (no daemon, no answer in time, hung up),
 * ERR_DENIED (the socket's rights), ERR_PATH (no socket path), ERR_PEER (the answer is not HTTP, or
 * too large), or the error of @on_piece. After failure *ret has what came before; a nonzero status
 * in it is the reply's.
 */
int exchange_run(const struct exchange_request *req, struct exchange_reply *ret, struct err *err);
void exchange_reply_fini(struct exchange_reply *reply);

/* Appends bytes. Returns 0, or -1 with ERR_SYSTEM: no memory. */
int text_add(struct text *text, const char *bytes, size_t len, struct err *err);

#endif
