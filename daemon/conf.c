#include "daemon/conf.h"

#include <assert.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>

#include "common/js.h"
#include "common/parse.h"
#include "daemon/json_file.h"

enum type {
	TYPE_BOOL,
	TYPE_UINT,     /* uint64_t */
	TYPE_DURATION, /* uint64_t, ms */
	TYPE_MODE,     /* uint32_t, octal text */
	TYPE_PATH,     /* char[max + 1] */
	TYPE_NAME,     /* char[max + 1] */
	TYPE_LEVEL,    /* enum log_level */
};

#define AT(field) offsetof(struct conf, field)
#define SECOND ((uint64_t)1000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define TIB ((uint64_t)1 << 40)

#define LEVEL_WORD(level, name, priority) " " name
#define LEVEL_WORDS LOG_LEVELS(LEVEL_WORD) /* each after a blank */

struct option_row {
	const char *name; /* key of the file; the flag is the same with dashes */
	enum type type;
	size_t at;
	uint64_t min, max; /* of the value, durations in ms; of texts: their length */
	const char *initial;
	const char *help; /* a sentence for people */
};

/* clang-format off */
static const struct option_row table[] = {
	{"run_dir", TYPE_PATH, AT(run_dir), 1, CONF_RUN_DIR_MAX, "/run/uffdd",
	 "Directory, on a tmpfs, of the control socket, the UFFD sockets and the page maps."},
	{"state_dir", TYPE_PATH, AT(state_dir), 1, CONF_PATH_MAX, "/var/lib/uffdd",
	 "Directory of the database and the working sets. One daemon at a time uses it."},
	{"worker", TYPE_PATH, AT(worker), 0, CONF_PATH_MAX, "",
	 "The worker program; empty: beside this program, or where it was installed."},
	{"tenants_file", TYPE_PATH, AT(tenants_file), 0, CONF_PATH_MAX, "",
	 "A JSON file with tenants, admins and observers; empty: none."},
	{"each_user_is_tenant", TYPE_BOOL, AT(each_user_is_tenant), 0, 0, "false",
	 "A user who belongs to no tenant is one of its own, uid-N; else it is refused."},
	{"tenant_cgroup", TYPE_PATH, AT(tenant_cgroup), 0, CONF_PATH_MAX, "",
	 "A cgroup (v2) delegated to uffdd, for a cgroup of each tenant's workers; empty: none."},
	{"log_level", TYPE_LEVEL, AT(log_level), 0, 0, "info",
	 "Least important messages to print, one of" LEVEL_WORDS "."},
	{"socket_mode", TYPE_MODE, AT(socket_mode), 0, 0777, "0660",
	 "Permissions of the control socket: who may connect at all."},
	{"socket_group", TYPE_NAME, AT(socket_group), 0, CONF_NAME_MAX, "",
	 "Group of the control socket; empty: the daemon's own."},
	{"pool_workers", TYPE_UINT, AT(pool_workers), 0, 64, "4",
	 "Idle workers kept ready, so that a restore need not wait for a program to start."},
	{"worker_uid", TYPE_UINT, AT(worker_uid), 0, UINT32_MAX - 1, "0",
	 "User as whom root's restores are served; 0: uffdd-worker, or 65533 without that user."},
	{"worker_gid", TYPE_UINT, AT(worker_gid), 0, UINT32_MAX - 1, "0",
	 "Group of that user's workers; 0: the user's own."},
	{"prefetch_leases", TYPE_UINT, AT(prefetch_leases), 0, 4096, "0",
	 "Restores that may prefetch at the same time; 0: half of the CPUs, at least one."},
	{"prefetch_slice", TYPE_DURATION, AT(prefetch_slice_ms), 10, 60 * SECOND, "100ms",
	 "How long a restore may prefetch while others wait for their turn."},
	{"prefetch_bytes_per_s", TYPE_UINT, AT(prefetch_bytes_per_s), 0, 1000 * TIB, "0",
	 "Snapshot data that all prefetch together may read in a second; 0: no limit."},
	{"prefetch_margin_bytes", TYPE_UINT, AT(prefetch_margin_bytes), 0, TIB, "67108864",
	 "Memory that prefetch leaves in a VMM's cgroups, and in the pool of huge pages."},
	{"worker_restarts", TYPE_UINT, AT(worker_restarts), 0, 1000000, "5",
	 "how many workers of a restore may die within worker_restart_window before it fails"},
	{"worker_restart_window", TYPE_DURATION, AT(worker_restart_window_ms), 1000, DAY, "60s",
	 "the time in which worker_restarts are counted"},
	{"max_restores", TYPE_UINT, AT(max_restores), 1, 65536, "4096",
	 "Live restores on this host."},
	{"max_restores_per_tenant", TYPE_UINT, AT(max_restores_per_tenant), 1, 65536, "1024",
	 "Live restores of one tenant."},
	{"workers_per_tenant", TYPE_UINT, AT(workers_per_tenant), 1, 131072, "2048",
	 "Worker processes of one tenant, also those that are to end and have not."},
	{"guest_bytes_per_tenant", TYPE_UINT, AT(guest_bytes_per_tenant), 4096, KIB * TIB,
	 "1125899906842624", "Memory of all guests of one tenant, in bytes."},
	{"commands_per_s_per_tenant", TYPE_UINT, AT(commands_per_s_per_tenant), 1, 1000000, "200",
	 "Commands to restores of one tenant in a second; stops are not counted."},
	{"page_map_bytes_per_tenant", TYPE_UINT, AT(page_map_bytes_per_tenant), 4096, TIB,
	 "1073741824", "Page maps of one tenant in the run directory, in bytes."},
	{"header_entries_per_tenant", TYPE_UINT, AT(header_entries_per_tenant), 1, TIB, "16777216",
	 "Entries of all snapshot headers of one tenant, which workers keep in memory."},
	{"files_per_tenant", TYPE_UINT, AT(files_per_tenant), 1, 4 * KIB * MIB, "65536",
	 "Snapshot files that workers of one tenant have open."},
	{"cgroup_memory_bytes_per_tenant", TYPE_UINT, AT(cgroup_memory_bytes_per_tenant), 0,
	 KIB * TIB, "0", "Memory of the cgroup of one tenant's workers, in bytes; 0: no limit."},
	{"cgroup_pids_per_tenant", TYPE_UINT, AT(cgroup_pids_per_tenant), 0, 4194304, "0",
	 "Processes and threads in the cgroup of one tenant's workers; 0: no limit."},
	{"records_per_tenant", TYPE_UINT, AT(records_per_tenant), 1, 1000000, "4096",
	 "Restores of one tenant that have ended and stay listed; the oldest go first."},
	{"record_bytes_per_tenant", TYPE_UINT, AT(record_bytes_per_tenant), 64 * KIB, TIB,
	 "67108864", "Memory for the records of those, in bytes; the oldest go first."},
	{"snapshot_bytes_max", TYPE_UINT, AT(snapshot_bytes_max), 4096, 8 * TIB,
	 "1099511627776", "Memory size of the largest snapshot that is accepted, in bytes."},
	{"connect_timeout_max", TYPE_DURATION, AT(connect_timeout_max_ms), SECOND, HOUR, "1h",
	 "Longest time that a restore may ask to wait for its VMM."},
	{"ended_retention", TYPE_DURATION, AT(ended_retention_ms), 0, 30 * DAY, "1h",
	 "How long ended and failed restores stay listed."},
	{"record_window", TYPE_DURATION, AT(record_window_ms), 0, 300 * SECOND, "10s",
	 "How long after connect a guest's first touches are recorded; 0s: never."},
	{"working_set_bytes", TYPE_UINT, AT(working_set_bytes), 4 * KIB, 16 * MIB, "4194304",
	 "Largest working-set file, in bytes; of a larger set the latest pages are left out."},
	{"working_set_bytes_per_tenant", TYPE_UINT, AT(working_set_bytes_per_tenant), 64 * KIB, TIB,
	 "268435456", "All working-set files of a tenant, in bytes; the oldest go first."},
	{"event_retention_count", TYPE_UINT, AT(event_retention_count), 1, 10000000,
	 "100000", "How many events are kept."},
	{"events_per_tenant", TYPE_UINT, AT(events_per_tenant), 1, 10000000, "50000",
	 "How many events of one tenant are kept."},
	{"event_retention_age", TYPE_DURATION, AT(event_retention_age_ms), SECOND, 366 * DAY,
	 "72h", "How long events are kept."},
	{"http_header_bytes", TYPE_UINT, AT(http_header_bytes), KIB, MIB, "8192",
	 "Largest request line and headers, in bytes."},
	{"http_body_bytes", TYPE_UINT, AT(http_body_bytes), KIB, 64 * MIB, "1048576",
	 "Largest request body, in bytes."},
	{"http_connections", TYPE_UINT, AT(http_connections), 1, 65536, "256",
	 "Control connections in all."},
	{"http_connections_per_uid", TYPE_UINT, AT(http_connections_per_uid), 1, 65536, "64",
	 "Control connections of one user."},
	{"http_held", TYPE_UINT, AT(http_held), 1, 65536, "64",
	 "Long polls and event streams in all."},
	{"http_held_per_uid", TYPE_UINT, AT(http_held_per_uid), 1, 65536, "16",
	 "Long polls and event streams of one user."},
	{"http_queue_bytes", TYPE_UINT, AT(http_queue_bytes), 4 * KIB, 64 * MIB, "1048576",
	 "Output that a stream's client may leave unread before it is cut off, in bytes."},
	{"http_unsent_bytes_per_uid", TYPE_UINT, AT(http_unsent_bytes_per_uid), 64 * KIB, TIB,
	 "16777216", "Answers that one user's clients may leave unread, in bytes."},
	{"http_idle", TYPE_DURATION, AT(http_idle_ms), SECOND, HOUR, "60s",
	 "Time without a byte after which a connection is closed."},
	{"http_header_deadline", TYPE_DURATION, AT(http_header_deadline_ms), SECOND, HOUR, "10s",
	 "Time within which a request must be complete."},
	{"http_stall", TYPE_DURATION, AT(http_stall_ms), SECOND, HOUR, "30s",
	 "Time after which a client that takes no output is cut off."},
	{"libevent_selftest", TYPE_BOOL, AT(libevent_selftest), 0, 0, "true",
	 "Refuse to start with a libevent that a client can crash (CVE-2026-63388)."},
};
/* clang-format on */

