/*
 * storekit - what the tests of the store share: a directory, and failing when it fails
 */
#ifndef UFFDD_TESTS_STOREKIT_H
#define UFFDD_TESTS_STOREKIT_H

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "daemon/store.h"
#include "tests/support/harness.h"

static char *dir;  /* of the test case */
static char *path; /* of the database, in it */

/* Unchecked: they run in the runner, so that a failed test leaves nothing behind. */
static inline void make_dir(void)
{
	dir = harness_tmpdir();
	ck_assert_int_gt(asprintf(&path, "%s/uffdd.db", dir), 0);
}

static inline void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
	free(path);
}

/* Every test begins without a file. */
static inline void empty_dir(void)
{
	harness_rmtree(dir);
	ck_assert_int_eq(mkdir(dir, 0700), 0);
}

static inline char *beside(const char *suffix)
{
	char *name;

	ck_assert_int_gt(asprintf(&name, "%s%s", path, suffix), 0);
	return name;
}

static inline bool exists(const char *suffix)
{
	cleanup_free char *name = beside(suffix);

	return access(name, F_OK) == 0;
}

static inline struct store *must_open(void)
{
	struct store *s = NULL;
	struct err err = {.msg = ""};

	ck_assert_msg(store_open(path, &s, &err) == 0, "%s", err.msg);
	return s;
}

/* SQLite's side of the store that was opened last. */
static sqlite3 *store_db;

static inline int keep_db(sqlite3 *db, char **msg, const struct sqlite3_api_routines *api)
{
	(void)msg;
	(void)api;
	store_db = db;
	return SQLITE_OK;
}

/* Before must_open(): then store_db is what it opens. */
static inline void watch_opening(void)
{
	ck_assert_int_eq(sqlite3_auto_extension((void (*)(void))keep_db), SQLITE_OK);
}

static uint64_t seed;

static inline uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static inline void must_write(struct store *s, const struct restore_record *rec,
			      const struct store_event *event, uint64_t seq)
{
	struct err err = {.msg = ""};
	uint64_t got = 0;

	ck_assert_msg(store_write(s, rec, event, &got, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(got, seq);
}

static inline void must_range(struct store *s, uint64_t oldest, uint64_t newest)
{
	uint64_t o = 77, n = 77;
	struct err err = {.msg = ""};

	ck_assert_msg(store_event_range(s, NULL, &o, &n, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(o, oldest);
	ck_assert_uint_eq(n, newest);
}

/* A plausible one. */
static inline struct restore_record plain(const char *id, uint64_t revision)
{
	struct restore_record r = {.state = STATE_SERVING, .revision = revision};

	snprintf(r.key, sizeof(r.key), "%s", id);
	snprintf(r.id, sizeof(r.id), "%s", id);
	snprintf(r.tenant, sizeof(r.tenant), "t");
	r.spec = (char *)"{}"; /* only ever lent to the store */
	return r;
}

static inline struct store_event event_at(int64_t time_ms, const char *tenant, const char *restore)
{
	return (struct store_event){.time_ms = time_ms,
				    .type = "changed",
				    .tenant = tenant,
				    .restore = restore};
}

#define RECORDS 60

struct all {
	struct restore_record v[RECORDS];
	size_t n;
};

static inline int collect(void *arg, struct restore_record *rec, struct err *err)
{
	struct all *all = arg;

	(void)err;
	ck_assert_uint_lt(all->n, RECORDS);
	all->v[all->n++] = *rec;
	rec->spec = NULL;
	return 0;
}

static inline struct all *read_all(struct store *s)
{
	struct all *all = xcalloc(1, sizeof(*all));
	struct err err = {.msg = ""};

	ck_assert_msg(store_restores(s, collect, all, &err) == 0, "%s", err.msg);
	return all;
}

static inline void free_all(struct all *all)
{
	for (size_t i = 0; i < all->n; i++)
		record_fini(&all->v[i]);
	free(all);
}

static inline void in_shell(const char *text)
{
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK, "%s: %s", text,
		      sqlite3_errmsg(db));
	/* As a crash would: what is in the log stays there. */
	sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

/* The child's end is written to, ours is returned. */
static inline pid_t fork_with_pipe(int *ret_fd, void (*child)(int fd))
{
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		close(fds[0]);
		child(fds[1]);
		_exit(0);
	}
	close(fds[1]);
	*ret_fd = fds[0];
	return pid;
}

static inline void kill_and_wait(pid_t pid)
{
	int status;

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status), "the child ended by itself: %x", status);
}

#endif
