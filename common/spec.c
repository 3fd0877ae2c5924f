#include "common/spec.h"

#include <string.h>

#include "common/parse.h"

#define TIMEOUT_MIN_MS 100
#define TIMEOUT_MAX_MS ((uint64_t)60 * 60 * 1000)
#define TIMEOUT_DEFAULT_MS 30000
#define MODE_DEFAULT 0660
#define MODE_OWNER 0600 /* without these bits no peer could connect, or the socket be cleaned up */
#define MODE_MAX 0777
#define ID_MAX (UINT32_MAX - 1) /* (uid_t)-1 means "leave as it is" to the kernel */
#define WORD_MAX 32             /* bytes of a mode, or of a word of the lists below */

const char *const spec_prefetch_names[PREFETCH_COUNT] = {
	[PREFETCH_NONE] = "none",
	[PREFETCH_WORKING_SET] = "working-set",
	[PREFETCH_ALL] = "all",
};
const char *const spec_complete_names[COMPLETE_COUNT] = {
	[COMPLETE_STAY] = "stay",
	[COMPLETE_RELEASE] = "release",
};
const char *const spec_failure_names[FAILURE_COUNT] = {
	[FAILURE_KILL] = "kill",
	[FAILURE_POISON] = "poison",
	[FAILURE_HOLD] = "hold",
};

static const char *const body_keys[] = {"tenant",          "snapshot",
					"socket",          "peer",
					"prefetch",        "working_set",
					"connect_timeout", "when_complete",
					"on_failure",      NULL};
static const char *const snapshot_keys[] = {"dir",    "header",      "layers",
					    "memory", "dense_diffs", NULL};
static const char *const socket_keys[] = {"path", "mode", "uid", "gid", NULL};
static const char *const peer_keys[] = {"uid", "pid", NULL};
static const char *const prefetch_keys[] = {"mode", "rate_bytes_per_s", "max_resident_bytes",
					    "zero_pages", NULL};
static const char *const wset_keys[] = {"record", "path", NULL};

/* The words allowed for a member, by enum value. */
struct words {
	const char *const *names;
	size_t count;
};
static const struct words prefetch_words = {spec_prefetch_names, PREFETCH_COUNT};
static const struct words complete_words = {spec_complete_names, COMPLETE_COUNT};
static const struct words failure_words = {spec_failure_names, FAILURE_COUNT};

static int find_word(const struct words *words, const char *name)
{
	for (size_t i = 0; i < words->count; i++)
		if (strcmp(words->names[i], name) == 0)
			return (int)i;
	return -1;
}

static int word_err(const struct words *words, struct js_at at, const char *key, struct err *err)
{
	char list[128] = "";
	size_t len = 0;

	for (size_t i = 0; i < words->count && len < sizeof(list); i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s\"%s\"", i ? ", " : "",
					words->names[i]);
	return err_set(err, ERR_INVALID, "%s%s%s: must be one of %s", at.path, *at.path ? "." : "",
		       key, list);
}

/* *ret is untouched if the member is absent. */
static int get_word(struct js_at at, const char *key, const struct words *words, int *ret,
		    struct err *err)
{
	const char *name = NULL;
	bool have;
	int i;

	if (js_string(at, key, WORD_MAX, &name, &have, err) < 0)
		return -1;
	if (!have)
		return 0;
	i = find_word(words, name);
	if (i < 0)
		return word_err(words, at, key, err);
	*ret = i;
	return 0;
}

static int check_absolute(const char *field, const char *path, struct err *err)
{
	if (*path != '/')
		return err_set(err, ERR_INVALID, "%s: must be an absolute path", field);
	return 0;
}

static int get_path(struct js_at at, const char *key, char **ret, struct err *err)
{
	const char *text;
	char field[64];

	if (js_string(at, key, SPEC_PATH_MAX, &text, NULL, err) < 0)
		return -1;
	snprintf(field, sizeof(field), "%s.%s", at.path, key);
	if (check_absolute(field, text, err) < 0)
		return -1;
	*ret = strdup(text);
	return *ret ? 0 : err_sys(err, "%s", field);
}

