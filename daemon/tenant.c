#include "daemon/tenant.h"

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

int tenant_parse(struct js_at at, const char *name, struct tenant *ret, struct err *err)
{
	static const char *const keys[] = {"uids", "gids", "prefetch_share", "budgets", NULL};
	struct tenant t;

	if (tenant_check_name(name, err))
		return -1;
	tenant_init(&t, name);
	if (js_known(at, keys, err) || parse_share(at, &t.prefetch_share, err) ||
	    parse_budgets(at, &t.budgets, err) || user_set_parse(at, &t.users, err))
		return -1;
	*ret = t;
	return 0;
}

void tenant_json(const struct tenant *t, struct json_object *o)
{
	user_set_json(&t->users, o);
	js_add_u64(o, "prefetch_share", t->prefetch_share);
	json_object_object_add(o, "budgets", budget_json(&t->budgets));
}

void tenant_fini(struct tenant *t)
{
	user_set_fini(&t->users);
}
