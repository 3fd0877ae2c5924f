#include "daemon/api.h"

#include <config.h>
#include <event2/event.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include "common/log.h"
#include "daemon/descriptors.h"
#include "daemon/feed.h"
#include "daemon/restores.h"
#include "daemon/status.h"
#include "daemon/view.h"

struct api {
	struct supervisor *sup;
	struct http *http;
	char socket[PROTO_SUN_MAX + 1];
	struct wait_list waits;
	struct feed_list feeds;
};

struct wait_list *api_waits(struct api *api)
{
	return &api->waits;
}

/* ---- of the daemon itself ---- */

static void get_healthz(struct call *c)
{
	struct json_object *o = json_object_new_object();

	js_add_string(o, "status", "ok");
	call_reply(c->req, 200, o);
}

static void get_readyz(struct call *c)
{
	struct json_object *o;
	struct err err;

	if (supervisor_ready(c->sup, &err)) {
		call_problem(c->req, &err);
		return;
	}
	o = json_object_new_object();
	js_add_string(o, "status", "ready");
	call_reply(c->req, 200, o);
}

static void get_version(struct call *c)
{
	struct json_object *o = json_object_new_object(), *api = json_object_new_array();
	struct utsname un;

	uname(&un);
	js_add_string(o, "version", PACKAGE_VERSION);
	json_object_array_add(api, json_object_new_string("v1"));
	json_object_object_add(o, "api", api);
	js_add_string(o, "libevent", event_get_version());
	js_add_string(o, "sqlite", store_engine());
	js_add_string(o, "kernel", un.release);
	call_reply(c->req, 200, o);
}

static void get_events(struct call *c)
{
	feed_get(&c->api->feeds, c);
}

/* ---- routes ---- */

#define QUERY(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NO_QUERY ((const char *const[]){NULL})

/* {id} stands for one segment, checked against the grammar of ids. */
static const struct route {
	const char *method, *path;
	void (*handle)(struct call *c);
	const char *const *query;
	bool body;
} routes[] = {
	{"GET", "/healthz", get_healthz, NO_QUERY, false},
	{"GET", "/readyz", get_readyz, NO_QUERY, false},
	{"GET", "/version", get_version, NO_QUERY, false},
	{"GET", "/v1/events", get_events, QUERY("after", "follow", "restore"), false},
	{"GET", "/v1/status", status_get, NO_QUERY, false},
	{"GET", "/v1/restores", restores_list, QUERY("tenant", "state", "limit", "page_token"),
	 false},
	{"POST", "/v1/restores", restores_post, NO_QUERY, true},
	{"PUT", "/v1/restores/{id}", restores_put, NO_QUERY, true},
	{"GET", "/v1/restores/{id}", restores_get, QUERY("for", "wait"), false},
	{"DELETE", "/v1/restores/{id}", restores_delete, QUERY("grace", "kill"), false},
	{"PUT", "/v1/restores/{id}/prefetch", restores_prefetch, NO_QUERY, true},
	{"GET", "/v1/restores/{id}/pages", restores_pages, QUERY("offset", "limit"), false},
	{"GET", "/v1/restores/{id}/working-set", restores_working_set, NO_QUERY, false},
	{"POST", "/v1/restores/{id}/pause", restores_pause, NO_QUERY, false},
	{"POST", "/v1/restores/{id}/resume", restores_resume, NO_QUERY, false},
	{"POST", "/v1/restores/{id}/restart-worker", restores_restart_worker, NO_QUERY, false},
};

/* Does the path fit? What stands for {id} goes to @ret_id, cut if too long to be one. */
static bool fits(const char *pattern, const char *path, char ret_id[PROTO_ID_MAX + 2])
{
	const char *hole = strstr(pattern, "{id}");
	size_t head, len;

	ret_id[0] = '\0';
	if (!hole)
		return strcmp(pattern, path) == 0;
	head = (size_t)(hole - pattern);
	if (strncmp(pattern, path, head) != 0)
		return false;
	len = strcspn(path + head, "/");
	if (len == 0 || strcmp(hole + strlen("{id}"), path + head + len) != 0)
		return false;
	snprintf(ret_id, PROTO_ID_MAX + 2, "%.*s", (int)min_u64(len, PROTO_ID_MAX + 1),
		 path + head);
	return true;
}

static const struct route *find_route(const char *method, const char *path,
				      char ret_id[PROTO_ID_MAX + 2], char *ret_allow, size_t len)
{
	ret_allow[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		size_t used = strlen(ret_allow);

		if (!fits(routes[i].path, path, ret_id))
			continue;
		if (strcmp(routes[i].method, method) == 0)
			return &routes[i];
		snprintf(ret_allow + used, len - used, "%s%s", used ? ", " : "",
			 routes[i].method);
	}
	return NULL;
}

