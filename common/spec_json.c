#include "common/spec.h"

static struct json_object *add_part(struct json_object *o, const char *key,
				    struct json_object *part)
{
	if (!part || json_object_object_add(o, key, part) < 0)
		abort();
	return part;
}

static void add_path(struct json_object *array, const char *path)
{
	struct json_object *text = json_object_new_string(path);

	if (!text || json_object_array_add(array, text) < 0)
		abort();
}

struct json_object *spec_snapshot_json(const struct spec *spec)
{
	struct json_object *o = json_object_new_object(), *layers;
	char build[UUID_STR_LEN];

	if (spec->source == SOURCE_DIR) {
		js_add_string(o, "dir", spec->path);
	} else if (spec->source == SOURCE_HEADER) {
		js_add_string(o, "header", spec->path);
		layers = add_part(o, "layers", json_object_new_object());
		for (size_t i = 0; i < spec->nlayers; i++) {
			uuid_unparse_lower(spec->layers[i].build, build);
			js_add_string(layers, build, spec->layers[i].path);
		}
	} else {
		layers = add_part(o, "memory", json_object_new_array());
		for (size_t i = 0; i < spec->nlayers; i++)
			add_path(layers, spec->layers[i].path);
		/* Absent unless set: this text is compared with rows of older releases. */
		if (spec->dense_diffs)
			js_add_bool(o, "dense_diffs", true);
	}
	return o;
}

static void add_duration(struct json_object *o, const char *key, uint64_t ms)
{
	char text[32];

	if (ms % 1000 == 0)
		snprintf(text, sizeof(text), "%llus", (unsigned long long)ms / 1000);
	else
		snprintf(text, sizeof(text), "%llums", (unsigned long long)ms);
	js_add_string(o, key, text);
}

struct json_object *spec_json(const struct spec *spec)
{
	struct json_object *o = json_object_new_object(), *part;
	char mode[8];

	if (*spec->tenant)
		js_add_string(o, "tenant", spec->tenant);
	add_part(o, "snapshot", spec_snapshot_json(spec));

	part = add_part(o, "socket", json_object_new_object());
	if (*spec->socket_path)
		js_add_string(part, "path", spec->socket_path);
	snprintf(mode, sizeof(mode), "%04o", (unsigned)spec->socket_mode);
	js_add_string(part, "mode", mode);
	if (spec->have_socket_uid)
		js_add_u64(part, "uid", spec->socket_uid);
	if (spec->have_socket_gid)
		js_add_u64(part, "gid", spec->socket_gid);

	part = add_part(o, "peer", json_object_new_object());
	if (spec->have_peer_uid)
		js_add_u64(part, "uid", spec->peer_uid);
	if (spec->peer_pid)
		js_add_u64(part, "pid", spec->peer_pid);

	part = add_part(o, "prefetch", json_object_new_object());
	js_add_string(part, "mode", spec_prefetch_names[spec->prefetch]);
	js_add_u64(part, "rate_bytes_per_s", spec->rate_bytes_per_s);
	/* Absent unless set: the texts of older releases must stay the same. */
	if (spec->max_resident_bytes)
		js_add_u64(part, "max_resident_bytes", spec->max_resident_bytes);
	if (spec->zero_pages)
		js_add_bool(part, "zero_pages", true);

	part = add_part(o, "working_set", json_object_new_object());
	js_add_bool(part, "record", spec->record);
	if (spec->wset_path)
		js_add_string(part, "path", spec->wset_path);

	add_duration(o, "connect_timeout", spec->connect_timeout_ms);
	js_add_string(o, "when_complete", spec_complete_names[spec->when_complete]);
	js_add_string(o, "on_failure", spec_failure_names[spec->on_failure]);
	return o;
}
