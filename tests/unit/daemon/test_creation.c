/* test_creation - what a create makes, who is told, and that nothing is left of one that failed */
#include "daemon/creation.h"

#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/socket.h>

#include "tests/support/fds.h"
#include "tests/support/workerkit.h"

#define CREATORS 3
#define LOAD_BY_S 30

static struct restorekit k;

static void begin(void)
{
	restorekit_open(&k, "");
	/* The creates of this file begin with nothing. */
	holdings_release(&k.r->hold, &k.host, "r", k.r->spec.socket_path);
	restore_free(k.r);
	k.r = NULL;
	workerkit_open(&k);
	/* The store's file is open from then on. */
	ck_assert_str_eq(restorekit_events(&k), "");
}

static void end(void)
{
	workerkit_close(&k);
	restorekit_close(&k);
}

/* ---- who waits for it ---- */

static struct {
	struct creator c[CREATORS];
	size_t told[CREATORS]; /* in which order, from 1; 0: not yet */
	struct restore *with[CREATORS];
	struct err why;
	size_t n;
} waiting;

static void on_done(struct creator *c, struct restore *restore, const struct err *why)
{
	size_t i = (size_t)(c - waiting.c);

	ck_assert_uint_eq(waiting.told[i], 0);
	ck_assert_ptr_null(c->list);
	ck_assert_int_eq(!restore, why != NULL);
	waiting.told[i] = ++waiting.n;
	waiting.with[i] = restore;
	if (why)
		waiting.why = *why;
}

/* As supervisor.c does for those who ask for the same restore. */
static void wait_for(size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct creator *c = &waiting.c[i];

		*c = (struct creator){.done = on_done, .list = &k.r->creators};
		TAILQ_INSERT_TAIL(&k.r->creators, c, link);
	}
}

/* ---- what is there ---- */

static int add_row(void *arg, struct restore_record *rec, struct err *err)
{
	(void)rec;
	(void)err;
	++*(unsigned *)arg;
	return 0;
}

static unsigned count_rows(void)
{
	unsigned n = 0;
	struct err err;

	ck_assert_int_eq(store_restores(k.store, add_row, &n, &err), 0);
	return n;
}

static int create_with(const char *members, struct err *err)
{
	const struct sock_peer caller = {.uid = geteuid(),
					 .gid = getegid(),
					 .ngroups = 2,
					 .groups = {4, 27}};
	struct spec spec = restorekit_spec(&k, members);
	const struct creation c = {"r", "r", &spec, &caller};
	int rc = creation_begin(&k.host, &c, &k.r, err);

	if (rc == 0)
		ck_assert(!spec.path && !spec.socket_path[0]);
	else
		ck_assert(spec.path && spec.socket_path[0]);
	spec_fini(&spec);
	return rc;
}

static void create(void)
{
	struct err err = {.msg = ""};

	ck_assert_msg(create_with("", &err) == 0, "%s", err.msg);
}

static void check_nothing_is_left(const char *after)
{
	ck_assert_msg(!restorekit_exists(&k, "uffd"), "%s: its socket", after);
	ck_assert_msg(!restorekit_exists(&k, "maps"), "%s: its page map", after);
	ck_assert_msg(!restorekit_exists(&k, "files"), "%s: its holder's socket", after);
	ck_assert_msg(count_rows() == 0, "%s: its row", after);
	ck_assert_msg(!*restorekit_events(&k), "%s: events %s", after, restorekit_events(&k));
	workerkit_await_none(&k);
}

static void check_all_were_refused(enum err_code code, const char *text)
{
	ck_assert_ptr_null(k.r);
	ck_assert_uint_eq(k.refused, 1);
	ck_assert_uint_eq(waiting.n, CREATORS);
	for (size_t i = 0; i < CREATORS; i++)
		ck_assert(waiting.told[i] == i + 1 && !waiting.with[i]);
	ck_assert_msg(waiting.why.code == code && strstr(waiting.why.msg, text), "%s",
		      waiting.why.msg);
	check_nothing_is_left(text);
}

/* ---- begin ---- */

static mode_t mode_of(const char *what)
{
	char path[CONF_PATH_MAX + 1];
	struct stat st = {0};

	host_path(&k.host, what, "r", path);
	ck_assert_msg(lstat(path, &st) == 0, "no %s", what);
	return st.st_mode;
}

