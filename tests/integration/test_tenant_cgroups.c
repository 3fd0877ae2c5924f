/*
 * test_tenant_cgroups - workers in the cgroups of their tenants: placed, seen, limited, and removed
 *
 * Limits need controllers, which this host's file system of version 2 may not have.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/cgroup2.h"
#include "tests/support/runner.h"
#include "tests/support/stage.h"

#define MIB ((uint64_t)1 << 20)

static struct cgroup2 home;
static struct scene s;
static char *config; /* owned */

static void make_home(void)
{
	cgroup2_open(&home, "tenants");
}

static void remove_home(void)
{
	cgroup2_close(&home);
}

static void begin(void)
{
	config = scene_format("\"tenant_cgroup\":\"%s\"", home.dir);
	s = (struct scene){.config = config};
	scene_open(&s);
}

static void begin_without(void)
{
	s = (struct scene){0};
	scene_open(&s);
}

static void end(void)
{
	scene_close(&s);
	free(config);
	config = NULL;
}

static bool is_removed(void *tenant)
{
	return cgroup2_count(&home, tenant) < 0;
}

static void await_removed(const char *tenant)
{
	ck_assert_msg(harness_wait(is_removed, (void *)tenant, HARNESS_MS), "%s is left", tenant);
}

static void check_there(struct stage *g, const char *tenant)
{
	pid_t worker = stage_look_up_worker(g);

	stage_check(g, cgroup2_has(&home, tenant, worker), "worker %d is not in %s", (int)worker,
		    tenant);
}

static void end_guest(struct stage *g)
{
	stage_check_end(g, 0);
	json_object_put(stage_ended(g, "vmm-exited"));
	stage_fini(g);
}

/* ---- placed ---- */

static bool has_successor(void *arg)
{
	struct stage *g = arg;
	pid_t first = g->worker;
	bool other = stage_look_up_worker(g) != first;

	g->worker = first;
	return other;
}

/* Each tenant's in its own, with their holders; a successor as well. */
START_TEST(test_placed)
{
	struct stage red, blue;

	stage_begin(&red, &s, "r", "\"tenant\":\"red\"", "--hold");
	stage_begin(&blue, &s, "b", "\"tenant\":\"blue\"", "--hold");
	check_there(&red, "red");
	check_there(&blue, "blue");
	ck_assert_int_eq(cgroup2_count(&home, "red"), 2);
	ck_assert_int_eq(cgroup2_count(&home, "blue"), 2);
	ck_assert_int_eq(kill(red.worker, SIGKILL), 0);
	ck_assert(harness_wait(has_successor, &red, HARNESS_MS));
	check_there(&red, "red");
	end_guest(&red);
	/* Nobody's is removed for another's sake. */
	check_there(&blue, "blue");
	await_removed("red");
	end_guest(&blue);
	await_removed("blue");
}
END_TEST

/* The cgroup is not the daemon's: workers stay in it while there is no daemon. */
START_TEST(test_daemon_dies)
{
	cleanup_free char *left = scene_format("%s/left-over", home.dir);
	struct stage red;
	pid_t worker;

	stage_begin(&red, &s, "r", "\"tenant\":\"red\"", "--hold");
	worker = red.worker;
	ck_assert_int_eq(mkdir(left, 0755), 0);
	scene_kill(&s);
	ck_assert(cgroup2_has(&home, "red", worker));
	harness_daemon_start(&s.d, NULL);
	/* What former runs left goes at once. */
	ck_assert_int_eq(cgroup2_count(&home, "left-over"), -1);
	ck_assert_int_eq(stage_look_up_worker(&red), worker);
	check_there(&red, "red");
	end_guest(&red);
	await_removed("red");
}
END_TEST

static bool came_back(void *arg)
{
	return cgroup2_has(&home, "red", *(pid_t *)arg);
}

/* The configuration may be new when a worker comes back. */
START_TEST(test_comes_later)
{
	cleanup_free char *option = scene_format("--tenant-cgroup=%s", home.dir);
	const char *const args[] = {option, NULL};
	struct stage red;

	stage_begin(&red, &s, "r", "\"tenant\":\"red\"", "--hold");
	ck_assert_int_eq(cgroup2_count(&home, "red"), -1);
	scene_kill(&s);
	harness_daemon_start(&s.d, args);
	ck_assert(harness_wait(came_back, &red.worker, HARNESS_MS));
	ck_assert_int_eq(cgroup2_count(&home, "red"), 2);
	end_guest(&red);
	await_removed("red");
	/* As it was, for the count of its descriptors. */
	scene_kill(&s);
	harness_daemon_start(&s.d, NULL);
}
END_TEST

/* ---- seen ---- */

START_TEST(test_seen)
{
	cleanup_free char *path = scene_format("%s/red", home.dir);
	struct json_object *o;
	struct stage red;

	scene_tell(&s, 201, "PUT", "/v1/tenants/red", "{}");
	stage_begin(&red, &s, "r", "\"tenant\":\"red\"", "--hold");
	o = scene_ask(&s, 200, "GET", "/v1/tenants/red", NULL);
	ck_assert_str_eq(scene_text(o, "cgroup.path"), path);
	ck_assert_int_eq(json_object_is_type(scene_member(o, "cgroup.pids"), json_type_int),
			 cgroup2_offers("pids"));
	ck_assert_int_eq(json_object_is_type(scene_member(o, "cgroup.file_bytes"), json_type_int),
			 cgroup2_offers("memory"));
	json_object_put(o);
	end_guest(&red);
	/* With the tenant goes its cgroup, once its last process has ended. */
	scene_tell(&s, 200, "DELETE", "/v1/tenants/red", NULL);
	await_removed("red");
}
END_TEST