/* A member that is an object and may have these keys; ret->o is NULL when it is absent. */
static int get_section(struct js_at body, const char *key, const char *const *keys,
		       struct js_at *ret, struct err *err)
{
	bool have;

	*ret = (struct js_at){.path = key};
	if (js_object(body, key, &ret->o, &have, err) < 0)
		return -1;
	return have ? js_known(*ret, keys, err) : 0;
}

static int parse_tenant(struct js_at body, struct spec *spec, struct err *err)
{
	const char *name;
	bool have;

	if (js_string(body, "tenant", PROTO_ID_MAX, &name, &have, err) < 0)
		return -1;
	if (!have)
		return 0;
	if (!proto_id_valid(name))
		return err_set(err, ERR_INVALID,
			       "tenant: must be letters, digits, '.', '_' and '-', "
			       "starting with a letter or digit");
	snprintf(spec->tenant, sizeof(spec->tenant), "%s", name);
	return 0;
}

static int parse_build(const char *text, uuid_t ret, struct err *err)
{
	if (uuid_parse(text, ret) < 0)
		return err_set(err, ERR_INVALID,
			       "snapshot.layers: every key must be a build id "
			       "(xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx)");
	if (uuid_is_null(ret))
		return err_set(err, ERR_INVALID,
			       "snapshot.layers: the nil build id means zeros and has no file");
	return 0;
}

static int compare_layers(const void *a, const void *b)
{
	const struct spec_layer *x = a, *y = b;

	return memcmp(x->build, y->build, sizeof(x->build));
}

/* Sorted, so that the order of members in the request does not matter. */
static int sort_layers(struct spec *spec, struct err *err)
{
	char text[UUID_STR_LEN];

	if (spec->nlayers > 0)
		qsort(spec->layers, spec->nlayers, sizeof(*spec->layers), compare_layers);
	for (size_t i = 1; i < spec->nlayers; i++) {
		if (compare_layers(&spec->layers[i - 1], &spec->layers[i]) != 0)
			continue;
		uuid_unparse_lower(spec->layers[i].build, text);
		return err_set(err, ERR_INVALID, "snapshot.layers: build id %s is there twice",
			       text);
	}
	return 0;
}

static int parse_layers(struct json_object *layers, struct spec *spec, struct err *err)
{
	const struct js_at at = {layers, "snapshot.layers"};
	int n = json_object_object_length(layers);

	if (n > SPEC_LAYERS_MAX)
		return err_set(err, ERR_INVALID, "snapshot.layers: has more than %d members",
			       SPEC_LAYERS_MAX);
	spec->layers = xcalloc((size_t)n + 1, sizeof(*spec->layers));
	json_object_object_foreach(layers, key, value)
	{
		struct spec_layer *layer = &spec->layers[spec->nlayers];

		(void)value;
		if (parse_build(key, layer->build, err) < 0 ||
		    get_path(at, key, &layer->path, err) < 0)
			return -1;
		spec->nlayers++;
	}
	return sort_layers(spec, err);
}

static int parse_memory(struct json_object *array, struct spec *spec, struct err *err)
{
	const struct js_at at = {array, "snapshot.memory"};
	size_t n = json_object_array_length(array);

	if (n == 0)
		return err_set(err, ERR_INVALID, "snapshot.memory: must name at least one file");
	spec->layers = xcalloc(n, sizeof(*spec->layers));
	for (; spec->nlayers < n; spec->nlayers++) {
		const char *text;
		char field[64];

		if (js_string_at(at, spec->nlayers, SPEC_PATH_MAX, &text, err) < 0)
			return -1;
		snprintf(field, sizeof(field), "%s[%zu]", at.path, spec->nlayers);
		if (check_absolute(field, text, err) < 0)
			return -1;
		spec->layers[spec->nlayers].path = strdup(text);
		if (!spec->layers[spec->nlayers].path)
			return err_sys(err, "%s", field);
	}
	return 0;
}