START_TEST(test_begin)
{
	struct timeval tv, now;

	create();
	ck_assert(restore_is_creating(k.r) && k.r->worker && k.r->hold.own_socket);
	ck_assert_int_eq(mode_of("uffd"), S_IFSOCK | 0660);
	ck_assert_int_eq(mode_of("maps"), S_IFREG | 0600);
	ck_assert_str_eq(k.r->rec.id, "r");
	ck_assert_str_eq(k.r->rec.tenant, "t");
	ck_assert_str_eq(k.r->rec.caller_groups, "4 27");
	ck_assert_str_eq(k.r->rec.boot_id, k.host.boot_id);
	ck_assert_int_eq(k.r->rec.state, STATE_WAITING);
	ck_assert_uint_eq(k.r->rec.worker_pid, (uint32_t)k.r->worker->pid);
	ck_assert_ptr_eq(k.r->worker->arg, k.r);
	/* A guard that ends it where the snapshot's file system does not answer. */
	ck_assert(evtimer_pending(k.r->hold.load_by, &tv));
	event_base_gettimeofday_cached(k.host.base, &now);
	evutil_timersub(&tv, &now, &tv);
	ck_assert_int_le(tv.tv_sec, LOAD_BY_S);
	/* Nobody hears of it yet. */
	ck_assert_uint_eq(count_rows(), 0);
	ck_assert_str_eq(restorekit_events(&k), "");
	ck_assert_uint_eq(k.changed, 0);
}
END_TEST

/* What another create left of the same id is not what the worker gets. */
START_TEST(test_begin_afresh)
{
	char path[CONF_PATH_MAX + 1];
	struct stat before, after;

	host_path(&k.host, "maps", "r", path);
	close(open(path, O_CREAT | O_CLOEXEC, 0600));
	ck_assert_int_eq(stat(path, &before), 0);
	host_path(&k.host, "uffd", "r", path);
	close(open(path, O_CREAT | O_CLOEXEC, 0600));
	create();
	host_path(&k.host, "maps", "r", path);
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert_uint_ne(before.st_ino, after.st_ino);
	ck_assert_int_eq(mode_of("uffd"), S_IFSOCK | 0660);
}
END_TEST

/* Whatever there are too few descriptors for: all of it, or nothing. */
START_TEST(test_begin_without_descriptors)
{
	int spare = 0, rc = -1, before;
	struct err err = {.msg = ""};

	/* The zygote is there. */
	create();
	creation_failed(k.r, &err);
	check_nothing_is_left("the first");
	before = fds_count(getpid());
	for (; rc && spare <= 8; spare++) {
		struct rlimit limit = harness_limit_fds(spare);

		rc = create_with("", &err);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		if (rc == 0)
			break;
		check_nothing_is_left(err.msg);
		ck_assert_msg(fds_count(getpid()) <= before, "%s: descriptors", err.msg);
	}
	ck_assert_int_gt(spare, 2);
	ck_assert_int_eq(rc, 0);
	/* Of those that never began nobody is told. */
	ck_assert_uint_eq(k.refused, 1);
}
END_TEST

/* Somebody's file where the socket is to be: it stays. */
START_TEST(test_begin_in_a_taken_place)
{
	cleanup_free char *path = NULL, *members = NULL;
	struct err err = {.msg = ""};

	ck_assert_int_gt(asprintf(&path, "%s/taken", k.dir), 0);
	ck_assert_int_gt(asprintf(&members, "\"socket\":{\"path\":\"%s\"}", path), 0);
	close(open(path, O_CREAT | O_CLOEXEC, 0600));
	ck_assert_int_eq(create_with(members, &err), -1);
	ck_assert_msg(strstr(err.msg, path), "%s", err.msg);
	ck_assert_int_eq(access(path, F_OK), 0);
	check_nothing_is_left("a taken place");
	ck_assert_uint_eq(k.refused, 0);
}
END_TEST

/* ---- done ---- */

static void create_and_load(void)
{
	workerkit_snapshot(&k);
	create();
	wait_for(CREATORS);
	ck_assert_msg(workerkit_hear(&k) == CHAN_READY, "%s", heard.msg.failed.msg);
	ck_assert_uint_eq(waiting.n, 0);
	ck_assert_uint_eq(count_rows(), 0);
}

START_TEST(test_done)
{
	create_and_load();
	creation_done(k.r, &heard.msg.ready, &heard.fd);
	ck_assert_uint_eq(waiting.n, CREATORS);
	for (size_t i = 0; i < CREATORS; i++)
		ck_assert(waiting.told[i] == i + 1 && waiting.with[i] == k.r);
	ck_assert(TAILQ_EMPTY(&k.r->creators));
	ck_assert_int_eq(k.r->slot.state, SLOT_READY);
	ck_assert_ptr_null(k.r->hold.load_by);
	ck_assert_uint_eq(k.r->rec.size_bytes, WORKERKIT_BYTES);
	ck_assert_uint_eq(count_rows(), 1);
	ck_assert_str_eq(restorekit_events(&k), "created ");
	ck_assert_ptr_nonnull(strstr(restorekit_data(&k), "\"size_bytes\":65536"));
	ck_assert_ptr_nonnull(strstr(restorekit_data(&k), "\"layers\":3"));
	ck_assert_uint_eq(k.refused, 0);
}
END_TEST

