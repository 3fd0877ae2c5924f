/* test_database - which files are accepted, and that the others stay as they are */
#include "daemon/store.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/support/runner.h"
#include "tests/support/storekit.h"

static void must_refuse(const char *name, const char *complaint)
{
	struct store *s = NULL;
	struct err err = {.msg = ""};

	ck_assert_msg(store_open(path, &s, &err) < 0, "%s", name);
	ck_assert_ptr_null(s);
	ck_assert_msg(strstr(err.msg, complaint) && strstr(err.msg, path), "%s: %s", name, err.msg);
	ck_assert_msg(!strchr(err.msg, '\n'), "%s: %s", name, err.msg);
}

/* ---- what is refused ---- */

struct bytes {
	char *v; /* owned */
	size_t n;
};

static struct bytes slurp(void)
{
	FILE *f = fopen(path, "re");
	struct bytes b = {xcalloc(1, 1 << 20), 0};

	ck_assert_ptr_nonnull(f);
	b.n = fread(b.v, 1, 1 << 20, f);
	ck_assert_uint_lt(b.n, 1 << 20);
	fclose(f);
	return b;
}

static void spill(const void *v, size_t n)
{
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(v, 1, n, f), n);
	ck_assert_int_eq(fclose(f), 0);
}

/* Refused, twice, and not a byte of it touched. */
static void must_refuse_untouched(const char *name, const char *complaint)
{
	struct bytes before = slurp(), after;

	for (int i = 0; i < 2; i++) {
		must_refuse(name, complaint);
		after = slurp();
		ck_assert_msg(before.n == after.n && memcmp(before.v, after.v, after.n) == 0,
			      "%s: written to", name);
		free(after.v);
	}
	free(before.v);
}

/* A database with something in it, cleanly closed. */
static struct bytes make_database(void)
{
	char spec[2000] = "";
	struct store *s;

	empty_dir();
	s = must_open();
	memset(spec, 's', sizeof(spec) - 1);
	for (uint64_t i = 1; i <= RECORDS; i++) {
		struct store_event e = event_at((int64_t)i, "t", "a");
		struct restore_record r;
		char id[8];

		snprintf(id, sizeof(id), "r%ju", (uintmax_t)i);
		r = plain(id, i);
		r.spec = spec;
		must_write(s, &r, &e, i);
	}
	store_close(s);
	return slurp();
}

#define AT_USER_VERSION 60
#define AT_APPLICATION 68

static void poke32(struct bytes *b, size_t at, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		b->v[at + (size_t)i] = (char)(v >> (24 - 8 * i));
}

START_TEST(test_version)
{
	static const struct {
		size_t at;
		uint32_t value;
		const char *complaint;
	} rows[] = {
		{AT_USER_VERSION, 5, "schema version 5, this uffdd knows up to 4"},
		{AT_USER_VERSION, INT32_MAX, "schema version 2147483647"},
		{AT_USER_VERSION, UINT32_MAX, "schema version -1"},
		{AT_USER_VERSION, 0, "migrate"}, /* its tables are there already */
		{AT_APPLICATION, 0, "another program"},
		{AT_APPLICATION, 0x0f055112, "another program (application id 0xf055112)"},
	};
	struct bytes good = make_database();

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct bytes b = {xcalloc(1, good.n), good.n};

		memcpy(b.v, good.v, good.n);
		poke32(&b, rows[i].at, rows[i].value);
		spill(b.v, b.n);
		must_refuse_untouched(rows[i].complaint, rows[i].complaint);
		free(b.v);
	}
	spill(good.v, good.n);
	store_close(must_open());
	free(good.v);
}
END_TEST

START_TEST(test_version_in_log)
{
	struct bytes good = make_database();

	in_shell("PRAGMA user_version = 5");
	ck_assert(exists("-wal"));
	must_refuse_untouched("newer, in the log", "schema version 5");
	ck_assert(exists("-wal"));
	free(good.v);
}
END_TEST

