#include "config.h"
#include "ctl/exchange.h"

#include <curl/curl.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "common/proto.h"

#define BUSY_MS 5 /* between two tries at a socket whose backlog is full */
/*
 * A larger body waits until the daemon asks for it: a daemon that refuses at the head hangs up, and
 * libcurl does not look for an answer once it cannot send. A smaller body is sent at once.
 */
#define ASK_FIRST_BYTES (32u << 10)
#define ASK_FIRST_MS 10000L /* then the body is sent in any case */
#define TOO_LARGE_CODE 100  /* CURLE_TOO_LARGE, since libcurl 8.6 */

struct api_request {
	const struct exchange_request *req;
	struct exchange_reply *reply;
	struct err *err;
	bool told; /* @err already says what ends the exchange */
	uint64_t deadline_us;
	int status; /* of the head that is being read */
	bool chunked, have_length;
	uint64_t length;
	char text[CURL_ERROR_SIZE]; /* libcurl's words for its last error */
};

/* ---- the connection ---- */

/* A socket that libcurl opens itself would outlive an exec. */
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *addr)
{
	struct api_request *c = arg;
	int fd = socket(addr->family, addr->socktype | SOCK_CLOEXEC, addr->protocol);

	(void)purpose;
	c->told = fd < 0 && err_sys(c->err, "socket") < 0;
	return fd;
}

static int cannot_reach(struct api_request *c, int cause)
{
	if (cause == EACCES || cause == EPERM)
		return err_set(c->err, ERR_DENIED,
			       "socket %s: %s; your user must be in the group that owns it",
			       c->req->socket, strerror(cause));
	return err_set(c->err, ERR_UNREADY,
		       "is uffdd running? cannot reach it at socket %s: %s (-S or " PROTO_SOCKET_ENV
		       " names another)",
		       c->req->socket, strerror(cause));
}

/* ---- bytes that come ---- */

int text_add(struct text *text, const char *bytes, size_t len, struct err *err)
{
	if (text->len + len + 1 > text->room) {
		size_t room = max_u64(2 * text->room, text->len + len + 1);
		char *bigger = realloc(text->data, room);

		if (!bigger)
			return err_set(err, ERR_SYSTEM, "no memory for %zu bytes of answer", room);
		text->data = bigger;
		text->room = room;
	}
	memcpy(text->data + text->len, bytes, len);
	text->len += len;
	text->data[text->len] = '\0';
	return 0;
}

static int not_http(struct err *err)
{
	return err_set(err, ERR_PEER,
		       "what answers at this socket does not speak HTTP; is it uffdd's own?");
}

static int too_many_headers(struct err *err)
{
	return err_set(err, ERR_PEER, "answer with more than %d bytes of headers",
		       EXCHANGE_HEAD_MAX);
}

static int too_long(struct err *err)
{
	return err_set(err, ERR_PEER, "answer of more than %u bytes", EXCHANGE_BODY_MAX);
}

/* "HTTP/1.1 200 OK"; libcurl also accepts other numbers of digits. */
static int status_line(struct api_request *c, const char *line)
{
	static const char magic[] = "HTTP/1.", digits[] = "0123456789";

	if (strncmp(line, magic, strlen(magic)) != 0 || strlen(line) < 12 || line[8] != ' ' ||
	    strspn(line + 9, digits) != 3)
		return not_http(c->err);
	c->status = (int)strtol(line + 9, NULL, 10);
	c->chunked = c->have_length = false;
	return 0;
}

static bool header_is(const char *line, const char *name, const char **ret_value)
{
	size_t len = strlen(name);

	if (strncasecmp(line, name, len) != 0 || line[len] != ':')
		return false;
	*ret_value = line + len + 1 + strspn(line + len + 1, " \t");
	return true;
}

/* libcurl ignores what follows the digits. */
static int length_header(struct api_request *c, const char *value)
{
	char *end;

	errno = 0;
	c->length = strtoull(value, &end, 10);
	if (*value < '0' || *value > '9' || errno || end[strspn(end, " \t\r\n")] != '\0')
		return err_set(c->err, ERR_PEER,
			       "answer with a bad Content-Length; is this uffdd?");
	c->have_length = true;
	return 0;
}

static int unknown_encoding(struct err *err)
{
	return err_set(err, ERR_PEER, "answer in an unknown transfer encoding");
}

/* libcurl would unpack "gzip", which this program did not ask for. */
static int encoding_header(struct api_request *c, const char *value)
{
	static const char chunked[] = "chunked";
	size_t len = strlen(chunked);

	if (strncasecmp(value, chunked, len) != 0 || strcspn(value, "\r\n") != len)
		return unknown_encoding(c->err);
	c->chunked = true;
	return 0;
}

static bool asks_first(const struct exchange_request *req)
{
	return req->body && strlen(req->body) > ASK_FIRST_BYTES;
}

static void forget_head(struct api_request *c)
{
	c->reply->status = c->status = 0;
	c->reply->head.len = 0;
}

