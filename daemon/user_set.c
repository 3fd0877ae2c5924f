#include "daemon/user_set.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static size_t drop_repeated(uint32_t *ids, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (!kept || ids[kept - 1] != ids[i])
			ids[kept++] = ids[i];
	return kept;
}

static int parse_ids(struct js_at at, const char *key, uint32_t **ret, size_t *ret_n,
		     struct err *err)
{
	cleanup_free uint32_t *ids = NULL;
	struct json_object *list = NULL;
	char path[JS_PATH_MAX];
	struct js_at each;
	bool have;
	size_t n;

	if (js_array(at, key, USER_SET_MAX, &list, &have, err))
		return -1;
	n = list ? json_object_array_length(list) : 0;
	ids = xcalloc(n + 1, sizeof(*ids));
	each = js_into(at, key, list, path);
	for (size_t i = 0; i < n; i++) {
		uint64_t id;

		/* The highest number is none: (uid_t)-1. */
		if (js_u64_at(each, i, UINT32_MAX - 1, &id, err))
			return -1;
		ids[i] = (uint32_t)id;
	}
	qsort(ids, n, sizeof(*ids), compare);
	*ret_n = drop_repeated(ids, n);
	*ret = steal_ptr(&ids);
	return 0;
}

int user_set_parse(struct js_at at, struct user_set *ret, struct err *err)
{
	struct user_set set = {0};

	if (parse_ids(at, "uids", &set.uids, &set.nuids, err) ||
	    parse_ids(at, "gids", &set.gids, &set.ngids, err)) {
		user_set_fini(&set);
		return -1;
	}
	*ret = set;
	return 0;
}

static void add_ids(struct json_object *o, const char *key, const uint32_t *ids, size_t n)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		json_object_array_add(list, json_object_new_uint64(ids[i]));
	json_object_object_add(o, key, list);
}

void user_set_json(const struct user_set *set, struct json_object *o)
{
	add_ids(o, "uids", set->uids, set->nuids);
	add_ids(o, "gids", set->gids, set->ngids);
}

static bool has(const uint32_t *ids, size_t n, uint32_t id)
{
	return n && bsearch(&id, ids, n, sizeof(*ids), compare);
}

bool user_set_has_uid(const struct user_set *set, uint32_t uid)
{
	return has(set->uids, set->nuids, uid);
}

bool user_set_has_gid(const struct user_set *set, uint32_t gid)
{
	return has(set->gids, set->ngids, gid);
}

bool user_set_has_group_of(const struct user_set *set, const struct sock_peer *peer)
{
	bool found = user_set_has_gid(set, peer->gid);

	for (size_t i = 0; !found && i < peer->ngroups; i++)
		found = user_set_has_gid(set, peer->groups[i]);
	return found;
}

void user_set_fini(struct user_set *set)
{
	free(set->uids);
	free(set->gids);
	*set = (struct user_set){0};
}