/* What older releases wrote is taken on; a column that they do not know has its default. */
START_TEST(test_older)
{
	struct bytes good = make_database();
	struct all all = {.n = 0};
	struct store *s;
	struct err err;

	in_shell("DELETE FROM events WHERE seq < 3; DROP TABLE tenants; DROP TABLE event_floors;"
		 "ALTER TABLE restores DROP COLUMN map_bytes;"
		 "ALTER TABLE restores DROP COLUMN extents;"
		 "ALTER TABLE restores DROP COLUMN files;"
		 "ALTER TABLE restores DROP COLUMN max_resident_bytes; DROP INDEX restores_id;"
		 "ALTER TABLE restores DROP COLUMN id;"
		 "ALTER TABLE restores RENAME COLUMN key TO id; PRAGMA user_version = 1");
	s = must_open();
	must_range(s, 3, RECORDS);
	ck_assert_msg(store_restores(s, collect, &all, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(all.n, RECORDS);
	for (size_t i = 0; i < all.n; i++) {
		ck_assert_uint_eq(all.v[i].max_resident_bytes, 0);
		/* They are reached by their id, as when they were made. */
		ck_assert(all.v[i].id[0]);
		ck_assert_str_eq(all.v[i].key, all.v[i].id);
		record_fini(&all.v[i]);
	}
	store_close(s);
	free(good.v);
}
END_TEST

START_TEST(test_foreign)
{
	static const struct {
		const char *name, *make;
	} rows[] = {
		{"a table", "CREATE TABLE t (x); INSERT INTO t VALUES (1)"},
		{"our names", "CREATE TABLE restores (id TEXT); CREATE TABLE events (seq)"},
		{"in WAL mode", "PRAGMA journal_mode = WAL; CREATE TABLE t (x)"},
		{"another id", "PRAGMA application_id = 42; PRAGMA user_version = 1"},
		{"no tables", "PRAGMA user_version = 0; CREATE TABLE t (x); DROP TABLE t"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		empty_dir();
		in_shell(rows[i].make);
		must_refuse_untouched(rows[i].name, "another program");
	}
}
END_TEST

START_TEST(test_garbage)
{
	static const struct {
		const char *name, *text;
		size_t n;
	} rows[] = {
		{"one byte", "x", 1},
		{"text", "this is no database, it is a poem about one", 43},
		{"zeros", NULL, 8192},
		{"only a magic", "SQLite format 3", 16},
	};
	char noise[20000];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		static const char zeros[8192];

		empty_dir();
		spill(rows[i].text ? rows[i].text : zeros, rows[i].n);
		must_refuse_untouched(rows[i].name, "damaged");
	}
	seed = 11;
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (char)rnd();
	spill(noise, sizeof(noise));
	must_refuse_untouched("noise", "damaged");
}
END_TEST

START_TEST(test_damaged)
{
	struct bytes good = make_database();
	size_t pages = good.n / 4096;

	ck_assert_uint_gt(pages, 20);
	/* Cut off anywhere. */
	for (size_t n = 100; n < good.n; n += n < 4096 ? 1000 : 16384 + 100) {
		spill(good.v, n);
		must_refuse_untouched("truncated", "damaged");
	}
	/* Any page overwritten, our own rows or not. */
	for (size_t page = 0; page < pages; page++) {
		struct bytes b = {xcalloc(1, good.n), good.n};

		memcpy(b.v, good.v, good.n);
		memset(b.v + page * 4096 + (page ? 0 : 100), 0xff, page ? 4096 : 3996);
		spill(b.v, b.n);
		/* A part of a long text has no structure that could be wrong. */
		if (page == 0 || (good.v[page * 4096] == 13 || good.v[page * 4096] == 5))
			must_refuse_untouched("overwritten", "damaged");
		free(b.v);
	}
	spill(good.v, good.n);
	store_close(must_open());
	free(good.v);
}
END_TEST

/* Only restores are checked then, but they are. */
START_TEST(test_damaged_large)
{
	cleanup_free char *data = xcalloc(1, 1 << 20);
	struct restore_record r = plain("a", 1);
	struct store_event e = event_at(1, "t", "a");
	struct store *s;

	empty_dir();
	s = must_open();
	memset(data, ' ', (1 << 20) - 1);
	e.data = data;
	must_write(s, &r, &e, 1);
	for (uint64_t i = 2; i < 36; i++)
		must_write(s, NULL, &e, i);
	store_close(s);
	store_close(must_open());
	in_shell("PRAGMA ignore_check_constraints = ON; UPDATE restores SET state = 'zombie';"
		 "PRAGMA wal_checkpoint(TRUNCATE)");
	must_refuse("zombie in a large file", "damaged");
}
END_TEST

START_TEST(test_not_a_file)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	cleanup_free char *other = beside(".other");
	int sock;

	empty_dir();
	ck_assert_int_eq(mkdir(path, 0700), 0);
	must_refuse("directory", "not a regular file");

	empty_dir();
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	must_refuse("FIFO", "not a regular file");

	empty_dir();
	ck_assert_int_eq(symlink(other, path), 0);
	must_refuse("dangling link", "not a regular file");
	ck_assert_msg(!exists(".other"), "made a file at the other end of the link");

	empty_dir();
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(sock, (struct sockaddr *)&sun, sizeof(sun)), 0);
	must_refuse("socket", "not a regular file");
	close(sock);

	empty_dir();
	ck_assert_int_eq(rmdir(dir), 0);
	{
		struct store *s;
		struct err err;

		ck_assert_int_lt(store_open(path, &s, &err), 0);
		ck_assert_ptr_nonnull(strstr(err.msg, dir));
	}
	ck_assert_int_eq(mkdir(dir, 0700), 0);
}
END_TEST

