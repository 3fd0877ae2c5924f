#include "daemon/routes.h"

#include <string.h>

#include "daemon/event_stream.h"
#include "daemon/api_restores.h"
#include "daemon/status.h"
#include "daemon/supervisor.h"
#include "daemon/tenant.h"

/* ---- the table ---- */

/* Right and handler go together: a handler that takes a restore fits into no other row. */
/* clang-format off */
#define ANYBODY(fn) RIGHT_ANYBODY, {.plain = (fn)}
#define ADMIN(fn) RIGHT_ADMIN, {.plain = (fn)}
#define OWN_TENANT(fn) RIGHT_OWN_TENANT, {.of_tenant = (fn)}
#define NEW_RESTORE(fn) RIGHT_NEW_RESTORE, {.of_tenant = (fn)}
#define OWN_RESTORE(fn) RIGHT_OWN_RESTORE, {.of_restore = (fn)}
/* clang-format on */

#define QUERY(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NO_QUERY ((const char *const[]){NULL})

/* clang-format off */
static const struct route routes[] = {
	{"GET", "/healthz", ANYBODY(status_healthz), NO_QUERY, false},
	{"GET", "/readyz", ANYBODY(status_readyz), NO_QUERY, false},
	{"GET", "/version", ANYBODY(status_version), NO_QUERY, false},
	{"GET", "/v1/events", OWN_TENANT(event_stream_get), QUERY("after", "follow", "restore"), false},
	{"GET", "/v1/status", ADMIN(status_get), NO_QUERY, false},
	{"GET", "/v1/restores", OWN_TENANT(api_restores_list),
	 QUERY("tenant", "state", "limit", "page_token"), false},
	{"POST", "/v1/restores", NEW_RESTORE(api_restores_post), NO_QUERY, true},
	{"PUT", "/v1/restores/{id}", NEW_RESTORE(api_restores_put), NO_QUERY, true},
	{"GET", "/v1/restores/{id}", OWN_RESTORE(api_restores_get), QUERY("for", "wait"), false},
	{"DELETE", "/v1/restores/{id}", OWN_RESTORE(api_restores_delete), QUERY("grace", "kill"),
	 false},
	{"PUT", "/v1/restores/{id}/prefetch", OWN_RESTORE(api_restores_prefetch), NO_QUERY, true},
	{"GET", "/v1/restores/{id}/pages", OWN_RESTORE(api_restores_pages), QUERY("offset", "limit"),
	 false},
	{"GET", "/v1/restores/{id}/working-set", OWN_RESTORE(api_restores_working_set), NO_QUERY,
	 false},
	{"POST", "/v1/restores/{id}/pause", OWN_RESTORE(api_restores_pause), NO_QUERY, false},
	{"POST", "/v1/restores/{id}/resume", OWN_RESTORE(api_restores_resume), NO_QUERY, false},
	{"POST", "/v1/restores/{id}/restart-worker", OWN_RESTORE(api_restores_restart_worker),
	 NO_QUERY, false},
};
/* clang-format on */

const struct route *routes_at(size_t i)
{
	return i < ARRAY_LEN(routes) ? &routes[i] : NULL;
}

/* ---- find the row ---- */

/* Does @path fit @pattern? The segment at {id} goes to @ret_id, cut if too long for an id. */
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
		snprintf(ret_allow + used, len - used, "%s%s", used ? ", " : "", routes[i].method);
	}
	return NULL;
}

static int no_route(struct http_request *req, const char *allow, struct err *err)
{
	if (!allow[0])
		return err_set(err, ERR_NOTFOUND,
			       "there is nothing at %.200s; the API is below "
			       "/v1",
			       http_path(req));
	http_reply_header(req, "Allow", allow);
	return err_set(err, ERR_METHOD, "%s is not a method of %s, these are: %s", http_method(req),
		       http_path(req), allow);
}

