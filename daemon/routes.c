#include "daemon/routes.h"

#include <string.h>

#include "daemon/api_restores.h"
#include "daemon/api_tenants.h"
#include "daemon/caller.h"
#include "daemon/event_stream.h"
#include "daemon/pace.h"
#include "daemon/status.h"
#include "daemon/supervisor.h"

/* ---- the table ---- */

/* Right and handler go together: a handler that takes a restore fits into no other row. */
/* clang-format off */
#define ANYBODY(fn) RIGHT_ANYBODY, {.plain = (fn)}
#define ADMIN(fn) RIGHT_ADMIN, {.plain = (fn)}
#define SEE_HOST(fn) RIGHT_SEE_HOST, {.plain = (fn)}
#define SEE_TENANT(fn) RIGHT_SEE_TENANT, {.of_tenant = (fn)}
#define SEE_THE_TENANT(fn) RIGHT_SEE_THE_TENANT, {.of_tenant = (fn)}
#define NEW_RESTORE(fn) RIGHT_NEW_RESTORE, {.of_tenant = (fn)}
#define SEE_RESTORE(fn) RIGHT_SEE_RESTORE, {.of_restore = (fn)}
#define STOP_RESTORE(fn) RIGHT_STOP_RESTORE, {.of_restore = (fn)}
#define CHANGE_RESTORE(fn) RIGHT_CHANGE_RESTORE, {.of_restore = (fn)}
/* clang-format on */

#define QUERY(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NO_QUERY ((const char *const[]){NULL})

/* clang-format off */
static const struct route routes[] = {
	{"GET", "/healthz", ANYBODY(status_healthz), NO_QUERY, false},
	{"GET", "/readyz", ANYBODY(status_readyz), NO_QUERY, false},
	{"GET", "/version", ANYBODY(status_version), NO_QUERY, false},
	{"GET", "/v1/events", SEE_TENANT(event_stream_get),
	 QUERY("tenant", "after", "follow", "restore"), false},
	{"GET", "/v1/status", SEE_HOST(status_get), NO_QUERY, false},
	{"GET", "/v1/tenants", SEE_TENANT(api_tenants_list), QUERY("limit", "page_token"), false},
	{"GET", "/v1/tenants/{name}", SEE_THE_TENANT(api_tenants_get), NO_QUERY, false},
	{"PUT", "/v1/tenants/{name}", ADMIN(api_tenants_put), NO_QUERY, true},
	{"DELETE", "/v1/tenants/{name}", ADMIN(api_tenants_delete), NO_QUERY, false},
	{"GET", "/v1/restores", SEE_TENANT(api_restores_list),
	 QUERY("tenant", "state", "limit", "page_token"), false},
	{"POST", "/v1/restores", NEW_RESTORE(api_restores_post), NO_QUERY, true},
	{"PUT", "/v1/restores/{id}", NEW_RESTORE(api_restores_put), NO_QUERY, true},
	{"GET", "/v1/restores/{id}", SEE_RESTORE(api_restores_get), QUERY("tenant", "for", "wait"),
	 false},
	{"DELETE", "/v1/restores/{id}", STOP_RESTORE(api_restores_delete),
	 QUERY("tenant", "grace", "kill"), false},
	{"PUT", "/v1/restores/{id}/prefetch", CHANGE_RESTORE(api_restores_prefetch),
	 QUERY("tenant"), true},
	{"GET", "/v1/restores/{id}/pages", SEE_RESTORE(api_restores_pages),
	 QUERY("tenant", "offset", "limit"), false},
	{"GET", "/v1/restores/{id}/working-set", SEE_RESTORE(api_restores_working_set),
	 QUERY("tenant"), false},
	{"POST", "/v1/restores/{id}/pause", CHANGE_RESTORE(api_restores_pause), QUERY("tenant"),
	 false},
	{"POST", "/v1/restores/{id}/resume", CHANGE_RESTORE(api_restores_resume), QUERY("tenant"),
	 false},
	{"POST", "/v1/restores/{id}/restart-worker", CHANGE_RESTORE(api_restores_restart_worker),
	 QUERY("tenant"), false},
};
/* clang-format on */

