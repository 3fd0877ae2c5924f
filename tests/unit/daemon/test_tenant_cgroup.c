/*
 * test_tenant_cgroup - the cgroups of tenants: what may be delegated, who is placed, limits, what is
 * shown and removed
 *
 * The kernel's own where this host has a file system of version 2. Its controllers are often not
 * there, so a directory with files of the same names stands in for a cgroup that has them.
 */
#include "daemon/tenant_cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/js.h"
#include "tests/support/cgroup2.h"
#include "tests/support/runner.h"
#include "tests/support/scene.h"

static const struct tenant_cgroup_limits none;

static void must(int rc, const struct err *err)
{
	ck_assert_msg(rc == 0, "%s", err->msg);
}

static void refused(const char *path, enum err_code code, const char *words)
{
	struct tenant_cgroup *g;
	struct err err = {.msg = ""};

	ck_assert_int_eq(tenant_cgroup_open(path, &g, &err), -1);
	ck_assert_msg(err.code == code && strstr(err.msg, words) && strstr(err.msg, path), "%s: %s",
		      err_name(err.code), err.msg);
}

/* ---- stand-ins ---- */

static char *dir; /* owned */
static struct tenant_cgroup fake;

static void make_file(const char *name, const char *text)
{
	cleanup_free char *path = scene_format("%s/t/%s", dir, name);

	scene_write(path, text, strlen(text));
}

static void begin_fake(void)
{
	cleanup_free char *path = NULL;

	dir = harness_tmpdir();
	path = scene_format("%s/t", dir);
	ck_assert_int_eq(mkdir(path, 0755), 0);
	fake = (struct tenant_cgroup){.enabled = {true, true}};
	snprintf(fake.path, sizeof(fake.path), "%s", dir);
	fake.dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	make_file("cgroup.procs", "");
	make_file("memory.max", "max\n");
	make_file("pids.max", "");
}

static void end_fake(void)
{
	close_fd(&fake.dir);
	harness_rmtree(dir);
	free(dir);
}

static bool says(const char *file, const char *want)
{
	cleanup_free char *path = scene_format("%s/t/%s", dir, file);
	cleanup_file FILE *f = fopen(path, "re");
	char text[256] = "";

	return f && fgets(text, sizeof(text), f) && strcmp(text, want) == 0;
}

static bool is_limited(void *arg)
{
	const char *const *want = arg;

	return says("memory.max", want[0]) && says("pids.max", want[1]);
}

/* ---- refused at start ---- */

START_TEST(test_no_cgroup)
{
	cleanup_free char *path = harness_tmpdir();
	cleanup_free char *nowhere = scene_format("%s/none", path);

	refused(path, ERR_PATH, "is no cgroup of version 2");
	refused(nowhere, ERR_PATH, "No such file");
	harness_rmtree(path);
}
END_TEST

/* What no controller enforces is no limit: that is told, and 0 can always be had. */
START_TEST(test_check)
{
	const struct tenant_cgroup_limits memory = {{16 << 20, 0}}, pids = {{0, 1}};
	const struct tenant_cgroup_limits little = {{(16 << 20) - 1, 0}};
	struct err err = {.msg = ""};

	must(tenant_cgroup_check(NULL, &none, &err), &err);
	must(tenant_cgroup_check(&fake, &memory, &err), &err);
	/* A number of MiB in place of bytes would end guests. */
	ck_assert_int_eq(tenant_cgroup_check(&fake, &little, &err), -1);
	ck_assert_int_eq(err.code, ERR_INVALID);
	ck_assert_msg(strstr(err.msg, "cgroup_memory_bytes: must be 0") == err.msg, "%s", err.msg);
	ck_assert_int_eq(tenant_cgroup_check(NULL, &memory, &err), -1);
	ck_assert_int_eq(err.code, ERR_STATE);
	ck_assert_msg(strstr(err.msg, "cgroup_memory_bytes: ") == err.msg &&
			      strstr(err.msg, "configure tenant_cgroup"),
		      "%s", err.msg);
	fake.enabled[TENANT_CGROUP_PIDS] = false;
	must(tenant_cgroup_check(&fake, &memory, &err), &err);
	ck_assert_int_eq(tenant_cgroup_check(&fake, &pids, &err), -1);
	ck_assert_msg(strstr(err.msg, "cgroup_pids: the controller pids is not in") == err.msg,
		      "%s", err.msg);
}
END_TEST

/* ---- limits ---- */

