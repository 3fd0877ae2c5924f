/*
 * test_placement - which limits hold for whom, and what is refused: at start, of tenants, of creates,
 * but never of guests
 *
 * A directory with files of the same names stands in for the cgroup of the tenant.
 */
#include "daemon/placement.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/conversation.h"
#include "daemon/tenant_cgroup.h"
#include "tests/support/capture.h"
#include "tests/support/scene.h"
#include "tests/support/workerside.h"

static struct restorekit k;
static struct workerside w;
static struct tenant_cgroup fake;

static char *in_cgroup(const char *name)
{
	return scene_format("%s/cgroup/t/%s", k.dir, name);
}

static void make_file(const char *name, const char *text)
{
	cleanup_free char *path = in_cgroup(name);

	scene_write(path, text, strlen(text));
}

static void begin(void)
{
	cleanup_free char *path = NULL, *below = NULL;

	restorekit_open(&k, "");
	workerside_open(&w, &k, &conversation_worker_hooks);
	path = scene_format("%s/cgroup", k.dir);
	below = scene_format("%s/t", path);
	ck_assert(mkdir(path, 0700) == 0 && mkdir(below, 0700) == 0);
	make_file("cgroup.procs", "");
	make_file("memory.max", "");
	make_file("pids.max", "");
	fake = (struct tenant_cgroup){.enabled = {true, true}};
	snprintf(fake.path, sizeof(fake.path), "%s", path);
	fake.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void end(void)
{
	k.host.cgroup = NULL;
	tenants_fini(&k.host.tenants);
	close_fd(&fake.dir);
	workerside_close(&w);
	restorekit_close(&k);
}

static void have_tenant(const char *name, const char *text, bool configured)
{
	struct err err = {.msg = ""};
	cleanup_json struct json_object *o = js_parse(text, strlen(text), false, &err);
	struct tenant t;

	ck_assert_msg(o && tenant_parse((struct js_at){o, ""}, name, &t, &err) == 0, "%s", err.msg);
	t.configured = configured;
	tenants_put(&k.host.tenants, &t);
}

static bool says(const char *file, const char *want)
{
	cleanup_free char *path = in_cgroup(file);
	cleanup_file FILE *f = fopen(path, "re");
	char text[64] = "";

	return f && (fgets(text, sizeof(text), f), strcmp(text, want) == 0);
}

static void must(int rc, const struct err *err)
{
	ck_assert_msg(rc == 0, "%s", err->msg);
}

static void must_not(int rc, const struct err *err, enum err_code code, const char *words)
{
	ck_assert_int_eq(rc, -1);
	ck_assert_msg(err->code == code && strstr(err->msg, words), "%s: %s", err_name(err->code),
		      err->msg);
}

#define LIMITED "{\"budgets\":{\"cgroup_pids\":5,\"cgroup_memory_bytes\":33554432}}"

/* ---- start ---- */

START_TEST(test_start)
{
	struct err err = {.msg = ""};
	struct capture c = {0};

	must(placement_open(&k.host, &err), &err);
	ck_assert_ptr_null(k.host.cgroup);
	ck_assert_ptr_null(placement_json(&k.host, "t"));
	placement_tidy(&k.host);
	placement_changed(&k.host, "t");
	/* Of the store: guests may need the daemon. */
	have_tenant("t", LIMITED, false);
	capture_begin(&c);
	must(placement_open(&k.host, &err), &err);
	capture_end(&c);
	ck_assert_msg(strstr(c.err, "cannot be held to its limit") &&
			      strstr(c.err, "tenant t: cgroup_memory_bytes: no cgroup"),
		      "%s", c.err);
	capture_fini(&c);
}
END_TEST

START_TEST(test_start_refused)
{
	struct err err = {.msg = ""};

	if (_i == 0) {
		have_tenant("t", LIMITED, true);
		must_not(placement_open(&k.host, &err), &err, ERR_STATE,
			 "tenant t: cgroup_memory_bytes: ");
	} else if (_i == 1) {
		k.host.conf.cgroup_pids_per_tenant = 1;
		must_not(placement_open(&k.host, &err), &err, ERR_STATE,
			 "the default of tenants: cgroup_pids: ");
	} else {
		snprintf(k.host.conf.tenant_cgroup, sizeof(k.host.conf.tenant_cgroup), "%s", k.dir);
		must_not(placement_open(&k.host, &err), &err, ERR_PATH, k.dir);
		ck_assert_ptr_null(k.host.cgroup);
	}
}
END_TEST

START_TEST(test_check)
{
	struct err err = {.msg = ""};
	const struct tenant *t;

	have_tenant("t", "{\"budgets\":{\"cgroup_pids\":5}}", false);
	t = tenants_find(&k.host.tenants, "t");
	must_not(placement_check(&k.host, t, &err), &err, ERR_STATE, "tenant t: cgroup_pids: ");
	k.host.cgroup = &fake;
	must(placement_check(&k.host, t, &err), &err);
	fake.enabled[TENANT_CGROUP_PIDS] = false;
	must_not(placement_check(&k.host, t, &err), &err, ERR_STATE, "controller pids");
}
END_TEST

/* ---- workers ---- */

static bool is_limited(void *arg)
{
	const char *const *want = arg;

	return says("memory.max", want[0]) && says("pids.max", want[1]);
}

/* By its tenant, and where that says nothing by the host. */
START_TEST(test_placed)
{
	cleanup_free char *pid = scene_format("%d", (int)w.pid);
	const char *want[] = {_i == 2 ? "max" : "33554432", _i == 2 ? "7" : "5"};
	struct err err = {.msg = ""};

	k.host.cgroup = &fake;
	k.r->slot.state = _i ? SLOT_LOADING : SLOT_CREATING;
	if (_i < 2)
		have_tenant("t", LIMITED, true);
	else
		k.host.conf.cgroup_pids_per_tenant = 7;
	must(placement_begin(k.r, &err), &err);
	ck_assert(says("cgroup.procs", pid));
	ck_assert(harness_wait(is_limited, want, HARNESS_MS));
}
END_TEST

START_TEST(test_again)
{
	cleanup_free char *pid = scene_format("%d", (int)w.pid);

	placement_again(k.r);
	ck_assert(says("cgroup.procs", ""));
	k.host.cgroup = &fake;
	placement_again(k.r);
	ck_assert(says("cgroup.procs", pid));
}
END_TEST

/* A create is refused; a guest gets its worker all the same, and the log says where that is. */
START_TEST(test_cannot_be_placed)
{
	struct err err = {.msg = ""};
	struct capture c = {0};

	k.host.cgroup = &fake;
	snprintf(k.r->rec.tenant, sizeof(k.r->rec.tenant), "cgroup.procs");
	close(openat(fake.dir, "cgroup.procs", O_CREAT | O_CLOEXEC, 0600));
	k.r->slot.state = SLOT_CREATING;
	must_not(placement_begin(k.r, &err), &err, ERR_UNREADY, "cannot be placed");
	k.r->slot.state = SLOT_LOADING;
	capture_begin(&c);
	must(placement_begin(k.r, &err), &err);
	capture_end(&c);
	ck_assert_msg(strstr(c.err, "served from outside its tenant's cgroup"), "%s", c.err);
	capture_fini(&c);
}
END_TEST

/* The same where a limit cannot be enforced, with or without a cgroup. */
START_TEST(test_cannot_be_limited)
{
	cleanup_free char *pid = scene_format("%d", (int)w.pid);
	struct err err = {.msg = ""};

	fake.enabled[TENANT_CGROUP_MEMORY] = false;
	k.host.cgroup = _i ? &fake : NULL;
	have_tenant("t", LIMITED, false);
	k.r->slot.state = SLOT_CREATING;
	must_not(placement_begin(k.r, &err), &err, ERR_STATE, "tenant t: cgroup_memory_bytes: ");
	ck_assert(says("cgroup.procs", ""));
	k.r->slot.state = SLOT_LOADING;
	must(placement_begin(k.r, &err), &err);
	/* What can be done is done. */
	ck_assert(says("cgroup.procs", _i ? pid : ""));
}
END_TEST

START_TEST(test_changed)
{
	const char *want[] = {"33554432", "5"};

	k.host.cgroup = &fake;
	have_tenant("t", LIMITED, false);
	placement_changed(&k.host, "t");
	ck_assert(harness_wait(is_limited, want, HARNESS_MS));
}
END_TEST

/* With nothing in it, nothing is left to be limited. */
START_TEST(test_removed)
{
	cleanup_json struct json_object *o = NULL;
	cleanup_free char *path = scene_format("%s/u", fake.path);

	k.host.cgroup = &fake;
	ck_assert_int_eq(mkdir(path, 0700), 0);
	placement_changed(&k.host, "u");
	ck_assert_int_ne(access(path, F_OK), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	placement_tidy(&k.host);
	ck_assert_int_ne(access(path, F_OK), 0);
	o = placement_json(&k.host, "t");
	ck_assert(strstr(scene_text(o, "path"), "/cgroup/t"));
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("placement");
	TCase *t = runner_case(s, "placement", begin, end);

	tcase_add_test(t, test_start);
	tcase_add_loop_test(t, test_start_refused, 0, 3);
	tcase_add_test(t, test_check);
	tcase_add_loop_test(t, test_placed, 0, 3);
	tcase_add_test(t, test_again);
	tcase_add_test(t, test_cannot_be_placed);
	tcase_add_loop_test(t, test_cannot_be_limited, 0, 2);
	tcase_add_test(t, test_changed);
	tcase_add_test(t, test_removed);
	return s;
}