static int end_of_head(struct api_request *c)
{
	c->reply->status = c->status;
	if (c->status == 100 && asks_first(c->req))
		forget_head(c); /* "continue": no answer yet */
	if (c->have_length && !c->chunked && c->length > EXCHANGE_BODY_MAX)
		return too_long(c->err);
	return 0;
}

/* @line: a line of the head, with its line end */
static int head_line(struct api_request *c, const char *line)
{
	const char *value;

	if (c->status == 0)
		return status_line(c, line);
	if (*line == '\r' || *line == '\n')
		return end_of_head(c);
	if (header_is(line, "Content-Length", &value))
		return length_header(c, value);
	if (header_is(line, "Transfer-Encoding", &value))
		return encoding_header(c, value);
	return 0;
}

static bool is_interim(int status)
{
	return status >= 100 && status < 200;
}

static size_t on_header(char *bytes, size_t size, size_t n, void *arg)
{
	struct api_request *c = arg;
	struct text *head = &c->reply->head;
	size_t before;

	if (c->reply->status && !is_interim(c->reply->status))
		return size * n; /* a trailer */
	if (c->reply->status)
		forget_head(c);
	before = head->len;
	c->told = (before + size * n > EXCHANGE_HEAD_MAX && too_many_headers(c->err) < 0) ||
		  text_add(head, bytes, size * n, c->err) < 0 ||
		  head_line(c, head->data + before) < 0;
	return c->told ? 0 : size * n;
}

static bool is_good(int status)
{
	return status >= 200 && status < 300;
}

static int take_body(struct api_request *c, const char *bytes, size_t len)
{
	struct text *body = &c->reply->body;

	if (c->req->on_piece && is_good(c->reply->status)) {
		c->deadline_us = now_us() + c->req->timeout_ms * 1000;
		return c->req->on_piece(bytes, len, c->req->arg, c->err);
	}
	return body->len + len > EXCHANGE_BODY_MAX ? too_long(c->err)
						   : text_add(body, bytes, len, c->err);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
	struct api_request *c = arg;

	c->told = take_body(c, bytes, size * n) < 0;
	return c->told ? 0 : size * n;
}

/* ---- the request ---- */

static bool set_transport(CURL *easy, struct api_request *c)
{
	bool ok = true;

#define SET(option, value) (ok = ok && curl_easy_setopt(easy, option, value) == CURLE_OK)
	SET(CURLOPT_UNIX_SOCKET_PATH, c->req->socket);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open);
	SET(CURLOPT_OPENSOCKETDATA, c);
	SET(CURLOPT_PROTOCOLS_STR, "http");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NOSIGNAL, 1L);
	/* drive() keeps the time: libcurl would call late what came but was not yet read. */
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)INT_MAX);
	SET(CURLOPT_EXPECT_100_TIMEOUT_MS, ASK_FIRST_MS);
	SET(CURLOPT_ERRORBUFFER, c->text);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, c);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, c);
	return ok;
}

static bool set_request(CURL *easy, const struct exchange_request *req, struct curl_slist *headers)
{
	bool ok = headers != NULL;

	SET(CURLOPT_URL, "http://localhost/");
	SET(CURLOPT_REQUEST_TARGET, req->target);
	if (req->body) {
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(req->body));
		SET(CURLOPT_POSTFIELDS, req->body);
	} else if (strcmp(req->method, "HEAD") == 0) {
		SET(CURLOPT_NOBODY, 1L);
	}
	SET(CURLOPT_CUSTOMREQUEST, req->method);
	SET(CURLOPT_HTTPHEADER, headers);
#undef SET
	return ok;
}

/* Owned by the caller; NULL: no memory. */
static struct curl_slist *headers_of(const struct exchange_request *req)
{
	static const char agent[] = {"User-Agent: uffdctl/" PACKAGE_VERSION};
	/* A name alone keeps libcurl from sending that header. */
	const char *const headers[] = {
		"Connection: close",
		agent,
		"Accept:",
		asks_first(req) ? "Expect: 100-continue" : "Expect:",
		req->body ? "Content-Type: application/json" : "Content-Type:",
	};
	struct curl_slist *list = NULL;

	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		struct curl_slist *longer = curl_slist_append(list, headers[i]);

		if (!longer) {
			curl_slist_free_all(list);
			return NULL;
		}
		list = longer;
	}
	return list;
}

/* ---- the exchange ---- */

static int no_memory(struct err *err)
{
	return err_set(err, ERR_SYSTEM, "no memory for libcurl");
}

static int hung_up(struct api_request *c)
{
	if (c->reply->head.len > 0)
		return err_set(c->err, ERR_UNREADY,
			       "uffdd hung up in the middle of its answer; try again");
	return err_set(c->err, ERR_UNREADY, "uffdd hung up without an answer; try again");
}

static int bad_reply(struct api_request *c)
{
	return c->reply->head.len == 0
		       ? not_http(c->err)
		       : err_set(c->err, ERR_PEER, "answer that is no HTTP: %s; is this uffdd?",
				 c->text);
}

