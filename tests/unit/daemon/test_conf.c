/* test_conf - options from defaults, file and command line */
#include "daemon/conf.h"

#include <string.h>
#include <sys/stat.h>

#include "tests/support/harness.h"
#include "tests/support/runner.h"

static char *dir;  /* of the test case */
static char *file; /* in it */

/* Unchecked: they run in the runner, so that a failed test leaves nothing behind. */
static void make_dir(void)
{
	dir = harness_tmpdir();
	ck_assert_int_gt(asprintf(&file, "%s/uffdd.json", dir), 0);
}

static void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
	free(file);
}

static void write_file(const char *text, size_t len)
{
	FILE *f;

	unlink(file); /* an earlier test may have left a FIFO */
	f = fopen(file, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(text, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
}

/* The arguments after the program's name, up to NULL. */
static int parse(struct conf *ret, enum conf_outcome *outcome, struct err *err,
		 const char *const *args)
{
	char *argv[16] = {(char *)"uffdd"};
	int argc = 1;

	while (*args)
		argv[argc++] = (char *)*args++;
	return conf_parse_args(argc, argv, ret, outcome, err);
}
#define ARGS(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static int parse_text(const char *text, struct conf *ret, struct err *err)
{
	enum conf_outcome outcome;

	write_file(text, strlen(text));
	return parse(ret, &outcome, err, ARGS("--config", file));
}

/* Each key with what is shipped, another good value, and values that must be refused. */
/* clang-format off */
static const struct {
	const char *key, *initial, *good;
	const char *bad[5];
} keys[] = {
	{"run_dir", "\"/run/uffdd\"", "\"/x\"",
	 {"\"\"", "\"run\"", "\"./run\"", "7",
	  "\"/0123456789012345678901234567890123456789012345678901234567890123456789"
	  "0123456789012345678901234\""}},
	{"state_dir", "\"/var/lib/uffdd\"", "\"/x/y z\"",
	 {"\"\"", "\"state\"", "\"/a\\nb\"", "\"/a\\u007f\"", "null"}},
	{"worker", "\"\"", "\"/bin/true\"", {"\"true\"", "[]"}},
	{"tenants_file", "\"\"", "\"/etc/t.json\"", {"\"t.json\"", "{}"}},
	{"each_user_is_tenant", "false", "true", {"\"true\"", "1", "null"}},
	{"tenant_cgroup", "\"\"", "\"/sys/fs/cgroup/uffdd\"", {"\"uffdd\"", "7", "null"}},
	{"log_level", "\"info\"", "\"debug\"", {"\"loud\"", "\"\"", "3", "\"INFO\""}},
	{"socket_mode", "\"0660\"", "\"777\"",
	 {"\"1777\"", "\"0o660\"", "\"rw\"", "432", "\"0680\""}},
	{"socket_group", "\"\"", "\"kvm\"",
	 {"\"a\\tb\"", "100", "true", "\"a\\u0000b\"",
	  "\"0123456789012345678901234567890123456789012345678901234567890123\""}},
	{"pool_workers", "4", "0", {"65", "-1", "\"4\"", "4.0", "18446744073709551616"}},
	{"worker_uid", "0", "65532", {"4294967295", "-1", "\"uffdd-worker\"", "1.0"}},
	{"worker_gid", "0", "4294967294", {"4294967295", "-1", "\"nogroup\""}},
	{"prefetch_leases", "0", "4096", {"4097", "-1", "\"2\"", "1.5"}},
	{"prefetch_slice", "\"100ms\"", "\"10ms\"", {"\"9ms\"", "\"61s\"", "100", "\"0s\""}},
	{"prefetch_bytes_per_s", "0", "1000000000", {"-1", "\"1G\"", "1099511627776001"}},
	{"prefetch_margin_bytes", "67108864", "0", {"-1", "\"64M\"", "1099511627777"}},
	{"worker_restarts", "5", "0", {"1000001", "-1", "\"5\"", "5.0"}},
	{"worker_restart_window", "\"60s\"", "\"1s\"", {"\"25h\"", "\"0s\"", "60", "\"\""}},
	{"max_restores", "4096", "65536", {"0", "65537", "1e3", "true"}},
	{"max_restores_per_tenant", "1024", "1", {"0", "65537", "null"}},
	{"workers_per_tenant", "2048", "1", {"0", "131073", "null"}},
	{"guest_bytes_per_tenant", "1125899906842624", "4096", {"4095", "1125899906842625"}},
	{"commands_per_s_per_tenant", "200", "1", {"0", "1000001", "1.5"}},
	{"page_map_bytes_per_tenant", "1073741824", "4096", {"4095", "1099511627777"}},
	{"header_entries_per_tenant", "16777216", "1", {"0", "1099511627777"}},
	{"files_per_tenant", "65536", "1", {"0", "4294967297"}},
	{"cgroup_memory_bytes_per_tenant", "0", "1125899906842624",
	 {"-1", "1125899906842625", "\"1G\""}},
	{"cgroup_pids_per_tenant", "0", "4194304", {"-1", "4194305", "null"}},
	{"records_per_tenant", "4096", "1", {"0", "1000001", "\"1\""}},
	{"record_bytes_per_tenant", "67108864", "65536", {"65535", "1099511627777", "-1"}},
	{"snapshot_bytes_max", "1099511627776", "8796093022208", {"4095", "8796093022209"}},
	{"connect_timeout_max", "\"1h\"", "\"1000ms\"",
	 {"\"999ms\"", "\"61m\"", "3600", "\"1 h\"", "\"1h \""}},
	{"ended_retention", "\"1h\"", "\"30d\"", {"\"31d\"", "\"-1s\"", "\"\"", "\"h\"", "\"1w\""}},
	{"record_window", "\"10s\"", "\"5m\"", {"\"301s\"", "10", "\"-1s\"", "\"\""}},
	{"working_set_bytes", "4194304", "16777216", {"4095", "16777217", "\"4M\""}},
	{"working_set_bytes_per_tenant", "268435456", "65536", {"65535", "1099511627777"}},
	{"event_retention_count", "100000", "1", {"0", "10000001"}},
	{"events_per_tenant", "50000", "1", {"0", "10000001"}},
	{"event_retention_age", "\"72h\"", "\"366d\"",
	 {"\"367d\"", "\"0s\"", "\"99999999999999999999s\"", "\"18446744073709551615d\"",
	  "\"213503982334602d\""}},
	{"http_header_bytes", "8192", "1024", {"1023", "1048577"}},
	{"http_body_bytes", "1048576", "67108864", {"1023", "67108865"}},
	{"http_connections", "256", "1", {"0", "65537"}},
	{"http_connections_per_uid", "64", "65536", {"0", "65537"}},
	{"http_held", "64", "1", {"0", "65537"}},
	{"http_held_per_uid", "16", "1", {"0", "65537"}},
	{"http_queue_bytes", "1048576", "4096", {"4095", "67108865"}},
	{"http_unsent_bytes_per_uid", "16777216", "65536", {"65535", "1099511627777"}},
	{"http_idle", "\"60s\"", "\"1h\"", {"\"61m\"", "\"999ms\""}},
	{"http_header_deadline", "\"10s\"", "\"1s\"", {"\"0s\"", "\"2h\""}},
	{"http_stall", "\"30s\"", "\"5m\"", {"\"0ms\"", "\"1d\""}},
	{"libevent_selftest", "true", "false", {"\"true\"", "1", "null"}},
};
/* clang-format on */

START_TEST(test_key)
{
	struct conf shipped, same, other, kept;
	struct err err = {.msg = ""};
	char text[512];

	conf_defaults(&shipped);
	snprintf(text, sizeof(text), "{\"%s\": %s}", keys[_i].key, keys[_i].initial);
	ck_assert_msg(parse_text(text, &same, &err) == 0, "%s: %s", keys[_i].key, err.msg);
	ck_assert_msg(memcmp(&shipped.run_dir, &same.run_dir,
			     sizeof(same) - offsetof(struct conf, run_dir)) == 0,
		      "%s is not shipped as %s", keys[_i].key, keys[_i].initial);

	snprintf(text, sizeof(text), "{\"%s\": %s}", keys[_i].key, keys[_i].good);
	ck_assert_msg(parse_text(text, &other, &err) == 0, "%s: %s", keys[_i].key, err.msg);
	ck_assert_msg(memcmp(&same, &other, sizeof(same)) != 0, "%s: no effect", keys[_i].key);

	kept = other;
	for (size_t i = 0; i < ARRAY_LEN(keys[_i].bad) && keys[_i].bad[i]; i++) {
		const char *bad = keys[_i].bad[i];

		snprintf(text, sizeof(text), "{\"%s\": %s}", keys[_i].key, bad);
		err = (struct err){.msg = ""};
		ck_assert_msg(parse_text(text, &kept, &err) < 0, "%s: took %s", keys[_i].key, bad);
		ck_assert_msg(err.code == ERR_INVALID, "%s = %s: %s", keys[_i].key, bad, err.msg);
		ck_assert_msg(strncmp(err.msg, file, strlen(file)) == 0, "%s", err.msg);
		ck_assert_msg(memcmp(&kept, &other, sizeof(kept)) == 0, "%s: touched", bad);
		/* A number beyond 64 bits is refused by the parser, which knows no keys. */
		if (!strstr(bad, "18446744073709551616"))
			ck_assert_msg(strstr(err.msg, keys[_i].key) != NULL, "%s", err.msg);
	}
}
END_TEST

static const struct {
	const char *name, *text, *complaint; /* NULL: good */
} files[] = {
	{"empty object", "{}", NULL},
	{"comments", "/* a */ { // b\n \"http_held\": 3 /* c */\n} // d\n", NULL},
	{"unknown key", "{\"run_dirs\": \"/x\"}", "run_dirs"},
	{"nested", "{\"http\": {\"held\": 3}}", "http"},
	{"duplicate key", "{\"http_held\": 3, \"http_held\": 4}", "http_held"},
	{"empty file", "", ""},
	{"only a comment", "/* nothing */", ""},
	{"array", "[]", "object"},
	{"number", "7", "object"},
	{"cut off", "{\"http_held\": 3", ""},
	{"second value", "{} {}", ""},
	{"trailing comma", "{\"http_held\": 3,}", ""},
	{"not JSON", "http_held = 3\n", ""},
	{"bad UTF-8", "{\"worker\": \"/\xff\"}", ""},
};

START_TEST(test_file)
{
	struct conf conf;
	struct err err = {.msg = ""};
	int r = parse_text(files[_i].text, &conf, &err);

	if (!files[_i].complaint) {
		ck_assert_msg(r == 0, "%s: %s", files[_i].name, err.msg);
		return;
	}
	ck_assert_msg(r < 0, "%s", files[_i].name);
	ck_assert_msg(err.code == ERR_INVALID, "%s: %s", files[_i].name, err.msg);
	ck_assert_msg(strncmp(err.msg, file, strlen(file)) == 0, "%s", err.msg);
	ck_assert_msg(strstr(err.msg, files[_i].complaint) != NULL, "%s: %s", files[_i].name,
		      err.msg);
}
END_TEST

START_TEST(test_file_kinds)
{
	static char big[CONF_FILE_BYTES_MAX + 1];
	enum conf_outcome outcome;
	struct conf conf;
	struct err err;

	ck_assert_int_lt(parse(&conf, &outcome, &err, ARGS("--config", "/nonexistent/x.json")), 0);
	ck_assert_int_eq(err.code, ERR_PATH);
	ck_assert_ptr_nonnull(strstr(err.msg, "/nonexistent/x.json"));
	ck_assert_int_lt(parse(&conf, &outcome, &err, ARGS("--config", dir)), 0);
	ck_assert_int_eq(err.code, ERR_PATH);

	/* The largest that is allowed, padded with blanks, and one byte more. */
	memset(big, ' ', sizeof(big));
	memcpy(big, "{}", 2);
	write_file(big, sizeof(big) - 1);
	ck_assert_int_eq(parse(&conf, &outcome, &err, ARGS("--config", file)), 0);
	write_file(big, sizeof(big));
	ck_assert_int_lt(parse(&conf, &outcome, &err, ARGS("--config", file)), 0);
	ck_assert_int_eq(err.code, ERR_TOOBIG);

	/* Nobody writes to it: must not block. */
	ck_assert_int_eq(unlink(file), 0);
	ck_assert_int_eq(mkfifo(file, 0600), 0);
	ck_assert_int_lt(parse(&conf, &outcome, &err, ARGS("--config", file)), 0);
	ck_assert_int_eq(err.code, ERR_PATH);
}
END_TEST

START_TEST(test_precedence)
{
	static const char text[] = "{\"http_held\": 7, \"http_stall\": \"7s\","
				   " \"run_dir\": \"/file\"}";
	enum conf_outcome outcome = CONF_HELP;
	struct conf conf, shipped;
	struct err err = {.msg = ""};

	conf_defaults(&shipped);
	write_file(text, strlen(text));
	ck_assert_msg(parse(&conf, &outcome, &err,
			    ARGS("--http-held=9", "--config", file, "--run-dir", "/flag/",
				 "--run-dir=/last//", "--libevent-selftest", "false")) == 0,
		      "%s", err.msg);
	ck_assert_int_eq(outcome, CONF_RUN);
	ck_assert_uint_eq(conf.http_held, 9);        /* flag over file, wherever it stands */
	ck_assert_str_eq(conf.run_dir, "/last");     /* the last of two flags */
	ck_assert_uint_eq(conf.http_stall_ms, 7000); /* file over default */
	ck_assert_uint_eq(conf.http_idle_ms, 60000);
	ck_assert_uint_eq(conf.event_retention_age_ms, 72 * 3600 * 1000);
	ck_assert_uint_eq(conf.socket_mode, 0660);
	ck_assert_str_eq(conf.state_dir, shipped.state_dir);
	ck_assert(!conf.libevent_selftest);
	ck_assert(conf.file_named);
	ck_assert_str_eq(conf.file, file);
	/* A bad file is refused even where flags would hide what is wrong with it. */
	write_file("{\"http_held\": 0}", strlen("{\"http_held\": 0}"));
	ck_assert_int_lt(parse(&conf, &outcome, &err, ARGS("--http-held=9", "--config", file)), 0);
}
END_TEST

START_TEST(test_outcomes)
{
	static const struct {
		const char *args[4];
		int outcome; /* -1: refused */
		const char *complaint;
	} rows[] = {
		{{"--help"}, CONF_HELP, NULL},
		{{"-h", "--check-config"}, CONF_HELP, NULL},
		{{"--check-config", "--help"}, CONF_HELP, NULL},
		{{"--version"}, CONF_VERSION, NULL},
		{{"-V", "--config", "/nonexistent"}, CONF_VERSION, NULL},
		{{"--check-config", "--log-level", "debug"}, CONF_CHECK, NULL},
		{{"--check-config", "--config", "/nonexistent"}, -1, "/nonexistent"},
		{{"--nope"}, -1, "--nope"},
		{{"-x"}, -1, "-x"},
		{{"--run-dir"}, -1, "--run-dir"},
		{{"--help=1"}, -1, "--help=1"},
		{{"--http"}, -1, "--http"},
		{{"--config", ""}, -1, "--config"},
		{{"--config="}, -1, "--config"},
		{{"--run-dir="}, -1, "--run-dir"},
		{{"--log-level=loud"}, -1, "--log-level"},
		{{"--http-held=0"}, -1, "--http-held"},
		{{"serve"}, -1, "serve"},
		{{"--log-level=info", "--", "serve"}, -1, "serve"},
	};
	const char *args[5] = {NULL};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum conf_outcome outcome = CONF_RUN;
		struct conf conf;
		struct err err = {.msg = ""};
		int r;

		memcpy(args, rows[i].args, sizeof(rows[i].args));
		r = parse(&conf, &outcome, &err, args);
		if (rows[i].outcome < 0) {
			ck_assert_msg(r < 0, "%s", rows[i].args[0]);
			ck_assert_msg(strstr(err.msg, rows[i].complaint) != NULL, "%s: %s",
				      rows[i].args[0], err.msg);
			continue;
		}
		ck_assert_msg(r == 0, "%s: %s", rows[i].args[0], err.msg);
		ck_assert_msg((int)outcome == rows[i].outcome, "%s", rows[i].args[0]);
	}
}
END_TEST

START_TEST(test_relative_flags)
{
	cleanup_free char *cwd = NULL;
	enum conf_outcome outcome;
	char want[4200];
	struct conf conf;
	struct err err = {.msg = ""};

	ck_assert_int_eq(chdir(dir), 0);
	cwd = getcwd(NULL, 0);
	write_file("{}", 2);
	ck_assert_msg(parse(&conf, &outcome, &err,
			    ARGS("--run-dir", "r", "--state-dir", "././s/", "--worker", "../w",
				 "--config=uffdd.json")) == 0,
		      "%s", err.msg);
	snprintf(want, sizeof(want), "%s/r", cwd);
	ck_assert_str_eq(conf.run_dir, want);
	snprintf(want, sizeof(want), "%s/s", cwd);
	ck_assert_str_eq(conf.state_dir, want);
	snprintf(want, sizeof(want), "%s/../w", cwd);
	ck_assert_str_eq(conf.worker, want);
	snprintf(want, sizeof(want), "%s/uffdd.json", cwd);
	ck_assert_str_eq(conf.file, want);

	ck_assert_int_eq(parse(&conf, &outcome, &err,
			       ARGS("--run-dir", ".", "--state-dir", "/",
				    "--worker=", "--config=uffdd.json")),
			 0);
	ck_assert_str_eq(conf.run_dir, cwd);
	ck_assert_str_eq(conf.state_dir, "/");
	ck_assert_str_eq(conf.worker, "");

	/* Long enough for a directory, too long for a socket in it. */
	memset(want, 'd', 90);
	want[90] = '\0';
	ck_assert_int_lt(parse(&conf, &outcome, &err,
			       ARGS("--run-dir", want, "--config=uffdd.json")),
			 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "--run-dir"));
}
END_TEST