/* @cwd: where relative paths start; NULL: they are refused */
typedef int (*setter)(void *to, const struct option_row *o, const char *text, const char *cwd,
		      struct err *err);

static int set_bool(void *to, const struct option_row *o, const char *text, const char *cwd,
		    struct err *err)
{
	bool value = strcmp(text, "true") == 0;

	(void)o;
	(void)cwd;
	if (!value && strcmp(text, "false") != 0)
		return err_set(err, ERR_INVALID, "must be true or false");
	*(bool *)to = value;
	return 0;
}

static int set_uint(void *to, const struct option_row *o, const char *text, const char *cwd,
		    struct err *err)
{
	(void)cwd;
	if (!parse_u64(text, o->min, o->max, to))
		return err_set(err, ERR_INVALID, "must be a number from %" PRIu64 " to %" PRIu64,
			       o->min, o->max);
	return 0;
}

static int set_duration(void *to, const struct option_row *o, const char *text, const char *cwd,
			struct err *err)
{
	uint64_t ms = 0;

	(void)cwd;
	switch (parse_duration_ms(text, &ms)) {
	case PARSE_NO_NUMBER:
		return err_set(err, ERR_INVALID,
			       "must be a time like \"500ms\", \"30s\", "
			       "\"5m\", \"1h\" or \"3d\"");
	case PARSE_NO_UNIT:
		return err_set(err, ERR_INVALID, "needs a unit: ms, s, m, h or d");
	case PARSE_OK:
		if (ms < o->min || ms > o->max)
			break;
		*(uint64_t *)to = ms;
		return 0;
	case PARSE_TOO_LONG:
		break;
	}
	return err_set(err, ERR_INVALID, "must be a time from %" PRIu64 "ms to %" PRIu64 "s",
		       o->min, o->max / SECOND);
}