static void no_route(struct http_request *req, const char *allow)
{
	struct err err;

	if (allow[0]) {
		http_reply_header(req, "Allow", allow);
		err_set(&err, ERR_METHOD, "%s is not a method of %s, these are: %s",
			http_method(req), http_path(req), allow);
	} else {
		err_set(&err, ERR_NOTFOUND, "there is nothing at %.200s; the API is below /v1",
			http_path(req));
	}
	call_problem(req, &err);
}

static int check_query(const struct route *r, struct http_request *req, struct err *err)
{
	const char *key;

	for (size_t i = 0; (key = http_query_key(req, i)); i++) {
		bool known = false;

		for (size_t k = 0; r->query[k]; k++)
			known = known || strcmp(r->query[k], key) == 0;
		if (!known)
			return err_set(err, ERR_INVALID, "%.100s: is not a parameter of %s", key,
				       r->path);
	}
	return 0;
}

static int read_body(const struct route *r, struct call *c, struct err *err)
{
	size_t len;
	const void *text = http_body(c->req, &len);

	if (!r->body)
		return len ? err_set(err, ERR_INVALID, "%s %s takes no body", r->method, r->path)
			   : 0;
	c->body = js_parse(text ? text : "", len, false, err);
	return c->body ? 0 : err_wrap(err, "body");
}

static void on_request(struct http_request *req, void *arg)
{
	struct api *api = arg;
	struct call c = {.api = api, .sup = api->sup, .req = req};
	char allow[128], id[PROTO_ID_MAX + 2];
	const struct route *r = find_route(http_method(req), http_path(req), id, allow,
					   sizeof(allow));
	struct err err;

	if (!r) {
		no_route(req, allow);
		return;
	}
	tenant_resolve(http_peer(req), &c.caller);
	if (id[0] && !proto_id_valid(id)) {
		err_set(&err, ERR_INVALID, "id: must be 1 to %d of A-Z a-z 0-9 . _ -, beginning "
			"with a letter or digit", PROTO_ID_MAX);
		call_problem(req, &err);
		return;
	}
	snprintf(c.id, sizeof(c.id), "%.*s", PROTO_ID_MAX, id);
	if (check_query(r, req, &err) || read_body(r, &c, &err))
		call_problem(req, &err);
	else
		r->handle(&c);
	json_object_put(c.body);
}

/* ---- the supervisor's news ---- */

static void on_changed(void *arg, struct live *live)
{
	struct api *api = arg;

	waits_look(&api->waits, live);
}

static void on_events(void *arg)
{
	struct api *api = arg;

	feed_wake(&api->feeds);
}

/* ---- start and stop ---- */

static int socket_group(const struct conf *conf, gid_t *ret, struct err *err)
{
	struct group *g;

	*ret = (gid_t)-1;
	if (!conf->socket_group[0])
		return 0;
	g = getgrnam(conf->socket_group);
	if (!g)
		return err_set(err, ERR_INVALID, "socket_group: there is no group %s",
			       conf->socket_group);
	*ret = g->gr_gid;
	return 0;
}

static struct http_limits limits(const struct conf *conf)
{
	struct http_limits l = http_limits_default();

	l.header_bytes = conf->http_header_bytes;
	l.body_bytes = conf->http_body_bytes;
	l.connections = descriptors_for_http(conf->http_connections);
	l.connections_per_uid = conf->http_connections_per_uid;
	l.held = conf->http_held;
	l.held_per_uid = conf->http_held_per_uid;
	l.queue_bytes = conf->http_queue_bytes;
	l.idle_ms = (unsigned)conf->http_idle_ms;
	l.header_deadline_ms = (unsigned)conf->http_header_deadline_ms;
	l.stall_ms = (unsigned)conf->http_stall_ms;
	return l;
}

static int open_http(struct api *api, struct err *err)
{
	const struct conf *conf = &api->sup->host.conf;
	struct http_limits l = limits(conf);
	cleanup_fd int fd = -1;
	gid_t gid;

	if (socket_group(conf, &gid, err) ||
	    sock_listen(api->socket, SOCK_STREAM, conf->socket_mode, SOCK_KEEP_OWNER, gid, &fd,
			err) ||
	    http_new(api->sup->host.base, fd, &l, on_request, api, &api->http, err))
		return -1;
	steal_fd(&fd);
	return 0;
}

int api_new(struct supervisor *sup, struct api **ret, struct err *err)
{
	static const struct observer observer = {on_changed, on_events};
	struct api *api = xcalloc(1, sizeof(*api));

	api->sup = sup;
	TAILQ_INIT(&api->waits);
	TAILQ_INIT(&api->feeds);
	snprintf(api->socket, sizeof(api->socket), "%s/control.sock", sup->host.conf.run_dir);
	if (open_http(api, err)) {
		free(api);
		return -1;
	}
	supervisor_observe(sup, &observer, api);
	log_notice("listening", "socket=%s", api->socket);
	*ret = api;
	return 0;
}

void api_free(struct api *api)
{
	if (!api)
		return;
	supervisor_observe(api->sup, NULL, NULL);
	unlink(api->socket);
	http_free(api->http);
	free(api);
}
