#include "ctl/tenant.h"

#include <string.h>

#include "common/parse.h"
#include "ctl/member.h"
#include "ctl/paging.h"
#include "ctl/render.h"

const struct args_option tenant_options[] = {
	{"uid", 0, "UID", ARGS_UID, true,
	 "user that acts for the tenant; the users given replace those it has"},
	{"gid", 0, "GID", ARGS_GID, true,
	 "group whose users act for the tenant; the groups given replace those it has"},
	{"no-uids", 0, NULL, ARGS_FLAG, false, "take all users from the tenant"},
	{"no-gids", 0, NULL, ARGS_FLAG, false, "take all groups from the tenant"},
	{"prefetch-share", 0, "N", ARGS_U64, false,
	 "its turns at prefetch, relative to other tenants"},
	{"budget", 0, "NAME=N|NAME=default", ARGS_BUDGET, true,
	 "how much it may have; K, M and G are powers of 1024, default is the host's"},
	{0},
};

/* Options that replace a list of numbers, or empty it. */
static const struct {
	const char *option, *none, *key;
} lists[] = {
	{"uid", "no-uids", "uids"},
	{"gid", "no-gids", "gids"},
};

/* What the daemon tells of a tenant, and a definition must not say. */
static const char *const told[] = {"name", "origin", "usage", "cgroup"};

static const char *next_value(const struct ctl *ctl, const char *option, size_t *at)
{
	return args_next(&ctl->args, tenant_options, option, at);
}

static void tenant_target(const struct ctl *ctl, char *target)
{
	snprintf(target, CTL_TARGET_MAX, "/v1/tenants/%s", ctl->args.words[1]);
}

static int list_run(struct ctl *ctl)
{
	const struct paging list = {"/v1/tenants?limit=1000", "tenants", render_tenants};

	return paging_list(ctl, &list);
}

static int show_run(struct ctl *ctl)
{
	char target[CTL_TARGET_MAX];
	struct client_request req = {"GET", target};

	tenant_target(ctl, target);
	return ctl_show(ctl, &req, render_tenant);
}

static int rm_run(struct ctl *ctl)
{
	char target[CTL_TARGET_MAX];
	struct client_request req = {"DELETE", target};

	tenant_target(ctl, target);
	return ctl_show(ctl, &req, render_name);
}

/* ---- set ---- */

/* The first option of the verb that was given, or NULL. */
static const char *first_option(const struct ctl *ctl)
{
	for (const struct args_option *o = tenant_options; o->name; o++)
		if (ctl_option(ctl, o->name))
			return o->name;
	return NULL;
}

static int check_budgets(const struct ctl *ctl, struct err *err)
{
	cleanup_json struct json_object *seen = json_object_new_object();
	struct args_budget budget;
	const char *value;

	for (size_t at = 0; (value = next_value(ctl, "budget", &at));) {
		if (!args_budget(value, &budget))
			continue;
		if (json_object_object_get_ex(seen, budget.name, NULL))
			return err_set(err, ERR_INVALID, "--budget gives %s twice", budget.name);
		js_add_bool(seen, budget.name, true);
	}
	return 0;
}

static int check_set(const struct ctl *ctl, struct err *err)
{
	if (!first_option(ctl))
		return err_set(err, ERR_INVALID,
			       "--uid, --gid, --no-uids, --no-gids, --prefetch-share "
			       "or --budget is missing");
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (ctl_option(ctl, lists[i].option) && ctl_option(ctl, lists[i].none))
			return err_set(err, ERR_INVALID, "give only one of --%s and --%s",
				       lists[i].option, lists[i].none);
	return check_budgets(ctl, err);
}

/* The definition as it is, owned by the caller; empty if there is no such tenant. */
static int definition(struct ctl *ctl, const char *target, struct json_object **ret,
		      struct err *err)
{
	struct client_request req = {"GET", target};