static int set_mode(void *to, const struct option_row *o, const char *text, const char *cwd,
		    struct err *err)
{
	(void)cwd;
	if (!parse_octal(text, (uint32_t)o->max, to))
		return err_set(err, ERR_INVALID, "must be octal permissions like \"0660\"");
	return 0;
}

static int set_name(void *to, const struct option_row *o, const char *text, const char *cwd,
		    struct err *err)
{
	size_t len = strlen(text);

	(void)cwd;
	if (len < o->min || len > o->max)
		return err_set(err, ERR_INVALID,
			       "must have %" PRIu64 " to %" PRIu64 " bytes, not %zu", o->min,
			       o->max, len);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return err_set(err, ERR_INVALID, "must have no control characters");
	memcpy(to, text, len + 1);
	return 0;
}

static int set_path(void *to, const struct option_row *o, const char *text, const char *cwd,
		    struct err *err)
{
	cleanup_free char *path = NULL;
	size_t len;

	if (!text[0])
		return set_name(to, o, text, cwd, err);
	if (text[0] != '/' && !cwd)
		return err_set(err, ERR_INVALID, "must be an absolute path");
	while (text[0] == '.' && text[1] == '/') {
		text += 2;
		text += strspn(text, "/");
	}
	if (asprintf(&path, "%s%s%s", text[0] == '/' ? "" : cwd, text[0] == '/' ? "" : "/",
		     strcmp(text, ".") == 0 ? "" : text) < 0)
		abort();
	for (len = strlen(path); len > 1 && path[len - 1] == '/'; len--)
		path[len - 1] = '\0';
	return set_name(to, o, path, cwd, err);
}