/* The kernel rounds memory down to pages; a limit that is there is not written again. */
START_TEST(test_limits)
{
	const char *both[] = {"8192", "7"}, *after[] = {"max\n", "9"};
	struct tenant_cgroup_limits limits = {{8192 + 4095, 7}};

	tenant_cgroup_limit(&fake, "none", &limits);
	tenant_cgroup_limit(&fake, "t", &limits);
	ck_assert(harness_wait(is_limited, both, HARNESS_MS));
	make_file("memory.max", "max\n");
	make_file("pids.max", "");
	limits = (struct tenant_cgroup_limits){{0, 9}};
	tenant_cgroup_limit(&fake, "t", &limits);
	ck_assert(harness_wait(is_limited, after, HARNESS_MS));
	/* Without the controller nothing is tried. */
	fake.enabled[TENANT_CGROUP_MEMORY] = false;
	limits = (struct tenant_cgroup_limits){{4096, 9}};
	tenant_cgroup_limit(&fake, "t", &limits);
	ck_assert(is_limited(after));
}
END_TEST

/* A cgroup that was there gets them, too; then the process comes. */
START_TEST(test_limits_when_placed)
{
	const struct tenant_cgroup_limits limits = {{4096, 3}};
	const char *want[] = {"4096", "3"};
	cleanup_free char *pid = scene_format("%d", (int)getpid());
	struct err err = {.msg = ""};

	must(tenant_cgroup_place(&fake, "t", &limits, getpid(), &err), &err);
	ck_assert(says("cgroup.procs", pid));
	ck_assert(harness_wait(is_limited, want, HARNESS_MS));
}
END_TEST

/* A new one whose limits cannot be set holds nobody, and is not left. */
START_TEST(test_limits_of_a_new_one)
{
	const struct tenant_cgroup_limits limits = {{_i ? 0 : 4096, _i}};
	struct err err = {.msg = ""};

	ck_assert_int_eq(tenant_cgroup_place(&fake, "new", &limits, getpid(), &err), -1);
	ck_assert_int_eq(err.code, ERR_UNREADY);
	ck_assert_msg(strstr(err.msg, "cannot be placed in the cgroup") &&
			      strstr(err.msg, "/new: "),
		      "%s", err.msg);
	ck_assert_int_eq(faccessat(fake.dir, "new", F_OK, 0), -1);
}
END_TEST

/* Names of files that the kernel has there are names of tenants, too. */
START_TEST(test_cannot_be_placed)
{
	struct err err = {.msg = ""};

	close(openat(fake.dir, "memory.max", O_CREAT | O_CLOEXEC, 0600));
	ck_assert_int_eq(tenant_cgroup_place(&fake, "memory.max", &none, getpid(), &err), -1);
	ck_assert_int_eq(err.code, ERR_UNREADY);
	ck_assert_msg(strstr(err.msg, "Not a directory"), "%s", err.msg);
	snprintf(fake.own, sizeof(fake.own), "t");
	ck_assert_int_eq(tenant_cgroup_place(&fake, "t", &none, getpid(), &err), -1);
	ck_assert_int_eq(err.code, ERR_STATE);
	ck_assert_msg(strstr(err.msg, "is the daemon's own"), "%s", err.msg);
}
END_TEST

/* ---- what is shown ---- */

static void shows(const char *tenant, const char *want)
{
	cleanup_json struct json_object *o = tenant_cgroup_json(&fake, tenant);
	cleanup_free char *all = scene_format("{\"path\":\"%s/%s\",%s}", dir, tenant, want);

	ck_assert_str_eq(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
								   JSON_C_TO_STRING_NOSLASHESCAPE),
			 all);
}

START_TEST(test_shown)
{
	make_file("memory.current", "123456\n");
	make_file("memory.max", "999424\n");
	make_file("memory.stat", "anon 11\nfile 22\nfile_mapped 33\nanon_thp 44\n");
	make_file("pids.current", "5\n");
	shows("t", "\"memory_bytes\":123456,\"memory_limit_bytes\":999424,\"anon_bytes\":11,"
		   "\"file_bytes\":22,\"pids\":5,\"pids_limit\":null");
	make_file("memory.stat", "file_mapped 33\nanon_thp 44\n");
	make_file("memory.current", "");
	shows("t", "\"memory_bytes\":null,\"memory_limit_bytes\":999424,\"anon_bytes\":null,"
		   "\"file_bytes\":null,\"pids\":5,\"pids_limit\":null");
	shows("none", "\"memory_bytes\":null,\"memory_limit_bytes\":null,\"anon_bytes\":null,"
		      "\"file_bytes\":null,\"pids\":null,\"pids_limit\":null");
}
END_TEST

