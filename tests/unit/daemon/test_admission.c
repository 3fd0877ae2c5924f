/* test_admission - who may ask for what, how many there may be, and what a host is not ready without */
#include "daemon/admission.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/support/capacitykit.h"
#include "tests/support/supervisorkit.h"

/* ---- the request ---- */

#define WORKERS 65000
#define OTHER 65001

static const struct {
	const char *what;
	uid_t uid;
	const char *members, *key;
	enum err_code code; /* if refused */
	const char *text;   /* NULL: admitted */
} requests[] = {
	{"as it should be", OTHER, "", "r", 0, NULL},
	{"the workers' own user", WORKERS, "", "r", ERR_DENIED, "uid 65000 is the workers' own"},
	{"the longest timeout", OTHER, "\"connect_timeout\":\"30s\"", "r", 0, NULL},
	{"a longer one", OTHER, "\"connect_timeout\":\"30001ms\"", "r", ERR_INVALID,
	 "30001 ms is more than the configured connect_timeout_max, 30000 ms"},
	{"a socket of another user", OTHER, "\"socket\":{\"uid\":1,\"gid\":65001}", "r", ERR_DENIED,
	 "socket.uid: 1 is not a user of tenant t"},
	{"a socket of another group", OTHER, "\"socket\":{\"uid\":65001,\"gid\":1}", "r",
	 ERR_DENIED, "socket.gid: 1 is neither a group of yours nor of tenant t"},
	{"a socket of the tenant's others", OTHER, "\"socket\":{\"uid\":7,\"gid\":8}", "r", 0,
	 NULL},
	{"an admin's, for anybody", 0, "\"socket\":{\"uid\":1,\"gid\":1}", "r", 0, NULL},
	{"no room for the key in a path", OTHER, "",
	 "a-name-of-just-as-many-letters-as-an-id-may-have-and-not-one-more", ERR_INVALID,
	 "choose a shorter run directory"},
};

