#include "ctl/create.h"

#include <string.h>

#include "common/parse.h"
#include "ctl/render.h"

const struct args_option create_options[] = {
	{"snapshot", 0, "DIR", ARGS_TEXT, false,
	 "restore from memfile.header and memfile.BUILDID files in DIR"},
	{"memory", 0, "FILE", ARGS_TEXT, true,
	 "restore from a flat memory file; again for each diff, oldest first"},
	{"dense-diffs", 0, NULL, ARGS_FLAG, false,
	 "take diffs without any hole for what they seem"},
	{"header", 0, "FILE", ARGS_TEXT, false, "restore from a header; its layers with --layer"},
	{"layer", 0, "BUILDID=FILE", ARGS_LAYER, true, "where the data of one build id is"},
	{"id", 0, "ID", ARGS_ID, false, "id of the restore (default: a new UUID)"},
	{"tenant", 0, "NAME", ARGS_ID, false, "tenant to create it for (default: your own)"},
	{"socket", 0, "PATH", ARGS_TEXT, false,
	 "UFFD socket for the VMM (default: in the run directory); the control socket is -S"},
	{"socket-mode", 0, "MODE", ARGS_MODE, false, "rights of the UFFD socket (default 0660)"},
	{"socket-owner", 0, "UID[:GID]", ARGS_OWNER, false,
	 "owner of the UFFD socket (default: you)"},
	{"peer-uid", 0, "UID", ARGS_UID, false, "user that the VMM must run as (default: you)"},
	{"peer-pid", 0, "PID", ARGS_U64, false, "process that the VMM must be (default: any)"},
	{"prefetch", 0, "none|working-set|all", ARGS_CHOICE, false,
	 "pages to install before they are asked for (default all)"},
	{"rate", 0, "BYTES_PER_S", ARGS_BYTES, false,
	 "limit of prefetch; K, M and G are powers of 1024 (default 0: none)"},
	{"max-resident", 0, "BYTES", ARGS_BYTES, false,
	 "what the guest may have before prefetch stops; demand goes on (default 0: all)"},
	{"zero-pages", 0, NULL, ARGS_FLAG, false,
	 "prefetch zero pages of 2 MiB, too, which take as much memory as others"},
	{"working-set", 0, "FILE", ARGS_TEXT, false,
	 "pages to install first, as the verb working-set has written them"},
	{"no-record", 0, NULL, ARGS_FLAG, false,
	 "do not record which pages the guest touches first"},
	{"connect-timeout", 0, "TIME", ARGS_DURATION, false,
	 "how long to wait for the VMM (default 30s)"},
	{"when-complete", 0, "stay|release", ARGS_CHOICE, false,
	 "what to do once all of memory is resident (default stay)"},
	{"on-failure", 0, "kill|poison|hold", ARGS_CHOICE, false,
	 "what becomes of a guest whose page is lost (default kill)"},
	{0},
};

static const char *get(const struct args *args, const char *name)
{
	return args_get(args, create_options, name);
}

/* The member of that name, created when first needed. */
static struct json_object *section(struct json_object *body, const char *key)
{
	struct json_object *o = json_object_object_get(body, key);

	if (!o) {
		o = json_object_new_object();
		json_object_object_add(body, key, o);
	}
	return o;
}

static int absolute(const char *path, struct json_object **ret, struct err *err)
{
	cleanup_free char *cwd = NULL;
	cleanup_free char *full = NULL;

	if (*path == '/') {
		*ret = json_object_new_string(path);
		return 0;
	}
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return err_sys(err, "%s: current directory", path);
	while (strncmp(path, "./", 2) == 0)
		path += 2 + strspn(path + 2, "/");
	if (asprintf(&full, "%s/%s", strcmp(cwd, "/") == 0 ? "" : cwd, path) < 0) {
		full = NULL;
		return err_set(err, ERR_SYSTEM, "out of memory");
	}
	*ret = json_object_new_string(full);
	return 0;
}

static int add_path(struct json_object *o, const char *key, const char *path, struct err *err)
{
	struct json_object *v;

	if (absolute(path, &v, err) < 0)
		return -1;
	json_object_object_add(o, key, v);
	return 0;
}

static int add_layer(struct json_object *layers, const char *given, struct err *err)
{
	const char *equals = strchr(given, '=');
	cleanup_free char *build = strndup(given, (size_t)(equals - given));

	if (!build)
		return err_set(err, ERR_SYSTEM, "out of memory");
	if (json_object_object_get_ex(layers, build, NULL))
		return err_set(err, ERR_INVALID, "--layer gives build id %.64s twice", build);
	return add_path(layers, build, equals + 1, err);
}

static int add_memory(struct json_object *files, const char *path, struct err *err)
{
	struct json_object *v;

	if (absolute(path, &v, err) < 0)
		return -1;
	json_object_array_add(files, v);
	return 0;
}

