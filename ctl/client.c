#include "config.h"
#include "ctl/client.h"

#include <string.h>
#include <strings.h>

#include "ctl/exchange.h"
#include "ctl/member.h"

/* A stream that is cut into lines. */
struct stream {
	const struct client_request *req;
	struct text rest; /* the line that has not ended yet */
};

static int put_lines(struct stream *stream, struct err *err)
{
	char *start = stream->rest.data, *newline;
	size_t left = stream->rest.len;

	while ((newline = memchr(start, '\n', left))) {
		size_t len = (size_t)(newline - start);

		*newline = '\0';
		if (stream->req->on_line(start, len, stream->req->arg, err) < 0)
			return -1;
		start += len + 1;
		left -= len + 1;
	}
	if (left > CLIENT_LINE_MAX)
		return err_set(err, ERR_PEER, "line of more than %u bytes in a stream",
			       CLIENT_LINE_MAX);
	memmove(stream->rest.data, start, left);
	stream->rest.len = left;
	return 0;
}

static int on_piece(const char *bytes, size_t len, void *arg, struct err *err)
{
	struct stream *stream = arg;

	return text_add(&stream->rest, bytes, len, err) < 0 ? -1 : put_lines(stream, err);
}

/* ---- what it means ---- */

/* A code that this program does not know: by the status. */
static enum err_code code_of(const char *name, int status)
{
	enum err_code code = name ? err_from_name(name) : ERR_SYSTEM;

	if (name && strcmp(err_name(code), name) == 0)
		return code;
	for (int i = 0; i < ERR_COUNT; i++)
		if (err_http((enum err_code)i) == status)
			return (enum err_code)i;
	return ERR_SYSTEM;
}

/* Parameters may follow the type. */
static bool type_is(const char *value, const char *type)
{
	size_t len = strlen(type);

	return strcspn(value, "; \t") == len && strncasecmp(value, type, len) == 0;
}

static bool is_json(const struct exchange_reply *reply)
{
	return type_is(reply->content_type, "application/json") ||
	       type_is(reply->content_type, "application/problem+json");
}

/* The daemon's HTTP library answers some requests itself, with an HTML page. */
static int refused(struct client *c, const struct exchange_reply *reply, struct err *err)
{
	struct err ignored;
	const char *detail;

	if (is_json(reply) && reply->body.data)
		c->problem = js_parse(reply->body.data, reply->body.len, false, &ignored);
	if (!json_object_is_type(c->problem, json_type_object)) {
		json_object_put(c->problem);
		c->problem = NULL;
		return err_set(err, code_of(NULL, reply->status), "uffdd answered with status %d",
			       reply->status);
	}
	detail = member_string(c->problem, "detail");
	if (!detail)
		detail = member_string(c->problem, "title");
	return err_set(err, code_of(member_string(c->problem, "code"), reply->status), "%s",
		       detail ? detail : "uffdd gave no reason");
}

static int understood(const struct client_request *req, const struct exchange_reply *reply,
		      struct json_object **ret, struct err *err)
{
	if (req->on_body && !is_json(reply))
		return req->on_body(reply->body.data, reply->body.len, req->arg, err);
	if (is_json(reply) && reply->body.len > 0) {
		*ret = js_parse(reply->body.data, reply->body.len, false, err);
		if (!*ret) {
			err->code = ERR_PEER;
			return err_wrap(err, "uffdd's answer");
		}
	}
	return 0;
}

/* A last line without a newline counts as a line. */
static int end_lines(struct stream *stream, struct err *err)
{
	return stream->rest.len > 0 ? on_piece("\n", 1, stream, err) : 0;
}

int client_call(struct client *c, const struct client_request *req, struct json_object **ret_reply,
		struct err *err)
{
	const int plain = JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE;
	struct stream stream = {.req = req};
	struct exchange_request ask = {
		.socket = c->path,
		.method = req->method,
		.target = req->target,
		.body = req->body ? json_object_to_json_string_ext(req->body, plain) : "",
		.timeout_ms = req->timeout_ms ? req->timeout_ms : CLIENT_TIMEOUT_MS,
		.on_piece = req->on_line ? on_piece : NULL,
		.arg = &stream,
	};
	struct exchange_reply reply;
	int rc;

	json_object_put(c->problem);
	c->problem = NULL;
	*ret_reply = NULL;
	rc = exchange_run(&ask, &reply, err);
	c->status = reply.status;
	/*
	 * A refusal is reported as one even when the rest of it is lost, as after too large a
	 * request.
	 */
	if (reply.status && (reply.status < 200 || reply.status > 299))
		rc = refused(c, &reply, err);
	else if (rc == 0)
		rc = req->on_line ? end_lines(&stream, err)
				  : understood(req, &reply, ret_reply, err);
	exchange_reply_fini(&reply);
	free(stream.rest.data);
	return rc;
}

void client_fini(struct client *c)
{
	json_object_put(c->problem);
	c->problem = NULL;
}

bool client_escape(const char *text, char ret[3 * CLIENT_TOKEN_MAX + 1])
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~";

	if (strlen(text) > CLIENT_TOKEN_MAX)
		return false;
	for (; *text; text++) {
		if (strchr(plain, *text))
			*ret++ = *text;
		else
			ret += snprintf(ret, 4, "%%%02X", (unsigned char)*text);
	}
	*ret = '\0';
	return true;
}
