#include "daemon/http.h"

#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <string.h>
#include <strings.h>

#include "common/js.h"
#include "daemon/http_conns.h"
#include "daemon/http_target.h"

/* methods that evhttp lets through; not HEAD, which evhttp would answer with a body */
#define METHODS(X) X(GET) X(POST) X(PUT) X(DELETE) X(PATCH) X(OPTIONS)

#define SMALL_BYTES 4096 /* of an answer */

enum request_state { REQUEST_NEW, REQUEST_HELD, REQUEST_STREAM };

struct http_request {
	struct http *http;
	struct http_conn *conn;
	struct evhttp_request *ev;
	struct http_target target;
	const void *body;
	size_t body_len;
	enum request_state state;
	http_gone gone;
	void *gone_arg;
};

struct http {
	struct http_conns conns;
	struct evhttp *ev;
	http_handler handler;
	void *arg;                     /* the handler's */
	struct http_request *handling; /* not yet answered, held or streamed */
};

/* evhttp has no phrase for many of them. */
static const char *reason_phrase(int status)
{
	static const struct {
		int status;
		const char *phrase;
	} phrases[] = {
		{200, "OK"},
		{201, "Created"},
		{202, "Accepted"},
		{204, "No Content"},
		{400, "Bad Request"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{409, "Conflict"},
		{410, "Gone"},
		{412, "Precondition Failed"},
		{413, "Content Too Large"},
		{415, "Unsupported Media Type"},
		{422, "Unprocessable Content"},
		{429, "Too Many Requests"},
		{500, "Internal Server Error"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{507, "Insufficient Storage"},
	};

	for (size_t i = 0; i < ARRAY_LEN(phrases); i++)
		if (phrases[i].status == status)
			return phrases[i].phrase;
	return "Status";
}

/* Frees @req. The caller still has to deal with req->ev. */
static void detach(struct http_request *req)
{
	if (req->http->handling == req)
		req->http->handling = NULL;
	if (req->state != REQUEST_NEW)
		req->conn->user->held--;
	req->conn->req = NULL;
	http_target_fini(&req->target);
	free(req);
}

/*
 * If the peer hung up before the answer, evhttp has let go of the request (its connection is NULL),
 * and we must free it. When the whole server is freed, evhttp has not let go, and frees it itself.
 * Owning requests (evhttp_request_own) would leak those whose peer goes while the answer is being
 * written.
 */
static void on_closed(struct http_conn *conn)
{
	struct http_request *req = conn->req;
	struct evhttp_request *ev = req->ev;

	if (req->gone)
		req->gone(req, req->gone_arg);
	detach(req);
	if (!evhttp_request_get_connection(ev))
		evhttp_request_free(ev);
}

static void on_written(struct evhttp_request *ev, void *arg)
{
	(void)ev;
	http_conn_idle(arg);
}

static void reply_problem(struct http_request *req, const struct err *err)
{
	cleanup_json struct json_object *o = js_problem(err);
	const char *text;

	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	http_reply(req, err_http(err->code), "application/problem+json", text, strlen(text));
}

/*
 * Two lengths, or a length beside a coding: evhttp takes the body by one of them, and somebody
 * between the client and us may have taken it by the other.
 */
static int check_framing(struct http_request *req, struct err *err)
{
	const struct evkeyvalq *headers = evhttp_request_get_input_headers(req->ev);
	const struct evkeyval *h;
	unsigned n = 0;

	TAILQ_FOREACH(h, headers, next)
	n += strcasecmp(h->key, "Content-Length") == 0 ||
	     strcasecmp(h->key, "Transfer-Encoding") == 0;
	if (n < 2)
		return 0;
	http_reply_header(req, "Connection", "close");
	return err_set(err, ERR_INVALID,
		       "the request says more than once how long its body is: send one "
		       "Content-Length, or one Transfer-Encoding");
}

/* The connection may be gone afterwards, and so may its user. */
static void handle(struct http_request *req)
{
	struct http *http = req->http;
	struct http_accounts *accounts = &http->conns.accounts;
	struct http_account *account;
	uint64_t since = now_us(), now;

	http_conn_identify(req->conn);
	account = http_account_get(accounts, req->conn->user->account->name);
	http->handler(req, http->arg);
	now = now_us();
	http_account_charge(account, now - since, now);
	http_account_put(accounts, account);
}

static void on_request(struct evhttp_request *ev, void *arg)
{
	struct http *http = arg;
	struct evhttp_connection *evcon = evhttp_request_get_connection(ev);
	struct http_conn *conn = http_conns_find(&http->conns, evcon);
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(ev);
	struct evbuffer *input = evhttp_request_get_input_buffer(ev);
	struct http_request *req;
	struct err err;

	if (!conn) {
		evhttp_connection_free(evcon);
		return;
	}
	http_conn_busy(conn);
	req = xcalloc(1, sizeof(*req));
	req->http = http;
	req->conn = conn;
	req->ev = ev;
	req->body_len = evbuffer_get_length(input);
	req->body = "";
	if (req->body_len)
		req->body = evbuffer_pullup(input, -1);
	conn->req = req;
	http->handling = req;
	if (!req->body)
		http_conn_cut(conn);
	else if (check_framing(req, &err) ||
		 http_target_parse(evhttp_uri_get_path(uri), evhttp_uri_get_query(uri),
				   &req->target, &err))
		reply_problem(req, &err);
	else
		handle(req);
	assert(!http->handling);
}

int http_new(struct event_base *base, int listen_fd, const struct http_options *options,
	     struct http **ret, struct err *err)
{
	const struct http_limits *limits = &options->limits;
	struct http *http = xcalloc(1, sizeof(*http));

	http->handler = options->handler;
	http->arg = options->arg;
	http->conns.identify = options->identify;
	http->conns.arg = options->arg;
	http->conns.limits = *limits;
	http->ev = evhttp_new(base);
	if (!http->ev) {
		free(http);
		return err_set(err, ERR_SYSTEM, "HTTP server: out of memory");
	}
#define X(name) | EVHTTP_REQ_##name
	evhttp_set_allowed_methods(http->ev, 0 METHODS(X));
#undef X
	evhttp_set_default_content_type(http->ev, "application/octet-stream");
	evhttp_set_max_headers_size(http->ev, (ev_ssize_t)limits->header_bytes);
	evhttp_set_max_body_size(http->ev, (ev_ssize_t)limits->body_bytes);
	evhttp_set_gencb(http->ev, on_request, http);
	if (http_conns_init(&http->conns, base, http->ev, listen_fd, on_closed, err)) {
		evhttp_free(http->ev);
		http_conns_fini(&http->conns);
		free(http);
		return -1;
	}
	*ret = http;
	return 0;
}

void http_free(struct http *http)
{
	if (!http)
		return;
	assert(!http->handling);
	http_conns_stop(&http->conns);
	evhttp_free(http->ev);
	http_conns_fini(&http->conns);
	free(http);
}

static size_t count_held(const struct http *http)
{
	const struct http_user *user;
	size_t n = 0;

	LIST_FOREACH(user, &http->conns.users, link)
	n += user->held;
	return n;
}

struct http_stats http_stats(const struct http *http)
{
	return (struct http_stats){
		.connections = http->conns.n,
		.held = count_held(http),
		.accepted = http->conns.accepted,
		.refused = http->conns.refused,
		.cut = http->conns.cut,
	};
}

const char *http_method(const struct http_request *req)
{
	static const struct {
		enum evhttp_cmd_type type;
		const char *name;
	} methods[] = {
#define X(name) {EVHTTP_REQ_##name, #name},
		METHODS(X)
#undef X
	};

	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		if (methods[i].type == evhttp_request_get_command(req->ev))
			return methods[i].name;
	return "";
}

const char *http_path(const struct http_request *req)
{
	return req->target.path;
}

const char *http_query(const struct http_request *req, const char *key)
{
	return http_target_param(&req->target, key);
}

const char *http_query_key(const struct http_request *req, size_t i)
{
	return i < req->target.nparams ? req->target.params[i].key : NULL;
}

const void *http_body(const struct http_request *req, size_t *ret_len)
{
	*ret_len = req->body_len;
	return req->body;
}

const struct sock_peer *http_peer(const struct http_request *req)
{
	return &req->conn->peer;
}

void http_reply_header(struct http_request *req, const char *name, const char *value)
{
	evhttp_add_header(evhttp_request_get_output_headers(req->ev), name, value);
}

/* What the kernel has not taken yet, of all answers to that user. */
static size_t unsent_bytes(const struct http_conns *conns, const struct http_user *user)
{
	const struct http_conn *conn;
	size_t n = 0;

	LIST_FOREACH(conn, &conns->live, link)
	if (conn->user == user)
		n += evbuffer_get_length(bufferevent_get_output(conn->bev));
	return n;
}

/* A small answer is always given, and the only one: else nobody could be told why, or go on. */
static bool is_too_much(const struct http_request *req, size_t len, struct err *err)
{
	const struct http_conns *conns = &req->http->conns;
	size_t unsent, max = conns->limits.unsent_bytes_per_uid;

	if (len <= SMALL_BYTES)
		return false;
	unsent = unsent_bytes(conns, req->conn->user);
	if (!unsent || unsent + len <= max)
		return false;
	err_set(err, ERR_QUOTA,
		"%zu bytes of answers to uid %ju are unread, and this one has %zu bytes, of at "
		"most "
		"%zu: read them, or ask for less at a time",
		unsent, (uintmax_t)req->conn->peer.uid, len, max);
	return true;
}

static void reply(struct http_request *req, int status, const char *content_type, const void *body,
		  size_t len)
{
	struct evhttp_request *ev = req->ev;
	struct evbuffer *buf = evbuffer_new();
	char length[24];

	assert(req->state != REQUEST_STREAM);
	snprintf(length, sizeof(length), "%zu", len);
	if (!buf || evbuffer_add(buf, body, len)) {
		req->gone = NULL;
		http_conn_cut(req->conn);
	} else {
		http_reply_header(req, "Content-Type", content_type);
		if (status != 204)
			http_reply_header(req, "Content-Length", length);
		evhttp_request_set_on_complete_cb(ev, on_written, req->conn);
		detach(req);
		evhttp_send_reply(ev, status, reason_phrase(status), buf);
	}
	if (buf)
		evbuffer_free(buf);
}

void http_reply(struct http_request *req, int status, const char *content_type, const void *body,
		size_t len)
{
	struct err err;

	if (is_too_much(req, len, &err)) {
		http_reply_header(req, "Retry-After", "1");
		reply_problem(req, &err);
	} else {
		reply(req, status, content_type, body, len);
	}
}

static size_t held_share(const struct http_conn *conn, const void *arg)
{
	(void)arg;
	return conn->req && conn->req->state != REQUEST_NEW ? conn->user->held : 0;
}

/* May hang up on another client. */
static bool has_place(struct http_request *req)
{
	const struct http_limits *limits = &req->http->conns.limits;
	const struct http_user *user = req->conn->user;
	struct http *http = req->http;
	size_t max = limits->held;
	struct http_conn *other;

	if (user->privileged)
		max += limits->held_per_uid;
	if (user->held >= limits->held_per_uid)
		return false;
	if (count_held(http) < max)
		return true;
	other = user->held ? NULL : http_conns_longest(&http->conns, held_share, NULL);
	if (!other || other->user->held < 2)
		return false;
	http_conn_cut(other);
	return true;
}

static int take_place(struct http_request *req, enum request_state state, http_gone gone, void *arg)
{
	if (req->state == REQUEST_NEW) {
		if (!has_place(req))
			return -1;
		req->conn->user->held++;
	}
	if (req->http->handling == req)
		req->http->handling = NULL;
	req->state = state;
	req->gone = gone;
	req->gone_arg = arg;
	return 0;
}

int http_hold(struct http_request *req, http_gone gone, void *arg)
{
	struct bufferevent *bev = req->conn->bev;
	bufferevent_data_cb write_cb;
	bufferevent_event_cb event_cb;
	void *cb_arg;

	assert(req->state == REQUEST_NEW);
	if (take_place(req, REQUEST_HELD, gone, arg))
		return -1;
	/*
	 * evhttp has stopped reading, and without reading no hang-up is seen. With reading, its
	 * read callback would exit the process at the next byte: so reading is enabled without it.
	 */
	bufferevent_getcb(bev, NULL, &write_cb, &event_cb, &cb_arg);
	bufferevent_setcb(bev, NULL, write_cb, event_cb, cb_arg);
	bufferevent_enable(bev, EV_READ);
	return 0;
}

int http_stream_begin(struct http_request *req, int status, const char *content_type,
		      http_gone gone, void *arg)
{
	assert(req->state != REQUEST_STREAM);
	if (take_place(req, REQUEST_STREAM, gone, arg))
		return -1;
	/* To a 1.0 client that asked for keep-alive, evhttp would announce a length of 0. */
	if (req->ev->major == 1 && req->ev->minor == 0)
		evhttp_remove_header(evhttp_request_get_input_headers(req->ev), "Connection");
	http_reply_header(req, "Content-Type", content_type);
	evhttp_send_reply_start(req->ev, status, reason_phrase(status));
	return 0;
}

void http_stream_charge(struct http_request *req, uint64_t us)
{
	http_account_charge(req->conn->user->account, us, now_us());
}

bool http_stream_is_late(const struct http_request *req)
{
	return http_conn_is_late(req->conn);
}

int http_stream_write(struct http_request *req, const void *data, size_t len)
{
	struct evbuffer *output = bufferevent_get_output(req->conn->bev);
	struct evbuffer *buf;
	int rc = -1;

	assert(req->state == REQUEST_STREAM);
	if (evbuffer_get_length(output) + len > req->http->conns.limits.queue_bytes)
		return -1;
	buf = evbuffer_new();
	if (buf && !evbuffer_add(buf, data, len)) {
		evhttp_send_reply_chunk(req->ev, buf);
		rc = 0;
	}
	if (buf)
		evbuffer_free(buf);
	return rc;
}

void http_stream_end(struct http_request *req)
{
	struct evhttp_request *ev = req->ev;

	assert(req->state == REQUEST_STREAM);
	evhttp_request_set_on_complete_cb(ev, on_written, req->conn);
	detach(req);
	evhttp_send_reply_end(ev);
}

void http_stream_drop(struct http_request *req)
{
	assert(req->state == REQUEST_STREAM);
	req->gone = NULL;
	http_conn_cut(req->conn);
}
