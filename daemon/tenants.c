#include "daemon/tenants.h"

#include <string.h>

#include "daemon/json_file.h"

/* ---- by name ---- */

/* The index of @name, or where it belongs. */
static size_t position(const struct tenants *ts, const char *name, bool *ret_found)
{
	size_t lo = 0, hi = ts->n;

	*ret_found = false;
	while (lo < hi && !*ret_found) {
		size_t mid = lo + (hi - lo) / 2;
		int cmp = strcmp(ts->v[mid]->name, name);

		*ret_found = cmp == 0;
		if (cmp < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return *ret_found ? hi : lo;
}

const struct tenant *tenants_find(const struct tenants *ts, const char *name)
{
	bool found;
	size_t at = position(ts, name, &found);

	return found ? ts->v[at] : NULL;
}

const struct tenant *tenants_next(const struct tenants *ts, const char *after)
{
	bool found;
	size_t at = position(ts, after, &found) + found;

	return at < ts->n ? ts->v[at] : NULL;
}

void tenants_put(struct tenants *ts, struct tenant *t)
{
	struct tenant *kept = xcalloc(1, sizeof(*kept));
	bool found;
	size_t at = position(ts, t->name, &found);

	*kept = *t;
	*t = (struct tenant){.configured = false};
	if (found) {
		tenant_fini(ts->v[at]);
		free(ts->v[at]);
	} else {
		struct tenant **v = xcalloc(ts->n + 1, sizeof(struct tenant *));

		for (size_t i = 0; i < ts->n; i++)
			v[i + (i >= at)] = ts->v[i];
		free(ts->v);
		ts->v = v;
		ts->n++;
	}
	ts->v[at] = kept;
}

void tenants_remove(struct tenants *ts, const char *name)
{
	bool found;
	size_t at = position(ts, name, &found);

	if (!found)
		return;
	tenant_fini(ts->v[at]);
	free(ts->v[at]);
	ts->n--;
	memmove(&ts->v[at], &ts->v[at + 1], (ts->n - at) * sizeof(struct tenant *));
}

/* ---- by user ---- */

int tenants_of(const struct tenants *ts, const struct sock_peer *peer, const struct tenant **ret,
	       struct err *err)
{
	const struct tenant *by_group = NULL, *other = NULL;

	for (size_t i = 0; i < ts->n; i++) {
		const struct tenant *t = ts->v[i];

		if (user_set_has_uid(&t->users, peer->uid)) {
			*ret = t;
			return 0;
		}
		if (!user_set_has_group_of(&t->users, peer))
			continue;
		if (by_group)
			other = t;
		else
			by_group = t;
	}
	if (other)
		return err_set(err, ERR_DENIED,
			       "groups of uid %ju belong to the tenants %s and %s: an "
			       "administrator has to name the uid in one of them",
			       (uintmax_t)peer->uid, by_group->name, other->name);
	*ret = by_group;
	return 0;
}

static int check_apart(const struct tenant *a, const struct tenant *b, struct err *err)
{
	for (size_t i = 0; i < a->users.nuids; i++)
		if (user_set_has_uid(&b->users, a->users.uids[i]))
			return err_set(err, ERR_CONFLICT, "uids: %u acts for tenant %s already",
				       a->users.uids[i], b->name);
	for (size_t i = 0; i < a->users.ngids; i++)
		if (user_set_has_gid(&b->users, a->users.gids[i]))
			return err_set(err, ERR_CONFLICT,
				       "gids: group %u acts for tenant %s already",
				       a->users.gids[i], b->name);
	return 0;
}

int tenants_check(const struct tenants *ts, const struct tenant *t, struct err *err)
{
	const struct tenant *old = tenants_find(ts, t->name);

	if (old && old->configured)
		return err_set(err, ERR_STATE, "tenant %s is in the tenants file: change it there",
			       t->name);
	if (!old && ts->n >= TENANTS_MAX)
		return err_set(err, ERR_QUOTA, "this host has %d tenants, which is the most",
			       TENANTS_MAX);
	for (size_t i = 0; i < ts->n; i++)
		if (ts->v[i] != old && check_apart(t, ts->v[i], err))
			return -1;
	return 0;
}

/* ---- what they may have ---- */

uint64_t tenants_budget(const struct tenants *ts, const struct conf *conf, const char *name,
			enum budget budget)
{
	const struct tenant *t = tenants_find(ts, name);
	struct budgets defaults;

	budget_init(&defaults);
	return budget_of(t ? &t->budgets : &defaults, budget, conf);
}

uint64_t tenants_prefetch_share(const struct tenants *ts, const char *name)
{
	const struct tenant *t = tenants_find(ts, name);

	return t ? t->prefetch_share : 1;
}

/* ---- the tenants file ---- */

static int parse_users(struct json_object *root, const char *key, struct user_set *ret,
		       struct err *err)
{
	static const char *const keys[] = {"uids", "gids", NULL};
	struct json_object *o = NULL;
	char path[JS_PATH_MAX];
	struct js_at at;
	bool have;

	if (js_object((struct js_at){root, ""}, key, &o, &have, err))
		return -1;
	at = js_into((struct js_at){root, ""}, key, o, path);
	return have && (js_known(at, keys, err) || user_set_parse(at, ret, err)) ? -1 : 0;
}

static int parse_tenant(struct tenants *ts, const char *name, struct json_object *o,
			struct err *err)
{
	struct tenant t;
	char path[JS_PATH_MAX];
	struct js_at at = js_into((struct js_at){NULL, "tenants"}, name, o, path);

	if (!json_object_is_type(o, json_type_object))
		return err_set(err, ERR_INVALID, "%s: must be an object", path);
	if (tenant_parse(at, name, &t, err))
		return -1;
	if (tenants_check(ts, &t, err)) {
		tenant_fini(&t);
		return err_wrap(err, "%s", path);
	}
	t.configured = true;
	tenants_put(ts, &t);
	return 0;
}

static int parse_tenants(struct tenants *ts, struct json_object *root, struct err *err)
{
	struct json_object *list = NULL;
	bool have;

	if (js_object((struct js_at){root, ""}, "tenants", &list, &have, err))
		return -1;
	if (!have)
		return 0;
	json_object_object_foreach(list, name, o) if (parse_tenant(ts, name, o, err)) return -1;
	return 0;
}

static int parse_file(struct tenants *ts, struct json_object *root, struct err *err)
{
	static const char *const keys[] = {"admins", "observers", "tenants", NULL};

	if (js_known((struct js_at){root, ""}, keys, err) ||
	    parse_users(root, "admins", &ts->admins, err) ||
	    parse_users(root, "observers", &ts->observers, err))
		return -1;
	return parse_tenants(ts, root, err);
}

static int load_file(struct tenants *ts, const char *path, struct err *err)
{
	cleanup_json struct json_object *root = NULL;

	if (json_file_read(path, TENANTS_FILE_BYTES_MAX, &root, err) == 0) {
		if (root && parse_file(ts, root, err) == 0)
			return 0;
		if (!root)
			err_set(err, ERR_PATH, "no such file: create it, or set no tenants_file");
	}
	return err_wrap(err, "%s", path);
}

int tenants_load(const struct conf *conf, struct tenants *ret, struct err *err)
{
	struct tenants ts = {.each_user = conf->each_user_is_tenant};

	if (conf->tenants_file[0] && load_file(&ts, conf->tenants_file, err)) {
		tenants_fini(&ts);
		return -1;
	}
	*ret = ts;
	return 0;
}

void tenants_fini(struct tenants *ts)
{
	for (size_t i = 0; i < ts->n; i++) {
		tenant_fini(ts->v[i]);
		free(ts->v[i]);
	}
	free(ts->v);
	user_set_fini(&ts->admins);
	user_set_fini(&ts->observers);
	*ts = (struct tenants){.each_user = false};
}
