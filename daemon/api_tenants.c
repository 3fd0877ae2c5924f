#include "daemon/api_tenants.h"

#include <string.h>

#include "daemon/event_stream.h"
#include "daemon/placement.h"
#include "daemon/supervisor.h"
#include "daemon/tenant_store.h"
#include "daemon/usage.h"

#define LIST_DEFAULT 100
#define LIST_MAX 1000

/* ---- view ---- */

/* {"restores": {"used": 3, "limit": 100}, …} */
static struct json_object *usage_json(const struct supervisor *sup, const char *name)
{
	struct json_object *o = json_object_new_object();
	struct usage usage;

	usage_count(&sup->table, sup->host.pool, name, &usage);
	for (enum budget b = 0; b < BUDGET_COUNT; b++) {
		struct json_object *row = json_object_new_object();
		uint64_t limit = tenants_budget(&sup->host.tenants, &sup->host.conf, name, b);

		if (budget_is_counted(b))
			js_add_u64(row, "used", usage.of[b]);
		else
			json_object_object_add(row, "used", NULL);
		if (!limit && budget_is_of_cgroup(b))
			json_object_object_add(row, "limit", NULL);
		else
			js_add_u64(row, "limit", limit);
		json_object_object_add(o, budget_name(b), row);
	}
	return o;
}

/* A tenant that is not listed has nobody who acts for it but admins, or is a user of its own. */
static struct json_object *view(const struct supervisor *sup, const char *name)
{
	const struct tenant *t = tenants_find(&sup->host.tenants, name);
	struct json_object *o = json_object_new_object();
	struct tenant unlisted;

	tenant_init(&unlisted, name);
	js_add_string(o, "name", name);
	js_add_string(o, "origin", !t ? "implicit" : t->configured ? "file" : "api");
	tenant_json(t ? t : &unlisted, o);
	json_object_object_add(o, "usage", usage_json(sup, name));
	return o;
}

/* The same with what the kernel counts, which is too much to ask for a whole list. */
static struct json_object *view_one(const struct supervisor *sup, const char *name)
{
	struct json_object *o = view(sup, name);

	json_object_object_add(o, "cgroup", placement_json(&sup->host, name));
	return o;
}

static bool exists(const struct supervisor *sup, const char *name)
{
	return tenants_find(&sup->host.tenants, name) || usage_any(&sup->table, name);
}

/* ---- list ---- */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All names, sorted, some more than once; the array is the caller's, the names are borrowed. */
static const char **names(const struct supervisor *sup, const char *only, size_t *ret_n)
{
	const struct tenants *ts = &sup->host.tenants;
	const char **list = xcalloc(ts->n + sup->table.n + 1, sizeof(*list));
	size_t n = 0;

	if (only)
		list[n++] = only;
	for (size_t i = 0; !only && i < ts->n; i++)
		list[n++] = ts->v[i]->name;
	for (size_t i = 0; !only && i < sup->table.n; i++)
		list[n++] = sup->table.v[i]->rec.tenant;
	qsort(list, n, sizeof(*list), by_text);
	*ret_n = n;
	return list;
}

/* Returns NULL, or the token of the next page: the last name that is listed. */
static const char *add_items(const struct api_request *c, const char *only, const char *after,
			     uint64_t limit, struct json_object *items)
{
	size_t n, added = 0;
	cleanup_free const char **list = names(c->sup, only, &n);
	const char *last = after;

	for (size_t i = 0; i < n; i++) {
		if (strcmp(list[i], last) <= 0)
			continue;
		if (added++ == limit)
			return last;
		last = list[i];
		json_object_array_add(items, view(c->sup, last));
	}
	return NULL;
}

int api_tenants_list(struct api_request *c, const char *only, struct err *err)
{
	const char *token = http_query(c->req, "page_token");
	uint64_t limit = LIST_DEFAULT;
	struct json_object *o, *items;

	if (token && !proto_id_valid(token))
		return err_set(err, ERR_INVALID, "page_token: is not one of ours");
	if (api_query_u64(c, "limit", 1, LIST_MAX, &limit, err))
		return -1;
	o = json_object_new_object();
	items = json_object_new_array();
	token = add_items(c, only, token ? token : "", limit, items);
	json_object_object_add(o, "items", items);
	js_add_string(o, "next_page_token", token);
	api_reply(c->req, 200, o);
	return 0;
}

int api_tenants_get(struct api_request *c, const char *name, struct err *err)
{
	if (!exists(c->sup, name))
		return err_set(err, ERR_NOTFOUND, "there is no tenant %s", name);
	api_reply(c->req, 200, view_one(c->sup, name));
	return 0;
}

/* ---- changes ---- */

/* Whoever reads events may have lost the right to, or has other ones now. */
static void publish(struct api_request *c, const char *type)
{
	struct json_object *data = json_object_new_object();

	js_add_string(data, "tenant", c->id);
	js_add_u64(data, "by_uid", http_peer(c->req)->uid);
	journal_add(c->sup->host.journal, NULL, type, data);
	event_streams_recheck(c->streams, &c->sup->host.tenants);
}

int api_tenants_put(struct api_request *c, struct err *err)
{
	struct tenants *ts = &c->sup->host.tenants;
	bool made = !tenants_find(ts, c->id);
	struct tenant t;
	int rc;

	if (tenant_parse((struct js_at){c->body, ""}, c->id, &t, err))
		return -1;
	rc = placement_check(&c->sup->host, &t, err) ||
	     tenant_store_put(c->sup->host.store, ts, &t, err);
	tenant_fini(&t);
	if (rc)
		return -1;
	placement_changed(&c->sup->host, c->id);
	publish(c, "tenant-set");
	api_reply(c->req, made ? 201 : 200, view_one(c->sup, c->id));
	return 0;
}

int api_tenants_delete(struct api_request *c, struct err *err)
{
	struct tenants *ts = &c->sup->host.tenants;
	struct json_object *was;
	struct usage usage;

	usage_count(&c->sup->table, c->sup->host.pool, c->id, &usage);
	if (usage.of[BUDGET_RESTORES])
		return err_set(err, ERR_STATE, "tenant %s has %llu live restores: end them first",
			       c->id, (unsigned long long)usage.of[BUDGET_RESTORES]);
	was = view_one(c->sup, c->id);
	if (tenant_store_remove(c->sup->host.store, ts, c->id, err)) {
		json_object_put(was);
		return -1;
	}
	placement_changed(&c->sup->host, c->id);
	publish(c, "tenant-removed");
	api_reply(c->req, 200, was);
	return 0;
}