/* Passes every value of a repeatable option to @add, in the order given. */
static int each(const struct args *args, const char *name, struct json_object *into,
		int (*add)(struct json_object *into, const char *value, struct err *err),
		struct err *err)
{
	const char *value;

	for (size_t at = 0; (value = args_next(args, create_options, name, &at));)
		if (add(into, value, err) < 0)
			return -1;
	return 0;
}

static int add_snapshot(const struct args *args, struct json_object *body, struct err *err)
{
	const char *dir = get(args, "snapshot"), *header = get(args, "header");
	struct json_object *snapshot = section(body, "snapshot");
	struct json_object *files;

	if ((dir != NULL) + (header != NULL) + (get(args, "memory") != NULL) != 1)
		return err_set(err, ERR_INVALID,
			       "give exactly one of --snapshot, --memory and --header");
	if (get(args, "dense-diffs") && !get(args, "memory"))
		return err_set(err, ERR_INVALID, "--dense-diffs goes with --memory only");
	if (get(args, "layer") && !header)
		return err_set(err, ERR_INVALID, "--layer goes with --header only");
	if (dir)
		return add_path(snapshot, "dir", dir, err);
	if (header) {
		if (add_path(snapshot, "header", header, err) < 0)
			return -1;
		return each(args, "layer", section(snapshot, "layers"), add_layer, err);
	}
	files = json_object_new_array();
	json_object_object_add(snapshot, "memory", files);
	if (get(args, "dense-diffs"))
		js_add_bool(snapshot, "dense_diffs", true);
	return each(args, "memory", files, add_memory, err);
}

static void add_owner(struct json_object *body, const char *value)
{
	struct json_object *socket = section(body, "socket");
	uint64_t uid = 0, gid = 0;
	bool have_gid = false;

	args_owner(value, &uid, &gid, &have_gid);
	js_add_u64(socket, "uid", uid);
	if (have_gid)
		js_add_u64(socket, "gid", gid);
}

/* Options whose value goes into the body unchanged. */
static const struct {
	const char *option, *section, *key; /* section NULL: the top level */
} texts[] = {
	{"tenant", NULL, "tenant"},
	{"socket-mode", "socket", "mode"},
	{"prefetch", "prefetch", "mode"},
	{"connect-timeout", NULL, "connect_timeout"},
	{"when-complete", NULL, "when_complete"},
	{"on-failure", NULL, "on_failure"},
};

static int fill_body(const struct args *args, struct json_object *body, struct err *err)
{
	uint64_t n = 0;

	if (add_snapshot(args, body, err) < 0)
		return -1;
	if (get(args, "socket") &&
	    add_path(section(body, "socket"), "path", get(args, "socket"), err) < 0)
		return -1;
	if (get(args, "working-set") &&
	    add_path(section(body, "working_set"), "path", get(args, "working-set"), err) < 0)
		return -1;
	if (get(args, "no-record"))
		js_add_bool(section(body, "working_set"), "record", false);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		const char *value = get(args, texts[i].option);

		if (value)
			js_add_string(texts[i].section ? section(body, texts[i].section) : body,
				      texts[i].key, value);
	}
	if (get(args, "socket-owner"))
		add_owner(body, get(args, "socket-owner"));
	if (get(args, "peer-uid") && parse_u64(get(args, "peer-uid"), 0, UINT32_MAX, &n))
		js_add_u64(section(body, "peer"), "uid", n);
	if (get(args, "peer-pid") && parse_u64(get(args, "peer-pid"), 0, UINT64_MAX, &n))
		js_add_u64(section(body, "peer"), "pid", n);
	if (get(args, "rate") && args_bytes(get(args, "rate"), &n))
		js_add_u64(section(body, "prefetch"), "rate_bytes_per_s", n);
	if (get(args, "max-resident") && args_bytes(get(args, "max-resident"), &n))
		js_add_u64(section(body, "prefetch"), "max_resident_bytes", n);
	if (get(args, "zero-pages"))
		js_add_bool(section(body, "prefetch"), "zero_pages", true);
	return 0;
}

int create_body(const struct args *args, struct json_object **ret, struct err *err)
{
	cleanup_json struct json_object *body = json_object_new_object();

	if (fill_body(args, body, err) < 0)
		return -1;
	*ret = steal_ptr(&body);
	return 0;
}

int create_run(struct ctl *ctl)
{
	cleanup_json struct json_object *body = NULL;
	const char *id = ctl_option(ctl, "id");
	char target[CTL_TARGET_MAX];
	struct client_request req = {.method = id ? "PUT" : "POST", .target = target};
	struct err err;

	if (create_body(&ctl->args, &body, &err) < 0)
		return err.code == ERR_INVALID ? ctl_usage(ctl, &err) : ctl_fail(ctl, &err);
	snprintf(target, sizeof(target), "/v1/restores%s%s", id ? "/" : "", id ? id : "");
	req.body = body;
	return ctl_show(ctl, &req, render_show);
}