const struct route *routes_at(size_t i)
{
	return i < ARRAY_LEN(routes) ? &routes[i] : NULL;
}

/* ---- find the row ---- */

/* Does @path fit @pattern? The segment at {…} goes to @ret_id, cut if too long for an id. */
static bool fits(const char *pattern, const char *path, char ret_id[PROTO_ID_MAX + 2])
{
	const char *hole = strchr(pattern, '{');
	size_t head, len;

	ret_id[0] = '\0';
	if (!hole)
		return strcmp(pattern, path) == 0;
	head = (size_t)(hole - pattern);
	if (strncmp(pattern, path, head) != 0)
		return false;
	len = strcspn(path + head, "/");
	if (len == 0 || strcmp(strchr(hole, '}') + 1, path + head + len) != 0)
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

static int read_tenant(struct api_request *c, struct err *err)
{
	c->tenant = http_query(c->req, "tenant");
	if (!c->tenant || proto_id_valid(c->tenant))
		return 0;
	return err_set(err, ERR_INVALID, "tenant: is not a tenant's name");
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

static int check_role(const struct route *route, const struct caller *caller,
		      enum caller_role least, struct err *err)
{
	if (caller->role >= least)
		return 0;
	return err_set(err, ERR_DENIED, "uid %ju may not %s %s: %s may", (uintmax_t)caller->uid,
		       route->method, route->path,
		       least == ROLE_ADMIN ? "only admins" : "admins and observers");
}

/* A tenant that is not the caller's looks like none. */
static int check_tenant(const struct caller *caller, const char *name, struct err *err)
{
	if (caller_may_see(caller, name))
		return 0;
	return err_set(err, ERR_NOTFOUND, "there is no tenant %s", name);
}

/* Do several tenants, whose restores the caller sees, have one of that id? */
static int check_unique(const struct api_request *c, const struct restore *first, struct err *err)
{
	const struct restore *next = supervisor_next(c->sup, c->id, first->rec.tenant);

	if (!next || strcmp(next->rec.id, c->id) != 0)
		return 0;
	return err_set(err, ERR_INVALID,
		       "tenant: is missing: tenants %s and %s have a restore %s each",
		       first->rec.tenant, next->rec.tenant, c->id);
}

/*
 * Without a tenant named: the caller's own, else the only one that it may see. A restore of another
 * tenant looks like none.
 */
static struct restore *find_restore(const struct api_request *c, const struct caller *caller,
				    struct err *err)
{
	const char *tenant = c->tenant ? c->tenant : caller->tenant;
	struct restore *r = supervisor_find(c->sup, c->id, tenant);

	if (!r && !c->tenant && !caller_only(caller)) {
		r = supervisor_find(c->sup, c->id, NULL);
		if (r && check_unique(c, r, err))
			return NULL;
	}
	if (r && caller_may_see(caller, r->rec.tenant))
		return r;
	err_set(err, ERR_NOTFOUND, "there is no restore %s", c->id);
	return NULL;
}

/* The tenant that a new restore is for: as the body says, else the caller's own. */
static const char *tenant_of_new(const struct api_request *c, const struct caller *caller,
				 struct err *err)
{
	const char *tenant = caller->tenant;
	bool named;

	if (js_string((struct js_at){c->body, ""}, "tenant", PROTO_ID_MAX, &tenant, &named, err) ||
	    caller_check_act(caller, tenant, err))
		return NULL;
	return tenant;
}

/* Each command may cost an event, and its worker a look. Nobody is kept from a stop. */
static int check_pace(const struct api_request *c, const struct caller *caller, struct err *err)
{
	const struct host *host = &c->sup->host;
	uint64_t wait_us = 0, wait_ms;
	uint64_t per_s = tenants_budget(&host->tenants, &host->conf, caller->tenant,
					BUDGET_COMMANDS);

	if (caller->role != ROLE_TENANT ||
	    (per_s && pace_take(c->commands, caller->tenant, per_s, now_us(), &wait_us)))
		return 0;
	wait_ms = wait_us / 1000 + 1;
	return err_set(err, ERR_QUOTA, "tenant %s has its budget of %llu %s: try again in %llu ms",
		       caller->tenant, (unsigned long long)per_s, budget_name(BUDGET_COMMANDS),
		       (unsigned long long)wait_ms);
}

static int check_change(const struct route *route, const struct caller *caller,
			const struct api_request *c, const char *tenant, struct err *err)
{
	if (route->right == RIGHT_SEE_RESTORE)
		return 0;
	if (caller_check_act(caller, tenant, err))
		return -1;
	return route->right == RIGHT_CHANGE_RESTORE ? check_pace(c, caller, err) : 0;
}

static int call_of_restore(const struct route *route, const struct caller *caller,
			   struct api_request *c, struct err *err)
{
	struct restore *r = find_restore(c, caller, err);

	if (!r || check_change(route, caller, c, r->rec.tenant, err))
		return -1;
	return route->handle.of_restore(c, r, err);
}

static int call_of_new(const struct route *route, const struct caller *caller,
		       struct api_request *c, struct err *err)
{
	const char *tenant = tenant_of_new(c, caller, err);

	return tenant ? route->handle.of_tenant(c, tenant, err) : -1;
}

static int call(const struct route *route, const struct caller *caller, struct api_request *c,
		struct err *err)
{
	switch (route->right) {
	case RIGHT_ANYBODY:
		return route->handle.plain(c, err);
	case RIGHT_ADMIN:
		return check_role(route, caller, ROLE_ADMIN, err) ? -1
								  : route->handle.plain(c, err);
	case RIGHT_SEE_HOST:
		return check_role(route, caller, ROLE_OBSERVER, err) ? -1
								     : route->handle.plain(c, err);
	case RIGHT_SEE_TENANT:
		return route->handle.of_tenant(c, caller_only(caller), err);
	case RIGHT_SEE_THE_TENANT:
		return check_tenant(caller, c->id, err) ? -1
							: route->handle.of_tenant(c, c->id, err);
	case RIGHT_NEW_RESTORE:
		return call_of_new(route, caller, c, err);
	case RIGHT_SEE_RESTORE:
	case RIGHT_STOP_RESTORE:
	case RIGHT_CHANGE_RESTORE:
		return call_of_restore(route, caller, c, err);
	case RIGHT_NONE:
		break;
	}
	return err_set(err, ERR_DENIED, "nobody may %s %s", route->method, route->path);
}

int routes_call(const struct route *route, const struct caller *caller, struct api_request *c,
		struct err *err)
{
	if (caller->role == ROLE_OUTSIDER && route->right != RIGHT_ANYBODY) {
		*err = caller->why;
		return -1;
	}
	return call(route, caller, c, err);
}

/* ---- a request ---- */

static int dispatch(struct api_request *c, struct err *err)
{
	char allow[128], id[PROTO_ID_MAX + 2];
	const struct route *route = find_route(http_method(c->req), http_path(c->req), id, allow,
					       sizeof(allow));
	struct caller caller;

	if (!route)
		return no_route(c->req, allow, err);
	if (id[0] && !proto_id_valid(id))
		return err_set(err, ERR_INVALID,
			       "%s: must be 1 to %d of A-Z a-z 0-9 . _ -, "
			       "beginning with a letter or digit",
			       strstr(route->path, "{id}") ? "id" : "name", PROTO_ID_MAX);
	snprintf(c->id, sizeof(c->id), "%.*s", PROTO_ID_MAX, id);
	if (check_query(route, c->req, err) || read_tenant(c, err) || read_body(route, c, err))
		return -1;
	caller_resolve(&c->sup->host.tenants, http_peer(c->req), &caller);
	return routes_call(route, &caller, c, err);
}

void routes_answer(struct api_request *c)
{
	struct err err;

	if (dispatch(c, &err))
		api_problem(c->req, &err);
	json_object_put(c->body);
}