static int set_level(void *to, const struct option_row *o, const char *text, const char *cwd,
		     struct err *err)
{
	enum log_level level = log_level_from(text);

	(void)o;
	(void)cwd;
	if (level == LOG_LEVEL_COUNT)
		return err_set(err, ERR_INVALID, "must be one of" LEVEL_WORDS);
	*(enum log_level *)to = level;
	return 0;
}

/* clang-format off */
static const struct {
	setter set;
	enum json_type json; /* the type in the file */
	const char *json_name;
	const char *word; /* in the help text */
} types[] = {
	[TYPE_BOOL]     = {set_bool, json_type_boolean, "true or false", "true|false"},
	[TYPE_UINT]     = {set_uint, json_type_int, "a whole number", "N"},
	[TYPE_DURATION] = {set_duration, json_type_string, "a text like \"30s\"", "TIME"},
	[TYPE_MODE]     = {set_mode, json_type_string, "a text like \"0660\"", "MODE"},
	[TYPE_PATH]     = {set_path, json_type_string, "a text", "PATH"},
	[TYPE_NAME]     = {set_name, json_type_string, "a text", "NAME"},
	[TYPE_LEVEL]    = {set_level, json_type_string, "a text", "LEVEL"},
};
/* clang-format on */

static int set(struct conf *conf, const struct option_row *o, const char *text, const char *cwd,
	       struct err *err)
{
	return types[o->type].set((char *)conf + o->at, o, text, cwd, err);
}

void conf_defaults(struct conf *ret)
{
	struct err err;

	memset(ret, 0, sizeof(*ret)); /* padding, too: two structs compare as bytes */
	snprintf(ret->file, sizeof(ret->file), "%s", CONF_DEFAULT_FILE);
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (set(ret, &table[i], table[i].initial, NULL, &err) < 0)
			assert(!"a default that its own option refuses");
}

static int apply_json(struct conf *conf, struct json_object *root, struct err *err)
{
	const char *keys[ARRAY_LEN(table) + 1] = {NULL};

	if (!json_object_is_type(root, json_type_object))
		return err_set(err, ERR_INVALID, "must hold one object: { … }");
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		keys[i] = table[i].name;
	if (js_known((struct js_at){root, ""}, keys, err) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const struct option_row *o = &table[i];
		struct json_object *v;
		const char *text;

		if (!json_object_object_get_ex(root, o->name, &v))
			continue;
		if (!json_object_is_type(v, types[o->type].json))
			return err_set(err, ERR_INVALID, "%s: must be %s", o->name,
				       types[o->type].json_name);
		text = json_object_get_string(v);
		if (json_object_is_type(v, json_type_string) &&
		    strlen(text) != (size_t)json_object_get_string_len(v))
			return err_set(err, ERR_INVALID, "%s: must have no NUL", o->name);
		if (set(conf, o, text, NULL, err) < 0)
			return err_wrap(err, "%s", o->name);
	}
	return 0;
}

static int apply_file(struct conf *conf, struct err *err)
{
	cleanup_json struct json_object *root = NULL;

	if (json_file_read(conf->file, CONF_FILE_BYTES_MAX, &root, err) < 0)
		return -1;
	if (!root && conf->file_named)
		return err_set(err, ERR_PATH, "no such file: create it, or give no --config");
	return root ? apply_json(conf, root, err) : 0;
}

#define FLAG_MAX 40

/* "--run-dir" without its dashes */
static void flag_name(const struct option_row *o, char ret[FLAG_MAX])
{
	snprintf(ret, FLAG_MAX, "%s", o->name);
	for (char *c = ret; *c; c++)
		if (*c == '_')
			*c = '-';
}

