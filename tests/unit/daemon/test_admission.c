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
	const char *members, *id;
	enum err_code code; /* if refused */
	const char *text;   /* NULL: admitted */
} requests[] = {
	{"as it should be", OTHER, "", "r", 0, NULL},
	{"the workers' own user", WORKERS, "", "r", ERR_DENIED, "uid 65000 is the workers' own"},
	{"the longest timeout", OTHER, "\"connect_timeout\":\"30s\"", "r", 0, NULL},
	{"a longer one", OTHER, "\"connect_timeout\":\"30001ms\"", "r", ERR_INVALID,
	 "30001 ms is more than the configured connect_timeout_max, 30000 ms"},
	{"no room for the id in a path", OTHER, "",
	 "a-name-of-just-as-many-letters-as-an-id-may-have-and-not-one-more", ERR_INVALID,
	 "choose a shorter id or run directory"},
};

START_TEST(test_request)
{
	const struct sock_peer peer = {.uid = requests[_i].uid, .gid = requests[_i].uid};
	struct host host = {.conf = k.conf};
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
	rc = admission_request(&host, requests[_i].id, &spec, &peer, &err);
	ck_assert_msg(rc == (requests[_i].text ? -1 : 0), "%s: %s", requests[_i].what, err.msg);
	if (rc) {
		ck_assert_int_eq(err.code, requests[_i].code);
		ck_assert_msg(strstr(err.msg, requests[_i].text), "%s", err.msg);
	} else {
		host_path(&host, "uffd", requests[_i].id, want);
		ck_assert_str_eq(spec.socket_path, want);
	}
	spec_fini(&spec);
}
END_TEST

/* ---- the size of a guest ---- */

static const struct {
	uint64_t bytes, snapshot_max, budget;
	enum err_code code; /* if refused */
	const char *text;   /* NULL: admitted */
} sizes[] = {
	{1000, 1000, 1700, 0, NULL},
	{1001, 1000, 2000, ERR_SNAPSHOT, "has 1001 bytes of memory, at most 1000 are configured"},
	{1000, 1000, 1699, ERR_QUOTA,
	 "tenant t has guests of 700 bytes, and this one of 1000 bytes is more than its budget of "
	 "1699 guest_bytes"},
	/* A budget that has become smaller than what is there. */
	{0, 1000, 600, ERR_QUOTA, "tenant t has guests of 700 bytes"},
	{UINT64_MAX, UINT64_MAX, 2000, ERR_QUOTA, "is more than its budget"},
};

START_TEST(test_size)
{
	struct restore own = {.rec = {.id = "a", .tenant = "t", .size_bytes = 700}};
	struct restore other = {.rec = {.id = "b", .tenant = "u", .size_bytes = 7000}};
	struct table table = {0};
	struct host host = {.conf = k.conf};
	struct err err = {.msg = ""};
	int rc;

	host.conf.snapshot_bytes_max = sizes[_i].snapshot_max;
	host.conf.guest_bytes_per_tenant = sizes[_i].budget;
	table_insert(&table, &own);
	table_insert(&table, &other);
	rc = admission_size(&host, &table, "t", sizes[_i].bytes, &err);
	ck_assert_msg(rc == (sizes[_i].text ? -1 : 0), "%s", err.msg);
	if (rc)
		ck_assert_msg(err.code == sizes[_i].code && strstr(err.msg, sizes[_i].text), "%s",
			      err.msg);
	table_fini(&table);
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
	tcase_add_loop_test(tc, test_size, 0, ARRAY_LEN(sizes));
	tcase_add_test(tc, test_full);
	tcase_add_test(tc, test_no_descriptors);
	tcase_add_test(tc, test_no_workers);
	tcase_add_test(tc, test_no_space);
	return suite;
}