	if (ctl_call(ctl, &req, ret, err) < 0) {
		if (err->code != ERR_NOTFOUND)
			return -1;
		*ret = json_object_new_object();
	}
	for (size_t i = 0; i < ARRAY_LEN(told); i++)
		json_object_object_del(*ret, told[i]);
	return 0;
}

static void replace_numbers(const struct ctl *ctl, const char *option, struct json_object *tenant,
			    const char *key)
{
	struct json_object *numbers = json_object_new_array();
	const char *value;
	uint64_t n = 0;

	for (size_t at = 0; (value = next_value(ctl, option, &at));)
		if (parse_u64(value, 0, UINT32_MAX, &n))
			json_object_array_add(numbers, json_object_new_int64((int64_t)n));
	json_object_object_add(tenant, key, numbers);
}

static void change_budgets(const struct ctl *ctl, struct json_object *tenant)
{
	struct json_object *budgets = member_at(tenant, "budgets");
	struct args_budget budget;
	const char *value;

	if (!json_object_is_type(budgets, json_type_object)) {
		budgets = json_object_new_object();
		json_object_object_add(tenant, "budgets", budgets);
	}
	for (size_t at = 0; (value = next_value(ctl, "budget", &at));) {
		if (!args_budget(value, &budget))
			continue;
		if (budget.by_default)
			json_object_object_del(budgets, budget.name);
		else
			js_add_u64(budgets, budget.name, budget.limit);
	}
}

static void change(const struct ctl *ctl, struct json_object *tenant)
{
	const char *share = ctl_option(ctl, "prefetch-share");
	uint64_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (ctl_option(ctl, lists[i].option) || ctl_option(ctl, lists[i].none))
			replace_numbers(ctl, lists[i].option, tenant, lists[i].key);
	if (share && parse_u64(share, 0, INT64_MAX, &n))
		js_add_u64(tenant, "prefetch_share", n);
	if (ctl_option(ctl, "budget"))
		change_budgets(ctl, tenant);
}

static int set_run(struct ctl *ctl)
{
	cleanup_json struct json_object *tenant = NULL;
	char target[CTL_TARGET_MAX];
	struct client_request req = {"PUT", target};
	struct err err;

	if (check_set(ctl, &err) < 0)
		return ctl_usage(ctl, &err);
	tenant_target(ctl, target);
	if (definition(ctl, target, &tenant, &err) < 0)
		return ctl_fail(ctl, &err);
	change(ctl, tenant);
	req.body = tenant;
	return ctl_show(ctl, &req, render_tenant);
}

/* ---- the words behind the verb ---- */

static const struct action {
	const char *name;
	struct args_words words; /* behind the name */
	int (*run)(struct ctl *ctl);
} actions[] = {
	{"list", {"", 0, 0, 0}, list_run},
	{"show", {"NAME", 1, 1, 1}, show_run},
	{"set", {"NAME", 1, 1, 1}, set_run},
	{"rm", {"NAME", 1, 1, 1}, rm_run},
};

static const struct action *find_action(const struct ctl *ctl, struct err *err)
{
	const char *name = ctl->args.nwords ? ctl->args.words[0] : NULL;

	for (size_t i = 0; name && i < ARRAY_LEN(actions); i++)
		if (strcmp(actions[i].name, name) == 0)
			return &actions[i];
	if (name)
		err_set(err, ERR_INVALID, "list, show, set or rm is wanted, not \"%.200s\"", name);
	else
		err_set(err, ERR_INVALID, "list, show, set or rm is missing");
	return NULL;
}

int tenant_run(struct ctl *ctl)
{
	const char *option = first_option(ctl);
	const struct action *action;
	struct err err;

	action = find_action(ctl, &err);
	if (!action || args_check_words(&ctl->args, 1, &action->words, &err) < 0)
		return ctl_usage(ctl, &err);
	if (option && action->run != set_run) {
		err_set(&err, ERR_INVALID, "--%s goes with set only", option);
		return ctl_usage(ctl, &err);
	}
	return action->run(ctl);
}