enum { FLAG_CONFIG = 1, FLAG_CHECK, FLAG_VERSION = 'V', FLAG_HELP = 'h', FLAG_OPTION = 256 };

struct flags {
	const char *config;
	const char *given[ARRAY_LEN(table)];
	enum conf_outcome outcome;
};

static int read_flags(int argc, char **argv, struct flags *f, struct err *err)
{
	static const struct option fixed[] = {
		{"config", required_argument, NULL, FLAG_CONFIG},
		{"check-config", no_argument, NULL, FLAG_CHECK},
		{"version", no_argument, NULL, FLAG_VERSION},
		{"help", no_argument, NULL, FLAG_HELP},
	};
	struct option all[ARRAY_LEN(fixed) + ARRAY_LEN(table) + 1] = {{NULL}};
	char names[ARRAY_LEN(table)][FLAG_MAX];
	int c;

	memcpy(all, fixed, sizeof(fixed));
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		flag_name(&table[i], names[i]);
		all[ARRAY_LEN(fixed) + i] = (struct option){names[i], required_argument, NULL,
							    FLAG_OPTION + (int)i};
	}
	opterr = 0;
	optind = 0; /* glibc: start again */
	while ((c = getopt_long(argc, argv, "+:hV", all, NULL)) != -1) {
		if (c == '?')
			return err_set(err, ERR_INVALID, "%s: no such option; see --help",
				       argv[optind - 1]);
		if (c == ':')
			return err_set(err, ERR_INVALID, "%s: needs a value; see --help",
				       argv[optind - 1]);
		if (c >= FLAG_OPTION)
			f->given[c - FLAG_OPTION] = optarg;
		else if (c == FLAG_CONFIG)
			f->config = optarg;
		else if (c == FLAG_HELP)
			f->outcome = CONF_HELP;
		else if (f->outcome != CONF_HELP)
			f->outcome = c == FLAG_VERSION ? CONF_VERSION : CONF_CHECK;
	}
	if (optind < argc)
		return err_set(err, ERR_INVALID, "%s: unexpected argument; see --help",
			       argv[optind]);
	return 0;
}

static int apply_flags(struct conf *conf, const struct flags *f, const char *cwd, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		char name[FLAG_MAX];

		if (!f->given[i] || set(conf, &table[i], f->given[i], cwd, err) == 0)
			continue;
		flag_name(&table[i], name);
		return err_wrap(err, "--%s", name);
	}
	return 0;
}

int conf_parse_args(int argc, char **argv, struct conf *ret, enum conf_outcome *ret_outcome,
		    struct err *err)
{
	static const struct option_row config = {"config",      TYPE_PATH,         AT(file), 1,
						 CONF_PATH_MAX, CONF_DEFAULT_FILE, NULL};
	struct flags f = {.outcome = CONF_RUN};
	cleanup_free char *cwd = NULL;
	struct conf conf;

	if (read_flags(argc, argv, &f, err) < 0)
		return -1;
	if (f.outcome == CONF_HELP || f.outcome == CONF_VERSION) {
		*ret_outcome = f.outcome;
		return 0;
	}
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return err_sys(err, "cannot tell the working directory");
	conf_defaults(&conf);
	conf.file_named = f.config != NULL;
	if (f.config && set(&conf, &config, f.config, cwd, err) < 0)
		return err_wrap(err, "--config");
	if (apply_file(&conf, err) < 0)
		return err_wrap(err, "%s", conf.file);
	if (apply_flags(&conf, &f, cwd, err) < 0)
		return -1;
	*ret = conf;
	*ret_outcome = f.outcome;
	return 0;
}

void conf_print_help(FILE *out)
{
	fputs("Usage: uffdd [OPTION]...\n"
	      "Serve the memory of microVMs restored from snapshots.\n\n"
	      "  --config=FILE    read this file instead of " CONF_DEFAULT_FILE "\n"
	      "  --check-config   read the configuration, say what is wrong with it, and exit\n"
	      "  -V, --version    print the version and exit\n"
	      "  -h, --help       print this text and exit\n\n"
	      "Each of the following may also stand in the file, a JSON object with comments,\n"
	      "under the name in brackets. The command line wins.\n",
	      out);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const struct option_row *o = &table[i];
		char name[FLAG_MAX];

		flag_name(o, name);
		fprintf(out, "\n  --%s=%s\n      %s\n      [%s, default %s]\n", name,
			types[o->type].word, o->help, o->name,
			o->initial[0] ? o->initial : "empty");
	}
}