/* Operators move state directories and leave a link. */
START_TEST(test_linked_directory)
{
	cleanup_free char *real = NULL, *link = NULL, *via = NULL;
	struct store *s;
	struct err err = {.msg = ""};

	empty_dir();
	ck_assert_int_gt(asprintf(&real, "%s/real", dir), 0);
	ck_assert_int_gt(asprintf(&link, "%s/link", dir), 0);
	ck_assert_int_gt(asprintf(&via, "%s/uffdd.db", link), 0);
	ck_assert_int_eq(mkdir(real, 0700), 0);
	ck_assert_int_eq(symlink(real, link), 0);
	ck_assert_msg(store_open(via, &s, &err) == 0, "%s", err.msg);
	store_close(s);
	ck_assert_int_eq(chdir(real), 0);
	ck_assert_msg(store_open("uffdd.db", &s, &err) == 0, "%s", err.msg);
	store_close(s);
}
END_TEST

static void hold_open(int fd)
{
	struct store *s;
	struct err err;

	if (store_open(path, &s, &err) < 0 || write(fd, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

START_TEST(test_two_openers)
{
	struct store *first, *second;
	struct err err;
	char text[64], byte;
	pid_t pid;
	int fd;

	empty_dir();
	first = must_open();
	snprintf(text, sizeof(text), "another uffdd (pid %ld) uses this state directory",
		 (long)getpid());
	must_refuse("twice in one process", text);
	must_range(first, 1, 0);
	store_close(first);

	pid = fork_with_pipe(&fd, hold_open);
	ck_assert_int_eq(read(fd, &byte, 1), 1);
	snprintf(text, sizeof(text), "another uffdd (pid %ld) uses", (long)pid);
	ck_assert_int_lt(store_open(path, &second, &err), 0);
	ck_assert_msg(strstr(err.msg, text) != NULL, "%s", err.msg);
	kill_and_wait(pid);
	close(fd);
	store_close(must_open());
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("database");
	TCase *t = tcase_create("refused");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_test(t, test_version);
	tcase_add_test(t, test_version_in_log);
	tcase_add_test(t, test_older);
	tcase_add_test(t, test_foreign);
	tcase_add_test(t, test_garbage);
	tcase_add_test(t, test_damaged);
	tcase_add_test(t, test_damaged_large);
	tcase_add_test(t, test_not_a_file);
	tcase_add_test(t, test_linked_directory);
	tcase_add_test(t, test_two_openers);
	suite_add_tcase(s, t);
	return s;
}