/* @cause: errno if the connection broke; 0: libcurl rejects the bytes */
static int broken(struct api_request *c, int cause)
{
	if (cause)
		return hung_up(c);
	if (c->reply->status)
		return err_set(c->err, ERR_PEER, "answer with broken chunks");
	return too_many_headers(c->err);
}

static int explain(struct api_request *c, CURLcode code, int cause)
{
	if (c->told)
		return -1;
	switch ((int)code) {
	case CURLE_OK:
		return c->reply->status ? 0 : hung_up(c);
	case CURLE_COULDNT_CONNECT:
		return cannot_reach(c, cause ? cause : EAGAIN);
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_SEND_ERROR:
		return hung_up(c);
	case CURLE_UNSUPPORTED_PROTOCOL:
		return not_http(c->err);
	case CURLE_WEIRD_SERVER_REPLY:
		return bad_reply(c);
	case CURLE_BAD_CONTENT_ENCODING:
		return unknown_encoding(c->err);
	case CURLE_RECV_ERROR:
	case CURLE_OUT_OF_MEMORY: /* a header over libcurl's own limit */
	case TOO_LARGE_CODE:
		return broken(c, cause);
	default:
		return err_set(c->err, ERR_PEER, "uffdd's answer: %s",
			       *c->text ? c->text : curl_easy_strerror(code));
	}
}

/* Too late is only what has not come: a busy host may have kept this process from reading. */
static int drive(struct api_request *c, CURLM *multi)
{
	int running, ready;

	for (;;) {
		uint64_t now, left_ms;

		if (curl_multi_perform(multi, &running) != CURLM_OK)
			return no_memory(c->err);
		if (running == 0)
			return 0;
		now = now_us();
		left_ms = now < c->deadline_us ? (c->deadline_us - now + 999) / 1000 : 0;
		if (curl_multi_poll(multi, NULL, 0, (int)min_u64(left_ms, INT_MAX), &ready) !=
		    CURLM_OK)
			return no_memory(c->err);
		if (left_ms == 0 && ready == 0)
			return err_set(c->err, ERR_UNREADY, "uffdd did not answer in time");
	}
}

static int run_once(struct api_request *c, CURLM *multi, CURL *easy, CURLcode *ret_code)
{
	int rc = curl_multi_add_handle(multi, easy) == CURLM_OK ? drive(c, multi)
								: no_memory(c->err);
	const char *type;
	int left;
	struct CURLMsg *end = curl_multi_info_read(multi, &left);

	if (rc == 0)
		*ret_code = end ? end->data.result : CURLE_FAILED_INIT;
	curl_multi_remove_handle(multi, easy);
	if (curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type) == CURLE_OK && type)
		snprintf(c->reply->content_type, sizeof(c->reply->content_type), "%s", type);
	return rc;
}

/*
 * The socket's backlog is full: libcurl, which does not block, gives up without an errno. A busy
 * daemon is not a dead one.
 */
static bool is_busy(const struct api_request *c, CURLcode code, int cause)
{
	return code == CURLE_COULDNT_CONNECT && !c->told && (cause == 0 || cause == EAGAIN);
}

static int run(struct api_request *c, CURLM *multi, CURL *easy)
{
	CURLcode code;
	long cause;

	for (;;) {
		cause = 0;
		if (run_once(c, multi, easy, &code) < 0)
			return -1;
		curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &cause);
		if (!is_busy(c, code, (int)cause) || now_us() >= c->deadline_us)
			break;
		poll(NULL, 0, BUSY_MS);
	}
	return explain(c, code, (int)cause);
}

static void end_libcurl(void)
{
	curl_global_cleanup();
}

static void start_libcurl(void)
{
	if (curl_global_init(CURL_GLOBAL_NOTHING) == CURLE_OK)
		atexit(end_libcurl);
}

int exchange_run(const struct exchange_request *req, struct exchange_reply *ret, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct api_request c = {.req = req, .reply = ret, .err = err};
	size_t len = strlen(req->socket);
	struct curl_slist *headers;
	CURLM *multi;
	CURL *easy;
	int rc;

	*ret = (struct exchange_reply){0};
	if (len == 0 || len > PROTO_SUN_MAX)
		return err_set(err, ERR_PATH, "socket path \"%.200s\": must have 1 to %d bytes",
			       req->socket, PROTO_SUN_MAX);
	pthread_once(&once, start_libcurl);
	c.deadline_us = now_us() + req->timeout_ms * 1000;
	headers = headers_of(req);
	multi = curl_multi_init();
	easy = curl_easy_init();
	if (multi && easy && set_transport(easy, &c) && set_request(easy, req, headers))
		rc = run(&c, multi, easy);
	else
		rc = no_memory(err);
	curl_easy_cleanup(easy);
	curl_multi_cleanup(multi);
	curl_slist_free_all(headers);
	return rc;
}

void exchange_reply_fini(struct exchange_reply *reply)
{
	free(reply->head.data);
	free(reply->body.data);
	*reply = (struct exchange_reply){0};
}
