/* test_store_durable - the store when disk, lock or process fail in the middle */
#include "daemon/store.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/support/runner.h"
#include "tests/support/storekit.h"

START_TEST(test_atomic)
{
	struct restore_record v1 = plain("a", 1), v2 = plain("a", 2), v3 = plain("a", 3);
	struct restore_record bad = plain("", 9);
	struct store_event good = event_at(1, "t", "a"), nameless = event_at(1, "t", "a");
	struct store *s;
	struct all *got;
	uint64_t seq = 77;
	struct err err;

	empty_dir();
	s = must_open();
	must_write(s, &v1, &good, 1);
	/* The second statement fails: the schema wants a type. */
	nameless.type = "";
	ck_assert_int_lt(store_write(s, &v2, &nameless, &seq, &err), 0);
	ck_assert_int_eq(err.code, ERR_INVALID);
	ck_assert_uint_eq(seq, 77);
	/* And the first one: it wants an id. */
	ck_assert_int_lt(store_write(s, &bad, &good, &seq, &err), 0);
	ck_assert_uint_eq(seq, 77);
	must_range(s, 1, 1);
	got = read_all(s);
	ck_assert_uint_eq(got->n, 1);
	ck_assert_uint_eq(got->v[0].revision, 1);
	free_all(got);
	must_write(s, &v3, &good, 2);
	got = read_all(s);
	ck_assert_uint_eq(got->v[0].revision, 3);
	free_all(got);
	store_close(s);
}
END_TEST