static int check_query(const struct route *route, struct http_request *req, struct err *err)
{
	const char *key;

	for (size_t i = 0; (key = http_query_key(req, i)); i++) {
		bool known = false;

		for (size_t k = 0; route->query[k]; k++)
			known = known || strcmp(route->query[k], key) == 0;
		if (!known)
			return err_set(err, ERR_INVALID, "%.100s: is not a parameter of %s", key,
				       route->path);
	}
	return 0;
}

static int read_body(const struct route *route, struct api_request *c, struct err *err)
{
	size_t len;
	const void *text = http_body(c->req, &len);

	if (!route->body)
		return len ? err_set(err, ERR_INVALID, "%s %s takes no body", route->method,
				     route->path)
			   : 0;
	c->body = js_parse(text ? text : "", len, false, err);
	return c->body ? 0 : err_wrap(err, "body");
}

/* ---- rights ---- */

/* The daemon's status is the only thing that is the admin's alone. */
static int check_admin(const struct tenant_caller *caller, struct err *err)
{
	if (tenant_is_admin(caller))
		return 0;
	return err_set(err, ERR_DENIED,
		       "uid %ju may not see the daemon's status: root and the "
		       "daemon's own user may",
		       (uintmax_t)caller->uid);
}

/* A restore of another tenant looks like none. */
static struct restore *own_restore(const struct api_request *c, const struct tenant_caller *caller,
				   struct err *err)
{
	struct restore *r = supervisor_find(c->sup, c->id);

	if (r && tenant_may_see(caller, r->rec.tenant))
		return r;
	err_set(err, ERR_NOTFOUND, "there is no restore %s", c->id);
	return NULL;
}

/* The tenant that a new restore is for: as the body says, else the caller's own. */
static const char *tenant_of_new(const struct api_request *c, const struct tenant_caller *caller,
				 struct err *err)
{
	const char *tenant = caller->tenant;
	bool named;

	if (js_string((struct js_at){c->body, ""}, "tenant", PROTO_ID_MAX, &tenant, &named, err) ||
	    tenant_may_act(caller, tenant, err))
		return NULL;
	return tenant;
}

int routes_call(const struct route *route, const struct tenant_caller *caller,
		struct api_request *c, struct err *err)
{
	const char *tenant;
	struct restore *r;

	switch (route->right) {
	case RIGHT_ANYBODY:
		return route->handle.plain(c, err);
	case RIGHT_NEW_RESTORE:
		tenant = tenant_of_new(c, caller, err);
		return tenant ? route->handle.of_tenant(c, tenant, err) : -1;
	case RIGHT_ADMIN:
		return check_admin(caller, err) ? -1 : route->handle.plain(c, err);
	case RIGHT_OWN_TENANT:
		return route->handle.of_tenant(c, tenant_only(caller), err);
	case RIGHT_OWN_RESTORE:
		r = own_restore(c, caller, err);
		return r ? route->handle.of_restore(c, r, err) : -1;
	case RIGHT_NONE:
		break;
	}
	return err_set(err, ERR_DENIED, "nobody may %s %s", route->method, route->path);
}

/* ---- a request ---- */

static int dispatch(struct api_request *c, struct err *err)
{
	char allow[128], id[PROTO_ID_MAX + 2];
	const struct route *route = find_route(http_method(c->req), http_path(c->req), id, allow,
					       sizeof(allow));
	struct tenant_caller caller;

	if (!route)
		return no_route(c->req, allow, err);
	if (id[0] && !proto_id_valid(id))
		return err_set(err, ERR_INVALID,
			       "id: must be 1 to %d of A-Z a-z 0-9 . _ -, "
			       "beginning with a letter or digit",
			       PROTO_ID_MAX);
	snprintf(c->id, sizeof(c->id), "%.*s", PROTO_ID_MAX, id);
	if (check_query(route, c->req, err) || read_body(route, c, err))
		return -1;
	tenant_resolve(http_peer(c->req), &caller);
	return routes_call(route, &caller, c, err);
}

void routes_answer(struct api_request *c)
{
	struct err err;

	if (dispatch(c, &err))
		api_problem(c->req, &err);
	json_object_put(c->body);
}
