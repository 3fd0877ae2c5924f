#include "daemon/tenant_store.h"

#include <string.h>

#include "daemon/log.h"

static int read_row(const char *name, const char *definition, struct tenant *ret, struct err *err)
{
	cleanup_json struct json_object *o = js_parse(definition, strlen(definition), false, err);

	if (o && tenant_parse((struct js_at){o, ""}, name, ret, err) == 0)
		return 0;
	err->code = ERR_SYSTEM;
	return err_wrap(err, "the store's row of tenant %.64s", name);
}

static int on_row(void *arg, const char *name, const char *definition, struct err *err)
{
	struct tenants *ts = arg;
	struct tenant t;

	if (read_row(name, definition, &t, err))
		return -1;
	if (tenants_check(ts, &t, err)) {
		log_warning("a stored tenant is left out", "tenant=%s why=%s", name, err->msg);
		tenant_fini(&t);
		return 0;
	}
	tenants_put(ts, &t);
	return 0;
}

int tenant_store_load(struct store *store, struct tenants *ts, struct err *err)
{
	return store_tenants(store, on_row, ts, err);
}

int tenant_store_put(struct store *store, struct tenants *ts, struct tenant *t, struct err *err)
{
	cleanup_json struct json_object *o = json_object_new_object();

	tenant_json(t, o);
	if (tenants_check(ts, t, err) ||
	    store_put_tenant(store, t->name,
			     json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), err))
		return -1;
	tenants_put(ts, t);
	return 0;
}

int tenant_store_remove(struct store *store, struct tenants *ts, const char *name, struct err *err)
{
	const struct tenant *t = tenants_find(ts, name);

	if (!t)
		return err_set(err, ERR_NOTFOUND, "there is no tenant %s", name);
	if (t->configured)
		return err_set(err, ERR_STATE, "tenant %s is in the tenants file: remove it there",
			       name);
	if (store_drop_tenant(store, name, err))
		return -1;
	tenants_remove(ts, name);
	return 0;
}