static int parse_snapshot(struct js_at body, struct spec *spec, struct err *err)
{
	struct json_object *layers = NULL, *memory = NULL;
	struct js_at at = {.path = "snapshot"};
	bool dir, header, have, dense;

	if (js_object(body, at.path, &at.o, NULL, err) < 0 ||
	    js_known(at, snapshot_keys, err) < 0 ||
	    js_object(at, "layers", &layers, &have, err) < 0 ||
	    js_array(at, "memory", SPEC_LAYERS_MAX, &memory, &have, err) < 0 ||
	    js_bool(at, "dense_diffs", &spec->dense_diffs, &dense, err) < 0)
		return -1;
	dir = json_object_object_get_ex(at.o, "dir", NULL);
	header = json_object_object_get_ex(at.o, "header", NULL);
	if (dir + (header || layers) + (memory != NULL) != 1)
		return err_set(err, ERR_INVALID,
			       "snapshot: must have exactly one of \"dir\", \"header\" with "
			       "\"layers\", \"memory\"");
	if (dense && !memory)
		return err_set(err, ERR_INVALID, "snapshot.dense_diffs: goes with \"memory\" only");
	if (dir) {
		spec->source = SOURCE_DIR;
		return get_path(at, "dir", &spec->path, err);
	}
	if (memory) {
		spec->source = SOURCE_MEMORY;
		return parse_memory(memory, spec, err);
	}
	spec->source = SOURCE_HEADER;
	if (!layers)
		return err_set(err, ERR_INVALID,
			       "snapshot.layers: is missing, \"header\" needs it");
	if (get_path(at, "header", &spec->path, err) < 0)
		return -1;
	return parse_layers(layers, spec, err);
}

static int get_uid(struct js_at at, const char *key, uint32_t *ret, bool *have, struct err *err)
{
	uint64_t v = 0;

	if (js_u64(at, key, ID_MAX, &v, have, err) < 0)
		return -1;
	*ret = (uint32_t)v;
	return 0;
}

static int parse_mode(const char *text, uint32_t *ret, struct err *err)
{
	uint32_t mode;

	if (!parse_octal(text, MODE_MAX, &mode) || (mode & MODE_OWNER) != MODE_OWNER)
		return err_set(err, ERR_INVALID,
			       "socket.mode: must be octal digits such as \"0660\", at most "
			       "\"0777\", with read and write for the owner");
	*ret = mode;
	return 0;
}

static int parse_socket(struct js_at body, struct spec *spec, struct err *err)
{
	const char *path = NULL, *mode = NULL;
	struct js_at at;
	bool have;

	if (get_section(body, "socket", socket_keys, &at, err) < 0)
		return -1;
	if (!at.o)
		return 0;
	if (js_string(at, "path", PROTO_SUN_MAX, &path, &have, err) < 0 ||
	    js_string(at, "mode", WORD_MAX, &mode, &have, err) < 0 ||
	    get_uid(at, "uid", &spec->socket_uid, &spec->have_socket_uid, err) < 0 ||
	    get_uid(at, "gid", &spec->socket_gid, &spec->have_socket_gid, err) < 0)
		return -1;
	if (mode && parse_mode(mode, &spec->socket_mode, err) < 0)
		return -1;
	if (path && check_absolute("socket.path", path, err) < 0)
		return -1;
	snprintf(spec->socket_path, sizeof(spec->socket_path), "%s", path ? path : "");
	return 0;
}

static int parse_peer(struct js_at body, struct spec *spec, struct err *err)
{
	uint64_t pid = 0;
	struct js_at at;
	bool have;

	if (get_section(body, "peer", peer_keys, &at, err) < 0)
		return -1;
	if (!at.o)
		return 0;
	if (js_u64(at, "pid", INT32_MAX, &pid, &have, err) < 0)
		return -1;
	if (have && pid == 0)
		return err_set(err, ERR_INVALID, "peer.pid: must be from 1 to %d", INT32_MAX);
	spec->peer_pid = (uint32_t)pid;
	return get_uid(at, "uid", &spec->peer_uid, &spec->have_peer_uid, err);
}