START_TEST(test_request)
{
	const struct sock_peer peer = {.uid = requests[_i].uid, .gid = requests[_i].uid};
	uint32_t uids[] = {7}, gids[] = {8};
	struct tenant t = {.name = "t", .users = {uids, gids, 1, 1}}, *one[] = {&t};
	struct host host = {.conf = k.conf, .tenants = {.v = one, .n = 1}};
	struct err err = {.msg = ""};
	char deep[64], want[CONF_PATH_MAX + 1];
	struct spec spec = restorekit_spec(&at, requests[_i].members);
	int rc;

	memset(deep, 'd', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	snprintf(host.conf.run_dir, sizeof(host.conf.run_dir), "/run/%.40s", deep);
	host.conf.connect_timeout_max_ms = 30000;
	host.user = (struct worker_user){true, WORKERS, WORKERS};
	spec.socket_path[0] = '\0';
	if (!strstr(requests[_i].members, "socket"))
		spec.socket_uid = spec.socket_gid = requests[_i].uid;
	rc = admission_request(&host, requests[_i].key, &spec, &peer, &err);
	ck_assert_msg(rc == (requests[_i].text ? -1 : 0), "%s: %s", requests[_i].what, err.msg);
	if (rc) {
		ck_assert_int_eq(err.code, requests[_i].code);
		ck_assert_msg(strstr(err.msg, requests[_i].text), "%s", err.msg);
	} else {
		host_path(&host, "uffd", requests[_i].key, want);
		ck_assert_str_eq(spec.socket_path, want);
	}
	spec_fini(&spec);
}
END_TEST

/* ---- what is left ---- */

START_TEST(test_left)
{
	struct restore own = {.rec = {.id = "a", .tenant = "t", .size_bytes = 700, .files = 9}};
	struct restore other = {.rec = {.id = "b", .tenant = "u", .size_bytes = 7000}};
	struct table table = {0};
	struct host host = {.conf = k.conf};
	struct budgets left;

	host.conf.guest_bytes_per_tenant = 1700;
	host.conf.files_per_tenant = 9;
	host.conf.header_entries_per_tenant = 5;
	table_insert(&table, &own);
	table_insert(&table, &other);
	admission_left(&host, &table, "t", &left);
	ck_assert_uint_eq(left.of[BUDGET_GUEST_BYTES], 1000);
	ck_assert_uint_eq(left.of[BUDGET_FILES], 0);
	ck_assert_uint_eq(left.of[BUDGET_ENTRIES], 5);
	/* A budget that has become smaller than what is there. */
	host.conf.guest_bytes_per_tenant = 600;
	admission_left(&host, &table, "t", &left);
	ck_assert_uint_eq(left.of[BUDGET_GUEST_BYTES], 0);
	table_fini(&table);
}
END_TEST

/* Of each that is counted: nothing is left, nothing is created. Records make room by themselves. */
static const struct {
	const char *budgets, *says; /* NULL: admitted */
} quotas[] = {
	{"{}", NULL},
	{"{\"restores\":1}", "tenant t has all of its budget of 1 restores"},
	{"{\"restores\":2,\"workers\":2,\"guest_bytes\":701,\"files\":10}", NULL},
	{"{\"workers\":1}", "tenant t has all of its budget of 1 workers"},
	{"{\"guest_bytes\":700}", "tenant t has all of its budget of 700 guest_bytes"},
	{"{\"guest_bytes\":0}", "tenant t has all of its budget of 0 guest_bytes"},
	{"{\"files\":9}", "tenant t has all of its budget of 9 files"},
	{"{\"page_map_bytes\":0}", "of 0 page_map_bytes"},
	{"{\"header_entries\":0}", "of 0 header_entries"},
	{"{\"record_bytes\":100}", "of 100 record_bytes"},
	{"{\"records\":0,\"events\":0,\"commands_per_s\":0}", NULL},
};

START_TEST(test_quota)
{
	struct restore own = {.rec = {.id = "a", .tenant = "t", .size_bytes = 700, .files = 9}};
	struct table table = {0};
	struct host host = {.conf = k.conf};
	struct err err = {.msg = ""};
	const char *text = quotas[_i].budgets;
	cleanup_json struct json_object *o = js_parse(text, strlen(text), false, &err);
	struct tenant t;
	int rc;

	tenant_init(&t, "t");
	ck_assert_int_eq(budget_parse((struct js_at){o, ""}, &t.budgets, &err), 0);
	tenants_put(&host.tenants, &t);
	table_insert(&table, &own);
	rc = admission_quota(&host, &table, "t", &err);
	ck_assert_msg(rc == (quotas[_i].says ? -1 : 0), "%s: %s", text, err.msg);
	if (rc)
		ck_assert_msg(err.code == ERR_QUOTA && strstr(err.msg, quotas[_i].says), "%s",
			      err.msg);
	table_fini(&table);
	tenants_fini(&host.tenants);
}
END_TEST

/* ---- ready ---- */

static void unready(const char *why)
{
	struct err err = {.msg = ""};

	ck_assert_int_eq(supervisor_ready(k.sup, &err), -1);
	ck_assert_int_eq(err.code, ERR_UNREADY);
	ck_assert_msg(strstr(err.msg, why), "%s", err.msg);
}

static void ready(void)
{
	struct err err = {.msg = ""};

	ck_assert_msg(supervisor_ready(k.sup, &err) == 0, "%s", err.msg);
}

START_TEST(test_full)
{
	start();
	ready();
	k.sup->host.conf.max_restores = 0;
	unready("this host has 0 of 0 restores (max_restores)");
	k.sup->host.conf.max_restores = 1;
	ready();
}
END_TEST

START_TEST(test_no_descriptors)
{
	struct rlimit before;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	start();
	leave(&k.sup->capacity, 0);
	unready("descriptors");
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	ready();
}
END_TEST

static bool is_unready(void *arg)
{
	(void)arg;
	turn();
	return supervisor_ready(k.sup, &(struct err){0}) < 0;
}

START_TEST(test_no_workers)
{
	snprintf(k.conf.worker, sizeof(k.conf.worker), "/bin/false");
	k.conf.pool_workers = 1;
	start();
	ck_assert_msg(harness_wait(is_unready, NULL, HARNESS_MS), "it is ready without workers");
	unready("no worker can be started");
}
END_TEST

/* Page maps are made there. Only root can mount. */
START_TEST(test_no_space)
{
	char path[CONF_PATH_MAX + 16], block[4096] = {0};
	int fd;

	if (geteuid())
		return;
	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
	ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ck_assert(mkdir(k.conf.run_dir, 0755) == 0 || errno == EEXIST);
	ck_assert_int_eq(mount("none", k.conf.run_dir, "tmpfs", 0, "size=4m,mode=0755"), 0);
	start();
	ready();
	snprintf(path, sizeof(path), "%s/maps/full", k.conf.run_dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, block, sizeof(block)) == (ssize_t)sizeof(block))
		;
	close(fd);
	unready("bytes left for page maps: make it larger, or end restores");
	unlink(path);
	ready();
	umount2(k.conf.run_dir, MNT_DETACH);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("admission");
	TCase *tc = runner_case(suite, "admission", prepare, end);

	tcase_add_loop_test(tc, test_request, 0, ARRAY_LEN(requests));
	tcase_add_test(tc, test_left);
	tcase_add_loop_test(tc, test_quota, 0, ARRAY_LEN(quotas));
	tcase_add_test(tc, test_full);
	tcase_add_test(tc, test_no_descriptors);
	tcase_add_test(tc, test_no_workers);
	tcase_add_test(tc, test_no_space);
	return suite;
}