static bool is_let_in(void *arg)
{
	workerkit_turn(arg);
	return k.r->hold.acceptor.n > 0 && k.r->hold.acceptor.peers[0].told;
}

/* From then on, and not before, a VMM is let in, and its worker told of it. */
START_TEST(test_lets_a_vmm_in)
{
	struct err err = {.msg = ""};
	int vmm = -1;

	create_and_load();
	ck_assert_msg(sock_connect(k.r->spec.socket_path, SOCK_STREAM, &vmm, &err) == 0, "%s",
		      err.msg);
	workerkit_turn(&k);
	ck_assert_uint_eq(k.r->hold.acceptor.n, 0);
	creation_done(k.r, &heard.msg.ready, &heard.fd);
	ck_assert_msg(harness_wait(is_let_in, &k, HARNESS_MS), "nobody is let in");
	close(vmm);
}
END_TEST

/* ---- it fails ---- */

/* The real worker says why; there is no snapshot. */
START_TEST(test_cannot_be_loaded)
{
	int before = fds_count(getpid());
	struct err why = {.code = ERR_SNAPSHOT};

	create();
	wait_for(CREATORS);
	ck_assert_int_eq(workerkit_hear(&k), CHAN_FAILED);
	ck_assert_ptr_nonnull(strstr(heard.msg.failed.msg, "snapshot"));
	memcpy(why.msg, heard.msg.failed.msg, sizeof(why.msg));
	creation_failed(k.r, &why);
	check_all_were_refused(ERR_SNAPSHOT, heard.msg.failed.msg);
	pool_free(k.host.pool);
	k.host.pool = NULL;
	workerkit_open(&k);
	/* A pool without a zygote, as before. */
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

static bool is_gone(void *arg)
{
	workerkit_turn(arg);
	return !k.r;
}

/* Nobody acts upon what the worker says: it is as if it still loaded. */
START_TEST(test_takes_too_long)
{
	create();
	wait_for(CREATORS);
	event_active(k.r->hold.load_by, EV_TIMEOUT, 0);
	ck_assert_msg(harness_wait(is_gone, &k, HARNESS_MS), "it is not given up");
	check_all_were_refused(ERR_TIMEOUT, "took more than 30 s");
}
END_TEST

START_TEST(test_is_too_large)
{
	create_and_load();
	k.host.conf.snapshot_bytes_max = WORKERKIT_BYTES - 1;
	creation_done(k.r, &heard.msg.ready, &heard.fd);
	check_all_were_refused(ERR_SNAPSHOT, "snapshot_bytes_max");
}
END_TEST

START_TEST(test_is_as_large_as_may_be)
{
	create_and_load();
	k.host.conf.snapshot_bytes_max = WORKERKIT_BYTES;
	creation_done(k.r, &heard.msg.ready, &heard.fd);
	ck_assert_uint_eq(waiting.n, CREATORS);
	ck_assert_ptr_eq(waiting.with[0], k.r);
}
END_TEST

/* An operator's shell has the store: nobody may hear of what is not written. */
START_TEST(test_cannot_be_written)
{
	char path[CONF_PATH_MAX + 16];
	sqlite3 *db;

	create_and_load();
	snprintf(path, sizeof(path), "%s/uffdd.db", k.dir);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	creation_done(k.r, &heard.msg.ready, &heard.fd);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
	check_all_were_refused(waiting.why.code, "");
	ck_assert_int_ne(waiting.why.msg[0], '\0');
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("creation");
	TCase *tc = tcase_create("creation");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_begin);
	tcase_add_test(tc, test_begin_afresh);
	tcase_add_test(tc, test_begin_without_descriptors);
	tcase_add_test(tc, test_begin_in_a_taken_place);
	tcase_add_test(tc, test_done);
	tcase_add_test(tc, test_lets_a_vmm_in);
	tcase_add_test(tc, test_cannot_be_loaded);
	tcase_add_test(tc, test_takes_too_long);
	tcase_add_test(tc, test_is_too_large);
	tcase_add_test(tc, test_is_as_large_as_may_be);
	tcase_add_test(tc, test_cannot_be_written);
	suite_add_tcase(suite, tc);
	return suite;
}