/* ---- refused ---- */

/* Where the workers' cgroup cannot be, no restore begins; a guest that lives is served. */
START_TEST(test_cannot_be_placed)
{
	cleanup_free char *body = scene_body(SCENE_SNAPSHOT, "\"tenant\":\"blue\"");
	struct stage red;

	stage_begin(&red, &s, "r", "\"tenant\":\"red\"", "--hold");
	ck_assert(cgroup2_write(&home, ".", "cgroup.max.descendants", "1"));
	scene_refused(&s, "PUT", "/v1/restores/b", body, ERR_UNREADY,
		      "cannot be placed in the cgroup");
	/* Nothing of its own can be made below: it does not matter for one that is there. */
	ck_assert_int_eq(kill(red.worker, SIGKILL), 0);
	ck_assert(harness_wait(has_successor, &red, HARNESS_MS));
	check_there(&red, "red");
	ck_assert(cgroup2_write(&home, ".", "cgroup.max.descendants", "max"));
	scene_tell(&s, 201, "PUT", "/v1/restores/b", body);
	scene_delete(&s, "b", "");
	end_guest(&red);
}
END_TEST

/* A limit is held to, or refused; never passed over. */
START_TEST(test_limits)
{
	static const char limits[] = "{\"budgets\":{\"cgroup_pids\":64}}";
	cleanup_free char *got = NULL;
	struct stage red;

	if (!cgroup2_offers("pids")) {
		scene_refused(&s, "PUT", "/v1/tenants/red", limits, ERR_STATE,
			      "cgroup_pids: the controller pids is not in");
		return;
	}
	scene_tell(&s, 201, "PUT", "/v1/tenants/red", limits);
	stage_begin(&red, &s, "r", "\"tenant\":\"red\"", "--hold");
	got = cgroup2_read(&home, "red", "pids.max");
	ck_assert_str_eq(got, "64");
	end_guest(&red);
	scene_tell(&s, 200, "DELETE", "/v1/tenants/red", NULL);
}
END_TEST

static bool is_without_limit(void *arg)
{
	cleanup_free char *got = cgroup2_read(&home, "red", "memory.max");

	(void)arg;
	return got && strcmp(got, "max") == 0;
}

/* The kernel counts what the worker reads for the tenant, and a change holds at once. */
START_TEST(test_memory)
{
	struct json_object *o;
	struct stage red;

	if (!cgroup2_offers("memory"))
		return;
	scene_tell(&s, 201, "PUT", "/v1/tenants/red",
		   "{\"budgets\":{\"cgroup_memory_bytes\":268435456}}");
	stage_begin(&red, &s, "r", "\"tenant\":\"red\"", "--hold");
	o = scene_ask(&s, 200, "GET", "/v1/tenants/red", NULL);
	ck_assert_uint_eq(scene_number(o, "cgroup.memory_limit_bytes"), 256 * MIB);
	ck_assert_uint_gt(scene_number(o, "cgroup.memory_bytes"), 0);
	json_object_put(o);
	scene_tell(&s, 200, "PUT", "/v1/tenants/red", "{}");
	ck_assert(harness_wait(is_without_limit, NULL, HARNESS_MS));
	end_guest(&red);
	scene_tell(&s, 200, "DELETE", "/v1/tenants/red", NULL);
}
END_TEST

static void check_refuses(const char *option, const char *words)
{
	cleanup_free char *dir = harness_tmpdir();
	cleanup_free char *run = scene_format("%s/run", dir),
			  *state = scene_format("%s/state", dir);
	const char *argv[] = {
		TEST_BUILD "/daemon/uffdd", "--run-dir", run, "--state-dir", state, option, NULL};
	struct harness_output o;

	harness_run(argv, &o);
	ck_assert_msg(o.code == 1 && strstr(o.err, words), "exit %d: no \"%s\" in %s", o.code,
		      words, o.err);
	harness_output_fini(&o);
	harness_rmtree(dir);
}

START_TEST(test_start_is_refused)
{
	check_refuses("--tenant-cgroup=/tmp", "/tmp is no cgroup of version 2");
	check_refuses("--tenant-cgroup=/nowhere/c", "cannot open /nowhere/c");
	check_refuses("--cgroup-pids-per-tenant=5",
		      "cgroup_pids: no cgroup limits workers on this host");
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("story_tenant_cgroups");
	TCase *t = tcase_create("configured"), *later = tcase_create("not yet configured");
	const char *why;

	if (geteuid() != 0 || !cgroup2_available(&why)) {
		printf("1..0 # SKIP %s\n", geteuid() ? "only root can make cgroups" : why);
		return NULL;
	}
	tcase_add_unchecked_fixture(t, make_home, remove_home);
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, test_placed);
	tcase_add_test(t, test_daemon_dies);
	tcase_add_test(t, test_seen);
	tcase_add_test(t, test_cannot_be_placed);
	tcase_add_test(t, test_limits);
	tcase_add_test(t, test_memory);
	suite_add_tcase(suite, t);
	tcase_add_unchecked_fixture(later, make_home, remove_home);
	tcase_add_checked_fixture(later, begin_without, end);
	tcase_add_test(later, test_comes_later);
	tcase_add_test(later, test_start_is_refused);
	suite_add_tcase(suite, later);
	return suite;
}