/* ---- the kernel's own ---- */

static struct cgroup2 home;

static void begin_real(void)
{
	cgroup2_open(&home, "unit");
}

static void end_real(void)
{
	cgroup2_close(&home);
}

static struct tenant_cgroup *open_real(void)
{
	struct err err = {.msg = ""};
	struct tenant_cgroup *g = NULL;

	ck_assert_msg(tenant_cgroup_open(home.dir, &g, &err) == 0, "%s", err.msg);
	return g;
}

static void make_below(const char *name)
{
	cleanup_free char *path = scene_format("%s/%s", home.dir, name);

	ck_assert_int_eq(mkdir(path, 0755), 0);
}

/* A process with a child, as a worker has a holder. *ret_child ends with it. */
static pid_t start_family(pid_t *ret_child)
{
	int ends[2];
	pid_t pid;

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		pid_t child = fork();

		if (child == 0) {
			pause();
			_exit(0);
		}
		if (write(ends[1], &child, sizeof(child)) != sizeof(child))
			_exit(1);
		pause();
		_exit(0);
	}
	ck_assert_int_eq(read(ends[0], ret_child, sizeof(*ret_child)), sizeof(*ret_child));
	close(ends[0]);
	close(ends[1]);
	return pid;
}

static void end_family(pid_t pid, pid_t child)
{
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

struct removal {
	const struct tenant_cgroup *g;
	const char *tenant;
};

/* A process that was killed is there for a moment. */
static bool is_removed(void *arg)
{
	const struct removal *r = arg;

	tenant_cgroup_remove(r->g, r->tenant);
	return cgroup2_count(&home, r->tenant) < 0;
}

START_TEST(test_place)
{
	struct tenant_cgroup *g = open_real();
	struct removal removal = {g, "red"};
	struct err err = {.msg = ""};
	pid_t child, pid = start_family(&child);

	must(tenant_cgroup_place(g, "red", &none, pid, &err), &err);
	ck_assert(cgroup2_has(&home, "red", pid) && cgroup2_has(&home, "red", child));
	ck_assert_int_eq(cgroup2_count(&home, "red"), 2);
	/* Once more is no error. */
	must(tenant_cgroup_place(g, "red", &none, pid, &err), &err);
	/* What lives there stays there. */
	tenant_cgroup_remove(g, "red");
	tenant_cgroup_tidy(g);
	ck_assert_int_eq(cgroup2_count(&home, "red"), 2);
	end_family(pid, child);
	ck_assert(harness_wait(is_removed, &removal, HARNESS_MS));
	tenant_cgroup_close(g);
}
END_TEST

START_TEST(test_process_has_ended)
{
	struct tenant_cgroup *g = open_real();
	struct err err = {.msg = ""};
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(tenant_cgroup_place(g, "red", &none, pid, &err), -1);
	ck_assert_int_eq(err.code, ERR_UNREADY);
	ck_assert_msg(strstr(err.msg, "/red: No such process"), "%s", err.msg);
	tenant_cgroup_close(g);
}
END_TEST

/* Only what could be a tenant's goes. */
START_TEST(test_tidy)
{
	struct tenant_cgroup *g;

	make_below("left-over");
	make_below("_not-one");
	make_below("own");
	g = open_real();
	snprintf(g->own, sizeof(g->own), "own");
	tenant_cgroup_tidy(g);
	ck_assert_int_eq(cgroup2_count(&home, "left-over"), -1);
	ck_assert_int_eq(cgroup2_count(&home, "_not-one"), 0);
	ck_assert_int_eq(cgroup2_count(&home, "own"), 0);
	tenant_cgroup_close(g);
}
END_TEST

/* The cgroup of the daemon is none of a tenant's. */
START_TEST(test_own)
{
	struct tenant_cgroup *g;

	make_below("daemon");
	make_below("other");
	ck_assert(cgroup2_write(&home, "daemon", "cgroup.procs", "0"));
	g = open_real();
	ck_assert_str_eq(g->own, "daemon");
	tenant_cgroup_close(g);
	ck_assert(cgroup2_write(&home, "..", "cgroup.procs", "0"));
	g = open_real();
	ck_assert_str_eq(g->own, "");
	tenant_cgroup_close(g);
}
END_TEST

START_TEST(test_threaded)
{
	cleanup_free char *above = scene_format("%s/above", home.dir);
	cleanup_free char *path = scene_format("%s/threaded", above);

	make_below("above");
	make_below("above/threaded");
	ck_assert(cgroup2_write(&home, "above/threaded", "cgroup.type", "threaded"));
	refused(path, ERR_PATH, "is a cgroup of type \"threaded\"");
	refused(above, ERR_PATH, "is a cgroup of type \"domain threaded\"");
	ck_assert(rmdir(path) == 0 && rmdir(above) == 0);
}
END_TEST

START_TEST(test_not_delegated)
{
	ck_assert_int_eq(seteuid(65534), 0);
	refused(home.dir, ERR_PATH, "uid 65534 cannot write to");
	ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

/* ---- controllers of the kernel ---- */

static bool has_limits(void *arg)
{
	const char *const *want = arg;
	cleanup_free char *memory = cgroup2_read(&home, "red", "memory.max");
	cleanup_free char *pids = cgroup2_read(&home, "red", "pids.max");

	return (!memory || strcmp(memory, want[0]) == 0) && (!pids || strcmp(pids, want[1]) == 0);
}

START_TEST(test_controllers)
{
	const char *first[] = {"67108864", "64"}, *second[] = {"max", "32"};
	struct tenant_cgroup *g = open_real();
	struct tenant_cgroup_limits limits = {{64 << 20, 64}};
	struct err err = {.msg = ""};
	pid_t child, pid = start_family(&child);
	cleanup_json struct json_object *o = NULL;

	ck_assert_int_eq(g->enabled[0], cgroup2_offers("memory"));
	ck_assert_int_eq(g->enabled[1], cgroup2_offers("pids"));
	must(tenant_cgroup_place(g, "red", &limits, pid, &err), &err);
	/* Before any process is there. */
	ck_assert(has_limits(first));
	o = tenant_cgroup_json(g, "red");
	if (g->enabled[TENANT_CGROUP_PIDS])
		ck_assert(scene_number(o, "pids") == 2 && scene_number(o, "pids_limit") == 64);
	if (g->enabled[TENANT_CGROUP_MEMORY])
		ck_assert(json_object_is_type(scene_member(o, "file_bytes"), json_type_int) &&
			  json_object_is_type(scene_member(o, "anon_bytes"), json_type_int) &&
			  json_object_is_type(scene_member(o, "memory_bytes"), json_type_int));
	limits = (struct tenant_cgroup_limits){{0, 32}};
	tenant_cgroup_limit(g, "red", &limits);
	ck_assert(harness_wait(has_limits, second, HARNESS_MS));
	end_family(pid, child);
	tenant_cgroup_close(g);
}
END_TEST

/* With a process in the cgroup that is delegated, those below could have no limits. */
START_TEST(test_not_empty)
{
	pid_t child, pid = start_family(&child);
	cleanup_free char *path = scene_format("%s/full", home.dir);
	cleanup_free char *text = scene_format("%d", (int)pid);
	cleanup_free char *words = scene_format("process %d is in ", (int)pid);
	cleanup_free char *ours = scene_format("process %d (uffdd) is in ", (int)getpid());

	make_below("full");
	ck_assert(cgroup2_write(&home, "full", "cgroup.procs", text));
	refused(path, ERR_STATE, words);
	ck_assert(cgroup2_write(&home, "..", "cgroup.procs", text));
	ck_assert(cgroup2_write(&home, "full", "cgroup.procs", "0"));
	refused(path, ERR_STATE, ours);
	ck_assert(cgroup2_write(&home, "..", "cgroup.procs", "0"));
	end_family(pid, child);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("tenant_cgroup");
	TCase *t = runner_case(s, "stand-ins", begin_fake, end_fake), *real;
	const char *why;

	tcase_add_test(t, test_no_cgroup);
	tcase_add_test(t, test_check);
	tcase_add_test(t, test_limits);
	tcase_add_test(t, test_limits_when_placed);
	tcase_add_loop_test(t, test_limits_of_a_new_one, 0, 2);
	tcase_add_test(t, test_cannot_be_placed);
	tcase_add_test(t, test_shown);
	if (geteuid() != 0 || !cgroup2_available(&why))
		return s;
	real = tcase_create("the kernel's own");
	tcase_add_unchecked_fixture(real, begin_real, end_real);
	suite_add_tcase(s, real);
	tcase_add_test(real, test_place);
	tcase_add_test(real, test_process_has_ended);
	tcase_add_test(real, test_tidy);
	tcase_add_test(real, test_own);
	tcase_add_test(real, test_threaded);
	tcase_add_test(real, test_not_delegated);
	if (!cgroup2_offers("memory") && !cgroup2_offers("pids"))
		return s;
	tcase_add_test(real, test_controllers);
	tcase_add_test(real, test_not_empty);
	return s;
}