static int parse_prefetch(struct js_at body, struct spec *spec, struct err *err)
{
	int mode = PREFETCH_ALL;
	struct js_at at;
	bool have;

	if (get_section(body, "prefetch", prefetch_keys, &at, err) < 0)
		return -1;
	if (!at.o)
		return 0;
	if (get_word(at, "mode", &prefetch_words, &mode, err) < 0)
		return -1;
	spec->prefetch = (enum spec_prefetch)mode;
	/* The store's integers are signed. */
	if (js_u64(at, "rate_bytes_per_s", INT64_MAX, &spec->rate_bytes_per_s, &have, err) < 0 ||
	    js_u64(at, "max_resident_bytes", INT64_MAX, &spec->max_resident_bytes, &have, err) < 0)
		return -1;
	return js_bool(at, "zero_pages", &spec->zero_pages, &have, err);
}

static int parse_wset(struct js_at body, struct spec *spec, struct err *err)
{
	struct js_at at;
	bool have;

	if (get_section(body, "working_set", wset_keys, &at, err) < 0)
		return -1;
	if (!at.o)
		return 0;
	if (js_bool(at, "record", &spec->record, &have, err) < 0)
		return -1;
	if (!json_object_object_get_ex(at.o, "path", NULL))
		return 0;
	return get_path(at, "path", &spec->wset_path, err);
}

static int parse_rest(struct js_at body, struct spec *spec, struct err *err)
{
	int complete = COMPLETE_STAY, failure = FAILURE_KILL;
	bool have;

	if (js_duration(body, "connect_timeout", TIMEOUT_MAX_MS, &spec->connect_timeout_ms, &have,
			err) < 0 ||
	    get_word(body, "when_complete", &complete_words, &complete, err) < 0 ||
	    get_word(body, "on_failure", &failure_words, &failure, err) < 0)
		return -1;
	if (spec->connect_timeout_ms < TIMEOUT_MIN_MS)
		return err_set(err, ERR_INVALID, "connect_timeout: must be at least %d ms",
			       TIMEOUT_MIN_MS);
	spec->when_complete = (enum spec_complete)complete;
	spec->on_failure = (enum spec_failure)failure;
	return 0;
}

int spec_parse(struct json_object *body, struct spec *ret, struct err *err)
{
	const struct js_at at = {body, ""};

	*ret = (struct spec){
		.socket_mode = MODE_DEFAULT,
		.prefetch = PREFETCH_ALL,
		.record = true,
		.connect_timeout_ms = TIMEOUT_DEFAULT_MS,
	};
	if (!json_object_is_type(body, json_type_object))
		return err_set(err, ERR_INVALID, "the request must be a JSON object");
	if (js_known(at, body_keys, err) < 0 || parse_tenant(at, ret, err) < 0 ||
	    parse_snapshot(at, ret, err) < 0 || parse_socket(at, ret, err) < 0 ||
	    parse_peer(at, ret, err) < 0 || parse_prefetch(at, ret, err) < 0 ||
	    parse_wset(at, ret, err) < 0)
		return -1;
	return parse_rest(at, ret, err);
}

void spec_resolve(struct spec *spec, const char *tenant, uint32_t uid, uint32_t gid)
{
	if (!*spec->tenant)
		snprintf(spec->tenant, sizeof(spec->tenant), "%s", tenant);
	/* The user who gets the socket is the one who will connect. */
	if (!spec->have_socket_uid)
		spec->socket_uid = uid;
	if (!spec->have_peer_uid)
		spec->peer_uid = spec->socket_uid;
	if (!spec->have_socket_gid)
		spec->socket_gid = gid;
	spec->have_socket_uid = spec->have_socket_gid = spec->have_peer_uid = true;
}

int spec_prefetch_parse(const char *name, enum spec_prefetch *ret)
{
	int i = find_word(&prefetch_words, name);

	if (i < 0)
		return -1;
	*ret = (enum spec_prefetch)i;
	return 0;
}

void spec_fini(struct spec *spec)
{
	for (size_t i = 0; i < spec->nlayers; i++)
		free(spec->layers[i].path);
	free(spec->layers);
	spec->layers = NULL;
	spec->nlayers = 0;
	free(spec->path);
	spec->path = NULL;
	free(spec->wset_path);
	spec->wset_path = NULL;
}
