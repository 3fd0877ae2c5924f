/* test_former_workers - whose workers are found after a restart, and for whom they are counted */
#include "daemon/former_workers.h"

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "daemon/descriptors.h"
#include "tests/support/poolkit.h"

#define BOOT "of the test"

/* Users of processes, and who stands in the tenants below. */
enum { NONE = 4711, RED = 4712, WORKERS = 4713, BLUES = 4800 };

static uint32_t ids[] = {RED, BLUES};
static struct tenant red, blue;
static struct tenant *both[] = {&blue, &red};

static struct host host;
static struct table table;
static char *dir; /* owned: the run directory */

static void make_dir(const char *name)
{
	char path[CONF_PATH_MAX + 1];

	host_path(&host, name, "", path);
	ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void setup(void)
{
	open_pool(PROGRAM, 0);
	tenant_init(&red, "red");
	red.users = (struct user_set){.uids = &ids[0], .nuids = 1};
	tenant_init(&blue, "blue");
	blue.users = (struct user_set){.gids = &ids[1], .ngids = 1};
	dir = harness_tmpdir();
	host = (struct host){.base = base,
			     .pool = pool,
			     .tenants = {.v = both, .n = 2},
			     .user = {geteuid() == 0, WORKERS, WORKERS},
			     .boot_id = BOOT};
	conf_defaults(&host.conf);
	snprintf(host.conf.run_dir, sizeof(host.conf.run_dir), "%s", dir);
	make_dir("maps");
	make_dir("maps-of-others");
	table = (struct table){0};
}

static void teardown(void)
{
	table_fini(&table);
	end();
	harness_rmtree(dir);
	free(dir);
}

/* ---- processes ---- */

struct kind {
	const char *name, *place; /* the directory of its page map, or NULL */
	bool removed, stuck;      /* its page map; in its exit, which another thread keeps up */
	uid_t real, uid;
	gid_t gid, group;
	const char *tenant; /* NULL: it is not counted */
};

static const struct kind plain = {CHAN_WORKER, "maps", .tenant = "default"};
static const struct kind in_exit = {CHAN_WORKER, "maps", .stuck = true};

static void *wait_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static bool become(const struct kind *k)
{
	return (!k->group || setgroups(1, &k->group) == 0) &&
	       (!k->gid || setresgid(k->gid, k->gid, k->gid) == 0) &&
	       (!k->uid || setresuid(k->real, k->uid, k->uid) == 0) &&
	       prctl(PR_SET_NAME, k->name) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
}

static _Noreturn void run(const struct kind *k, const char *map, int ready)
{
	pthread_t other;

	if ((k->place && open(map, O_RDWR | O_CREAT | O_CLOEXEC, 0600) < 0) ||
	    (k->removed && unlink(map)) || !become(k) ||
	    (k->stuck && pthread_create(&other, NULL, wait_for_ever, NULL)) ||
	    write(ready, "r", 1) != 1)
		_exit(1);
	if (k->stuck)
		syscall(SYS_exit, 0);
	wait_for_ever(NULL);
	_exit(0);
}

static bool main_thread_has_ended(void *arg)
{
	char path[64], state = 0;
	cleanup_file FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%d/stat", *(pid_t *)arg);
	f = fopen(path, "re");
	return f && fscanf(f, "%*d (" CHAN_WORKER ") %c", &state) == 1 && state == 'Z';
}

static pid_t start(const struct kind *k)
{
	static unsigned n;
	char name[16], map[CONF_PATH_MAX + 1], c;
	int ready[2];
	pid_t pid;

	snprintf(name, sizeof(name), "%u", n++);
	host_path(&host, k->place ? k->place : "", name, map);
	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		run(k, map, ready[1]);
	close(ready[1]);
	ck_assert_msg(read(ready[0], &c, 1) == 1, "the process does not get what it wants");
	close(ready[0]);
	if (k->stuck)
		ck_assert(harness_wait(main_thread_has_ended, &pid, HARNESS_MS));
	return pid;
}

/* The pool of the test holds it no more. */
static void stop(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

/* Others run workers on this host, too: so it is asked which count falls without this process. */
static void check(pid_t pid, const char *tenant)
{
	size_t all = pool_abandoned(pool, NULL), own = pool_abandoned(pool, tenant);

	pool_forget_former(pool, pid);
	ck_assert_uint_eq(all - pool_abandoned(pool, NULL), tenant ? 1 : 0);
	ck_assert_uint_eq(own - pool_abandoned(pool, tenant), tenant ? 1 : 0);
}

/* ---- which, and whose ---- */

/* clang-format off */
static const struct kind kinds[] = {
	{CHAN_WORKER,   "maps", .tenant = "default"},
	{CHAN_WORKER,   "maps", .removed = true, .tenant = "default"},
	{CHAN_WORKER,   NULL},
	{CHAN_WORKER,   "maps-of-others"},
	{"uffdd-holder",  "maps"},
	{"uffdd-worker2", "maps"},
	/* From here on for root only. */
	{CHAN_WORKER,   "maps", .real = NONE, .uid = NONE, .tenant = "uid-4711"},
	{CHAN_WORKER,   "maps", .real = 0, .uid = NONE, .tenant = "uid-4711"},
	{CHAN_WORKER,   "maps", .real = RED, .uid = RED, .tenant = "red"},
	{CHAN_WORKER,   "maps", .real = RED, .uid = RED, .gid = BLUES, .tenant = "red"},
	{CHAN_WORKER,   "maps", .real = NONE, .uid = NONE, .gid = BLUES, .tenant = "blue"},
	{CHAN_WORKER,   "maps", .real = NONE, .uid = NONE, .group = BLUES, .tenant = "blue"},
	{CHAN_WORKER,   "maps", .real = WORKERS, .uid = WORKERS, .tenant = "default"},
};
/* clang-format on */

START_TEST(test_kinds)
{
	const struct kind *k = &kinds[_i];
	pid_t pid;

	if ((k->uid || k->gid) && geteuid() != 0) {
		fprintf(stderr, "not tested: only root becomes another user\n");
		return;
	}
	pid = start(k);
	former_workers_find(&host, &table);
	check(pid, k->tenant);
	stop(pid);
}
END_TEST

/* ---- rows ---- */

/* clang-format off */
static const struct {
	enum restore_state state;
	bool released;
	const char *boot_id;
	uint64_t later; /* than the process has started */
	const char *tenant;
} rows[] = {
	{STATE_SERVING, false, BOOT, 0, NULL},
	{STATE_WAITING, false, BOOT, 0, NULL},
	{STATE_FAILED,  false, BOOT, 0, NULL},
	{STATE_FAILED,  true,  BOOT, 0, "of-row"},
	{STATE_ENDED,   false, BOOT, 0, "of-row"},
	{STATE_ENDED,   true,  BOOT, 0, "of-row"},
	{STATE_SERVING, false, BOOT, 1, "default"},
};
/* clang-format on */

static struct restore row;

/* Its id is its key. */
static void add_row(struct restore *r, const char *id, pid_t worker)
{
	*r = (struct restore){.host = &host,
			      .rec = {.state = STATE_ENDED,
				      .worker_pid = (uint32_t)worker,
				      .worker_start = proc_start_time(worker),
				      .tenant = "of-row"}};
	snprintf(r->rec.id, sizeof(r->rec.id), "%s", id);
	snprintf(r->rec.key, sizeof(r->rec.key), "%s", id);
	snprintf(r->rec.boot_id, sizeof(r->rec.boot_id), "%s", BOOT);
	table_insert(&table, r);
}

/* What a row that stands holds is counted by the row. */
START_TEST(test_rows)
{
	pid_t pid = start(&plain);

	add_row(&row, "r", pid);
	row.rec.state = rows[_i].state;
	row.rec.released = rows[_i].released;
	row.rec.worker_start += rows[_i].later;
	former_workers_find(&host, &table);
	check(pid, rows[_i].tenant);
	stop(pid);
}
END_TEST

/* A worker that cannot finish its exit: its descriptors are not shown any more. */
START_TEST(test_in_its_exit)
{
	pid_t pid = start(&in_exit);

	add_row(&row, "r", pid);
	former_workers_find(&host, &table);
	check(pid, "of-row");
	stop(pid);
}
END_TEST

/* ---- until they end ---- */

static bool none_is_left(void *arg)
{
	(void)arg;
	turn();
	return pool_abandoned(pool, "of-row") == 0;
}

START_TEST(test_until_the_end)
{
	int before = fds_count(getpid());
	pid_t pid = start(&plain);

	add_row(&row, "r", pid);
	former_workers_find(&host, &table);
	turn();
	ck_assert_uint_eq(pool_abandoned(pool, "of-row"), 1);
	ck_assert_int_ge(fds_count(getpid()), before + 1);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert(harness_wait(none_is_left, NULL, HARNESS_MS));
	ck_assert(!exists(pid));
}
END_TEST

/* A process that has ended, and that nobody has reaped. */
START_TEST(test_ended_before)
{
	pid_t pid = start(&plain);
	siginfo_t si;

	add_row(&row, "r", pid);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
	former_workers_find(&host, &table);
	ck_assert_uint_eq(pool_abandoned(pool, "of-row"), 0);
}
END_TEST

/* ---- not too many ---- */

static void start_two(pid_t pids[2])
{
	static struct restore two[2];

	for (int i = 0; i < 2; i++) {
		pids[i] = start(&plain);
		add_row(&two[i], i ? "b" : "a", pids[i]);
	}
}

static void stop_two(const pid_t pids[2])
{
	for (int i = 0; i < 2; i++) {
		pool_forget_former(pool, pids[i]);
		stop(pids[i]);
	}
}

START_TEST(test_budget)
{
	pid_t pids[2], another;

	start_two(pids);
	another = start(&plain);
	host.conf.workers_per_tenant = 1;
	former_workers_find(&host, &table);
	ck_assert_uint_eq(pool_abandoned(pool, "of-row"), 1);
	ck_assert_uint_eq(pool_abandoned(pool, "default"), 1);
	host.conf.workers_per_tenant = 2;
	stop_two(pids);
	stop(another);
}
END_TEST

/* What processes look like must not cost all descriptors. */
START_TEST(test_descriptors)
{
	struct rlimit own, few;
	pid_t pids[2];

	start_two(pids);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &own), 0);
	few = own;
	few.rlim_cur = 2 * descriptors_used();
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	former_workers_find(&host, &table);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &own), 0);
	ck_assert_uint_eq(pool_abandoned(pool, NULL), 0);
	former_workers_find(&host, &table);
	ck_assert_uint_eq(pool_abandoned(pool, "of-row"), 2);
	stop_two(pids);
}
END_TEST

/* Nothing is counted, and nothing is left open. */
START_TEST(test_no_run_dir)
{
	pid_t pid = start(&plain);
	int before = fds_count(getpid());

	snprintf(host.conf.run_dir, sizeof(host.conf.run_dir), "%s/none", dir);
	former_workers_find(&host, &table);
	ck_assert_uint_eq(pool_abandoned(pool, NULL), 0);
	ck_assert_int_eq(fds_count(getpid()), before);
	stop(pid);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("former_workers");
	TCase *tc = runner_case(suite, "find", setup, teardown);

	tcase_add_loop_test(tc, test_kinds, 0, ARRAY_LEN(kinds));
	tcase_add_loop_test(tc, test_rows, 0, ARRAY_LEN(rows));
	tcase_add_test(tc, test_in_its_exit);
	tcase_add_test(tc, test_until_the_end);
	tcase_add_test(tc, test_ended_before);
	tcase_add_test(tc, test_budget);
	tcase_add_test(tc, test_descriptors);
	tcase_add_test(tc, test_no_run_dir);
	return suite;
}
