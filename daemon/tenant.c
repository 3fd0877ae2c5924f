#include "daemon/tenant.h"

#include <string.h>

int tenant_check_name(const char *name, struct err *err)
{
	if (proto_id_valid(name))
		return 0;
	return err_set(err, ERR_INVALID,
		       "tenant: must be a letter or digit and up to %d more of "
		       "letters, digits, '.', '_' and '-'",
		       PROTO_ID_MAX - 1);
}

void tenant_init(struct tenant *ret, const char *name)
{
	*ret = (struct tenant){.prefetch_share = 1};
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	budget_init(&ret->budgets);
}

static int parse_budgets(struct js_at at, struct budgets *ret, struct err *err)
{
	struct json_object *o = NULL;
	char path[JS_PATH_MAX];
	bool have;

	if (js_object(at, "budgets", &o, &have, err))
		return -1;
	return have ? budget_parse(js_into(at, "budgets", o, path), ret, err) : 0;
}

static int parse_share(struct js_at at, uint64_t *ret, struct err *err)
{
	bool have;

	if (js_u64(at, "prefetch_share", TENANT_SHARE_MAX, ret, &have, err))
		return -1;
	if (*ret)
		return 0;
	return err_set(err, ERR_INVALID, "%s%sprefetch_share: must be from 1 to %d", at.path,
		       *at.path ? "." : "", TENANT_SHARE_MAX);
}

/* As the worker compares it with paths: absolute, and each component a name. */
static bool is_root(const char *path)
{
	if (strcmp(path, "/") == 0)
		return true;
	for (size_t len; *path; path += len) {
		if (*path++ != '/')
			return false;
		len = strcspn(path, "/");
		if (len == 0 || (len == 1 && path[0] == '.') ||
		    (len == 2 && path[0] == '.' && path[1] == '.'))
			return false;
	}
	return true;
}

static int parse_roots(struct js_at at, struct tenant *t, struct err *err)
{
	struct json_object *list = NULL;
	char path[JS_PATH_MAX];
	struct js_at each;
	bool have;
	size_t n;

	if (js_array(at, "snapshot_roots", TENANT_ROOTS_MAX, &list, &have, err))
		return -1;
	n = list ? json_object_array_length(list) : 0;
	each = js_into(at, "snapshot_roots", list, path);
	t->roots = xcalloc(n + 1, sizeof(*t->roots));
	for (; t->nroots < n; t->nroots++) {
		const char *text = NULL;

		if (js_string_at(each, t->nroots, TENANT_ROOT_BYTES_MAX, &text, err))
			return -1;
		if (!*text || !is_root(text))
			return err_set(err, ERR_INVALID,
				       "%s[%zu]: must be an absolute path without \"//\", \".\", "
				       "\"..\" and a slash at its end",
				       path, t->nroots);
		t->roots[t->nroots] = strdup(text);
		if (!t->roots[t->nroots])
			abort();
	}
	return 0;
}

static struct json_object *roots_json(const struct tenant *t)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < t->nroots; i++)
		json_object_array_add(list, json_object_new_string(t->roots[i]));
	return list;
}

int tenant_parse(struct js_at at, const char *name, struct tenant *ret, struct err *err)
{
	static const char *const keys[] = {"uids",           "gids",    "snapshot_roots",
					   "prefetch_share", "budgets", NULL};
	struct tenant t;

	if (tenant_check_name(name, err))
		return -1;
	tenant_init(&t, name);
	if (js_known(at, keys, err) || parse_share(at, &t.prefetch_share, err) ||
	    parse_budgets(at, &t.budgets, err) || parse_roots(at, &t, err) ||
	    user_set_parse(at, &t.users, err)) {
		tenant_fini(&t);
		return -1;
	}
	*ret = t;
	return 0;
}

void tenant_json(const struct tenant *t, struct json_object *o)
{
	user_set_json(&t->users, o);
	json_object_object_add(o, "snapshot_roots", roots_json(t));
	js_add_u64(o, "prefetch_share", t->prefetch_share);
	json_object_object_add(o, "budgets", budget_json(&t->budgets));
}

void tenant_fini(struct tenant *t)
{
	user_set_fini(&t->users);
	for (size_t i = 0; i < t->nroots; i++)
		free(t->roots[i]);
	free(t->roots);
	t->roots = NULL;
	t->nroots = 0;
}