/* The loop stands still for as long as a locked store is waited for. */
static void check_patience(void)
{
	sqlite3_stmt *stmt;

	ck_assert_int_eq(sqlite3_prepare_v2(store_db, "PRAGMA busy_timeout", -1, &stmt, NULL),
			 SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	ck_assert_int_le(sqlite3_column_int(stmt, 0), 200);
	sqlite3_finalize(stmt);
}

START_TEST(test_locked_by_shell)
{
	struct store_event e = event_at(1, "t", "a");
	struct store *s;
	sqlite3 *shell;
	struct err err;

	empty_dir();
	watch_opening();
	s = must_open();
	check_patience();
	ck_assert_int_eq(sqlite3_open(path, &shell), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(shell, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_lt(store_write(s, NULL, &e, NULL, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "locked by another program"));
	ck_assert_int_eq(sqlite3_exec(shell, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	must_write(s, NULL, &e, 1);
	ck_assert_int_eq(sqlite3_exec(shell, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_lt(store_trim_events(s, 100, &err), 0);
	ck_assert_int_lt(store_forget(s, "a", &err), 0);
	ck_assert_int_eq(sqlite3_close(shell), SQLITE_OK);
	ck_assert_int_eq(store_trim_events(s, 100, &err), 0);
	must_range(s, 2, 1);
	store_close(s);
}
END_TEST

/* A file system of 1 MiB over the directory, gone with this process; false: not allowed. */
static bool small_disk(void)
{
	return harness_small_disk(dir, "1m");
}

static void fill_disk(const char *ballast)
{
	static const char block[4096];
	int fd = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	close(fd);
}

/* There is one row, and it is that revision. */
static void check_row(struct store *s, uint64_t revision)
{
	struct all *got = read_all(s);

	ck_assert_uint_eq(got->n, 1);
	ck_assert_uint_eq(got->v[0].revision, revision);
	free_all(got);
}

/*
 * Until there is room for the row, but not for the event. @rec is one revision ahead then; returns
 * the last event's seq.
 */
static uint64_t write_until_full(struct store *s, struct restore_record *rec,
				 const struct store_event *event)
{
	uint64_t seq = 77, last = 1;
	struct err err = {.msg = ""};

	for (int i = 0; i < 20 && store_write(s, rec, event, &seq, &err) == 0; i++) {
		rec->revision++;
		last = seq;
	}
	ck_assert_msg(err.code == ERR_NOSPACE, "%s", err.msg);
	ck_assert_ptr_nonnull(strstr(err.msg, "no space left"));
	ck_assert_uint_eq(seq, last);
	check_row(s, rec->revision - 1);
	must_range(s, 1, last);
	return last;
}

static void check_no_space(struct store *s, const struct restore_record *rec,
			   const struct store_event *event)
{
	uint64_t seq = 77;
	struct err err;

	for (int i = 0; i < 3; i++) {
		ck_assert_int_lt(store_write(s, rec, event, &seq, &err), 0);
		ck_assert_msg(err.code == ERR_NOSPACE, "%s", err.msg);
	}
	ck_assert_uint_eq(seq, 77);
}

/* An object of so many bytes, most of them spaces. */
static void fill_object(char *text, size_t size)
{
	memset(text, ' ', size - 1);
	text[0] = '{';
	text[size - 2] = '}';
	text[size - 1] = '\0';
}

START_TEST(test_disk_full)
{
	cleanup_free char *ballast = beside(".ballast");
	struct restore_record v1 = plain("a", 1), v2 = plain("a", 2);
	struct store_event e = event_at(1, "t", "a");
	char big[300000];
	struct store *s;
	struct err err;
	uint64_t last;

	empty_dir();
	if (!small_disk())
		return;
	s = must_open();
	must_write(s, &v1, &e, 1);
	fill_object(big, sizeof(big));
	e.data = big;
	last = write_until_full(s, &v2, &e);

	/* Room for nothing at all; reading goes on. */
	fill_disk(ballast);
	check_no_space(s, &v2, &e);
	must_range(s, 1, last);

	/* Without the ballast there is room again. */
	ck_assert_int_eq(unlink(ballast), 0);
	e.data = NULL;
	must_write(s, &v2, &e, last + 1);
	ck_assert_int_eq(store_trim_tenant(s, "t", 2, &err), 0);
	store_close(s);
	s = must_open();
	check_row(s, v2.revision);
	must_range(s, last, last + 1);
	store_close(s);
}
END_TEST

START_TEST(test_no_room_to_begin)
{
	cleanup_free char *ballast = beside(".ballast");
	struct store *s;
	struct err err;

	empty_dir();
	if (!small_disk())
		return;
	fill_disk(ballast);
	ck_assert_int_lt(store_open(path, &s, &err), 0);
	ck_assert_msg(err.code == ERR_NOSPACE, "%s", err.msg);
	ck_assert_int_eq(unlink(ballast), 0);
	s = must_open();
	must_range(s, 1, 0);
	store_close(s);
}
END_TEST

#define WRITERS_IDS 7

/* A byte into the pipe for every transaction that we were told is done. */
static void write_on(int fd)
{
	uint64_t revisions[WRITERS_IDS] = {0};
	struct store *s;
	struct err err;
	struct all *all;

	if (store_open(path, &s, &err) < 0)
		_exit(1);
	all = read_all(s);
	for (size_t i = 0; i < all->n; i++)
		revisions[atol(all->v[i].id)] = all->v[i].revision;
	for (uint64_t n = 0;; n++) {
		size_t who = n % WRITERS_IDS;
		char id[4], data[64];
		struct restore_record r;
		struct store_event e;

		snprintf(id, sizeof(id), "%zu", who);
		snprintf(data, sizeof(data), "%" PRIu64, revisions[who] + 1);
		r = plain(id, revisions[who] + 1);
		e = event_at(1, "t", id);
		e.data = data;
		if (store_write(s, &r, &e, NULL, &err) < 0 || write(fd, "x", 1) != 1)
			_exit(1);
		revisions[who]++;
	}
}

struct history {
	uint64_t seq;
	uint64_t revisions[WRITERS_IDS];
};

/* Without a gap, neither in seq nor in the revisions of each restore. */
static int follow(void *arg, const struct store_event *e, struct err *err)
{
	struct history *h = arg;
	uint64_t *revision = &h->revisions[strtoul(e->restore, NULL, 10)];

	(void)err;
	ck_assert_uint_eq(e->seq, ++h->seq);
	ck_assert_uint_eq(strtoull(e->data, NULL, 10), ++*revision);
	return 0;
}

START_TEST(test_killed_writer)
{
	uint64_t told = 0;
	char bytes[512];

	empty_dir();
	seed = (uint64_t)getpid() * 0x9e3779b97f4a7c15u + now_us();
	for (int round = 0; round < 12; round++) {
		struct history h = {0};
		size_t enough = rnd() % 300;
		struct store *s;
		struct err err;
		struct all *all;
		pid_t pid;
		int fd;
		ssize_t n;

		pid = fork_with_pipe(&fd, write_on);
		for (size_t got = 0; got < enough; got += (size_t)n) {
			n = read(fd, bytes, sizeof(bytes));
			ck_assert_int_gt(n, 0);
			told += (uint64_t)n;
		}
		kill_and_wait(pid);
		while ((n = read(fd, bytes, sizeof(bytes))) > 0)
			told += (uint64_t)n;
		close(fd);

		s = must_open();
		ck_assert_int_eq(store_events(s, NULL, SIZE_MAX, follow, &h, &err), 0);
		/* At most the one transaction that was done, but not yet told. */
		ck_assert_msg(h.seq == told || h.seq == told + 1, "round %d: %ju of %ju", round,
			      (uintmax_t)h.seq, (uintmax_t)told);
		told = h.seq;
		all = read_all(s);
		for (size_t i = 0; i < all->n; i++)
			ck_assert_uint_eq(all->v[i].revision,
					  h.revisions[strtoul(all->v[i].id, NULL, 10)]);
		for (size_t i = 0; i < WRITERS_IDS; i++)
			ck_assert(h.revisions[i] == 0 || all->n > i);
		free_all(all);
		store_close(s);
	}
}
END_TEST

/* Killed while it makes a new database: the next one gets a good one. */
static void create_only(int fd)
{
	struct store *s;
	struct err err;

	if (write(fd, "x", 1) != 1 || store_open(path, &s, &err) < 0 || write(fd, "y", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

START_TEST(test_killed_creator)
{
	seed = (uint64_t)getpid() * 0x9e3779b97f4a7c15u + now_us();
	for (int round = 0; round < 15; round++) {
		struct timespec limit = {0, (long)(rnd() % 4000000)};
		struct pollfd p = {.events = POLLIN};
		char byte;
		pid_t pid;

		empty_dir();
		pid = fork_with_pipe(&p.fd, create_only);
		ck_assert_int_eq(read(p.fd, &byte, 1), 1);
		ck_assert_int_ge(ppoll(&p, 1, &limit, NULL), 0);
		kill_and_wait(pid);
		close(p.fd);
		store_close(must_open());
	}
}
END_TEST

static void copy_file(const char *from, const char *to)
{
	cleanup_free char *text = xcalloc(1, 1 << 20);
	FILE *in = fopen(from, "re"), *out = fopen(to, "we");
	size_t n;

	ck_assert(in && out);
	n = fread(text, 1, 1 << 20, in);
	ck_assert_uint_eq(fwrite(text, 1, n, out), n);
	fclose(in);
	ck_assert_int_eq(fclose(out), 0);
}

/* The worst that a power cut can leave of it: no first page yet, but a journal. */
START_TEST(test_half_created)
{
	cleanup_free char *journal = beside("-journal");
	cleanup_free char *other = beside(".other");
	cleanup_free char *other_journal = beside(".other-journal");
	char head[16] = "";
	sqlite3 *db;
	FILE *f;

	empty_dir();
	ck_assert_int_eq(sqlite3_open(other, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db,
				      "PRAGMA cache_size = 5; PRAGMA cache_spill = 1; BEGIN;"
				      "CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(100000))",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	copy_file(other, path);
	copy_file(other_journal, journal);
	sqlite3_close(db);
	f = fopen(path, "re");
	ck_assert_uint_eq(fread(head, 1, sizeof(head), f), sizeof(head));
	fclose(f);
	ck_assert_msg(memcmp(head, "SQLite format 3", sizeof(head)) != 0, "not the case meant");
	store_close(must_open());
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("durable");
	TCase *t = tcase_create("cut off");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_test(t, test_atomic);
	tcase_add_test(t, test_locked_by_shell);
	tcase_add_test(t, test_disk_full);
	tcase_add_test(t, test_no_room_to_begin);
	tcase_add_test(t, test_killed_writer);
	tcase_add_test(t, test_killed_creator);
	tcase_add_test(t, test_half_created);
	suite_add_tcase(s, t);
	return s;
}