START_TEST(test_help)
{
	cleanup_free char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	size_t options = 0;

	conf_print_help(f);
	fclose(f);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		char want[64];

		snprintf(want, sizeof(want), "      [%s, default ", keys[i].key);
		ck_assert_msg(strstr(text, want) != NULL, "%s", want);
		snprintf(want, sizeof(want), "\n  --%s=", keys[i].key);
		for (char *c = want; *c; c++)
			if (*c == '_')
				*c = '-';
		ck_assert_msg(strstr(text, want) != NULL, "%s", want);
	}
	/* And this test knows all that there are. */
	for (const char *p = text; (p = strstr(p, ", default ")); p++)
		options++;
	ck_assert_uint_eq(options, ARRAY_LEN(keys));
	ck_assert_ptr_nonnull(strstr(text, "--config=FILE"));
	ck_assert_ptr_nonnull(strstr(text, "--check-config"));
	for (const char *p = text; *p; p++) {
		size_t line = strcspn(p, "\n");

		ck_assert_msg(line <= 100, "%.*s", (int)line, p);
		p += line;
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("conf");
	TCase *t = tcase_create("options");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_loop_test(t, test_key, 0, ARRAY_LEN(keys));
	tcase_add_loop_test(t, test_file, 0, ARRAY_LEN(files));
	tcase_add_test(t, test_file_kinds);
	tcase_add_test(t, test_precedence);
	tcase_add_test(t, test_outcomes);
	tcase_add_test(t, test_relative_flags);
	tcase_add_test(t, test_help);
	suite_add_tcase(s, t);
	return s;
}
