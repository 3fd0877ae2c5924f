#include "ctl/member.h"

#include <string.h>

struct json_object *member_at(struct json_object *o, const char *path)
{
	char key[64];

	while (o && *path) {
		size_t len = strcspn(path, ".");

		if (len >= sizeof(key) || !json_object_is_type(o, json_type_object))
			return NULL;
		memcpy(key, path, len);
		key[len] = '\0';
		o = json_object_object_get(o, key);
		path += path[len] ? len + 1 : len;
	}
	return o;
}

const char *member_string(struct json_object *o, const char *path)
{
	struct json_object *v = member_at(o, path);

	return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

uint64_t member_u64(struct json_object *o, const char *path)
{
	struct json_object *v = member_at(o, path);

	return json_object_is_type(v, json_type_int) ? json_object_get_uint64(v) : 0;
}

bool member_true(struct json_object *o, const char *path)
{
	struct json_object *v = member_at(o, path);

	return json_object_is_type(v, json_type_boolean) && json_object_get_boolean(v);
}
