/* Stored working sets: real files, and what may lie in their place. */
#include "daemon/wset_store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/support/harness.h"
#include "tests/support/wsetkit.h"

#define FILE_BYTES ((uint64_t)8192)
#define TENANT_BYTES ((uint64_t)65536)

static char *dir;
static struct wset_store *ws;

static void reopen(void)
{
	struct err err;

	wset_store_close(ws);
	ck_assert_msg(wset_store_open(dir, FILE_BYTES, TENANT_BYTES, &ws, &err) == 0, "%s",
		      err.msg);
}

static void setup(void)
{
	dir = harness_tmpdir();
	ws = NULL;
	reopen();
}

static void teardown(void)
{
	wset_store_close(ws);
	harness_rmtree(dir);
	free(dir);
}

/* ---- sets ---- */

/* How the keys of these sets begin: their files have no name but a number. */
#define NO_ID "f00000000000000000000000000000000-"

static char key_text[WSET_KEY_LEN + 1]; /* of the last name */

static struct wset_store_name name_of(const char *tenant, uint64_t number, uint64_t page_bytes)
{
	const struct wset_key key = {.kind = WSET_FILES, .number = number};

	wset_key_text(&key, key_text);
	return (struct wset_store_name){tenant, key_text, page_bytes};
}

static int put(const char *tenant, uint64_t number, uint64_t page_bytes, uint32_t runs,
	       struct err *err)
{
	const struct wset_store_name name = name_of(tenant, number, page_bytes);
	cleanup_fd int fd = wsetkit_send(wsetkit_make(number, page_bytes, runs));
	struct wset_head head = {0};
	int rc = wset_store_put(ws, &name, WSETKIT_SPAN, fd, &head, err);

	ck_assert_uint_eq(head.runs, rc ? 0 : runs);
	return rc;
}

static void must_put(const char *tenant, uint64_t number, uint64_t page_bytes, uint32_t runs)
{
	struct err err = {.msg = ""};

	ck_assert_msg(put(tenant, number, page_bytes, runs, &err) == 0, "%s", err.msg);
}

/* Its runs, or -1 with the reason. */
static int get(const char *tenant, uint64_t number, uint64_t page_bytes, struct err *err)
{
	const struct wset_store_name name = name_of(tenant, number, page_bytes);
	cleanup_free void *bytes = NULL;
	size_t len = 0;
	struct wset s;
	int runs;

	if (wset_store_read(ws, &name, &bytes, &len, err))
		return -1;
	ck_assert_msg(wset_file_decode(bytes, len, &s, err) == 0, "%s", err->msg);
	runs = (int)s.n;
	wset_fini(&s);
	return runs;
}

static void must_have(const char *tenant, uint64_t number, uint64_t page_bytes, int runs)
{
	struct err err = {.msg = ""};
	int got = get(tenant, number, page_bytes, &err);

	ck_assert_msg(got == runs, "%s/%ju: %d runs, not %d (%s)", tenant, number, got, runs,
		      err.msg);
}

static void must_lack(const char *tenant, uint64_t number, uint64_t page_bytes, const char *why)
{
	struct err err = {.msg = ""};

	ck_assert_int_eq(get(tenant, number, page_bytes, &err), -1);
	ck_assert_int_eq(err.code, ERR_NOTFOUND);
	ck_assert_msg(strstr(err.msg, why), "%s", err.msg);
}

/* The path of a stored file; valid until the next call. */
static const char *path_of(const char *tenant, const char *file)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/working-sets/%s/%s", dir, tenant, file);
	return path;
}

#define ONE_4K NO_ID "0000000000000001-4k"

/* ---- what is kept ---- */

START_TEST(test_put_and_find)
{
	struct wset_store_name name;
	struct stat st;
	int fd;

	must_lack("t", 1, PAGE_4K, "none is stored");
	must_put("t", 1, PAGE_4K, 3);
	must_put("t", 1, PAGE_2M, 4);
	must_put("t", 2, PAGE_4K, 5);
	must_put("u", 1, PAGE_4K, 6);
	for (int round = 0; round < 2; round++) {
		must_have("t", 1, PAGE_4K, 3);
		must_have("t", 1, PAGE_2M, 4);
		must_have("t", 2, PAGE_4K, 5);
		must_have("u", 1, PAGE_4K, 6);
		must_lack("u", 2, PAGE_4K, "none is stored");
		must_lack("v", 1, PAGE_4K, "none is stored");
		reopen();
	}
	must_put("t", 1, PAGE_4K, 7);
	must_have("t", 1, PAGE_4K, 7);
	ck_assert_int_eq(stat(path_of("t", ONE_4K), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(stat(path_of("t", "."), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	name = name_of("t", 1, PAGE_4K);
	fd = wset_store_find(ws, &name);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_lt(write(fd, "x", 1), 0);
	close(fd);
	ck_assert_int_ne(access(path_of("t", ".new"), F_OK), 0);
}
END_TEST

/* A reader that was there before goes on with what it has. */
START_TEST(test_replaced_whole)
{
	const struct wset_store_name name = name_of("t", 1, PAGE_4K);
	uint8_t before[8192], after[8192];
	ssize_t len;
	int fd;

	must_put("t", 1, PAGE_4K, 300);
	fd = wset_store_find(ws, &name);
	len = pread(fd, before, sizeof(before), 0);
	must_put("t", 1, PAGE_4K, 2);
	ck_assert_int_eq(pread(fd, after, sizeof(after), 0), len);
	ck_assert_mem_eq(before, after, (size_t)len);
	close(fd);
}
END_TEST

/* ---- what is refused from a worker ---- */

static void refuse(const void *bytes, size_t len, int seals, const char *why)
{
	const struct wset_store_name name = name_of("t", 1, PAGE_4K);
	cleanup_fd int fd = wsetkit_memfd(bytes, len, seals);
	struct wset_head head;
	struct err err = {.msg = ""};

	ck_assert_msg(wset_store_put(ws, &name, WSETKIT_SPAN, fd, &head, &err) < 0, "%s: taken",
		      why);
	ck_assert_msg(strstr(err.msg, why), "\"%s\" is not in: %s", why, err.msg);
	must_have("t", 1, PAGE_4K, 3);
}

START_TEST(test_refused)
{
	struct wset s = wsetkit_make(1, PAGE_4K, 9), other = wsetkit_make(2, PAGE_4K, 9),
		    huge = wsetkit_make(1, PAGE_2M, 9), large = wsetkit_make(1, PAGE_4K, 3000),
		    short_span = wsetkit_make(1, PAGE_4K, 9);
	struct wset *sets[] = {&s, &other, &huge, &large, &short_span};
	void *bytes[ARRAY_LEN(sets)];
	size_t len[ARRAY_LEN(sets)];
	struct err err;

	must_put("t", 1, PAGE_4K, 3);
	short_span.span_bytes = WSETKIT_SPAN / 2;
	for (size_t i = 0; i < ARRAY_LEN(sets); i++)
		ck_assert_int_eq(wset_file_encode(sets[i], &bytes[i], &len[i], &err), 0);
	refuse(bytes[0], len[0], 0, "sealed");
	refuse(bytes[0], len[0], F_SEAL_SHRINK | F_SEAL_WRITE, "sealed");
	refuse(bytes[0], len[0], F_SEAL_GROW | F_SEAL_WRITE, "sealed");
	refuse(bytes[0], len[0], F_SEAL_GROW | F_SEAL_SHRINK, "sealed");
	refuse(bytes[0], len[0] - 1, WSETKIT_SEALS, "damaged");
	refuse("", 0, WSETKIT_SEALS, "no working-set file");
	refuse(bytes[1], len[1], WSETKIT_SEALS, "another snapshot");
	refuse(bytes[2], len[2], WSETKIT_SEALS, "page size");
	ck_assert_uint_gt(len[3], FILE_BYTES);
	refuse(bytes[3], len[3], WSETKIT_SEALS, "at most 8192");
	refuse(bytes[4], len[4], WSETKIT_SEALS, "snapshot of 536870912 bytes");
	for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
		wset_fini(sets[i]);
		free(bytes[i]);
	}
}
END_TEST

/* What is no memfd might block us. */
START_TEST(test_other_descriptors)
{
	const struct wset_store_name name = name_of("t", 1, PAGE_4K);
	struct wset_head head;
	struct err err = {.msg = ""};
	int pipes[2];

	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	ck_assert_int_lt(wset_store_put(ws, &name, WSETKIT_SPAN, pipes[0], &head, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "sealed"));
	must_put("t", 2, PAGE_4K, 3);
	close(pipes[0]);
	pipes[0] = open(path_of("t", NO_ID "0000000000000002-4k"), O_RDONLY | O_CLOEXEC);
	ck_assert_int_lt(wset_store_put(ws, &name, WSETKIT_SPAN, pipes[0], &head, &err), 0);
	close(pipes[0]);
	close(pipes[1]);
}
END_TEST

START_TEST(test_names)
{
	/* clang-format off */
	static const struct wset_store_name bad[] = {
		{"..", NO_ID "0000000000000001", PAGE_4K}, {"t", "../" NO_ID "0000000000000001", PAGE_4K},
		{"t/u", NO_ID "0000000000000001", PAGE_4K}, {"", NO_ID "0000000000000001", PAGE_4K},
		{"t", "", PAGE_4K},
	};
	/* clang-format on */
	struct wset_head head;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert_int_eq(wset_store_find(ws, &bad[i]), -1);
		ck_assert_int_lt(wset_store_put(ws, &bad[i], WSETKIT_SPAN, 0, &head, &err), 0);
	}
}
END_TEST

/* ---- what may lie in a file's place ---- */

static void damage(off_t at, const char *bytes)
{
	int fd = open(path_of("t", ONE_4K), O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(pwrite(fd, bytes, strlen(bytes), at), (ssize_t)strlen(bytes));
	close(fd);
}

START_TEST(test_damaged)
{
	must_put("t", 1, PAGE_4K, 100);
	damage(95, "\177");
	must_lack("t", 1, PAGE_4K, "wrong checksum");
	must_put("t", 1, PAGE_4K, 100);
	must_have("t", 1, PAGE_4K, 100);
	ck_assert_int_eq(truncate(path_of("t", ONE_4K), 200), 0);
	must_lack("t", 1, PAGE_4K, "damaged");
	ck_assert_int_eq(truncate(path_of("t", ONE_4K), 0), 0);
	must_lack("t", 1, PAGE_4K, "no working-set file");
	ck_assert_int_eq(truncate(path_of("t", ONE_4K), (off_t)WSET_FILE_MAX + 1), 0);
	must_lack("t", 1, PAGE_4K, "at most");
	must_put("t", 1, PAGE_4K, 5);
	must_have("t", 1, PAGE_4K, 5);
}
END_TEST

/* Somebody else's, under this name. */
START_TEST(test_misplaced)
{
	char other[512];

	must_put("t", 1, PAGE_4K, 5);
	snprintf(other, sizeof(other), "%s", path_of("t", NO_ID "0000000000000002-4k"));
	ck_assert_int_eq(rename(path_of("t", ONE_4K), other), 0);
	must_lack("t", 2, PAGE_4K, "another snapshot");
}
END_TEST

START_TEST(test_strange_files)
{
	char victim[512];
	struct stat st;
	struct err err;

	snprintf(victim, sizeof(victim), "%s/victim", dir);
	close(open(victim, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	must_put("t", 2, PAGE_4K, 5);
	ck_assert_int_eq(symlink(victim, path_of("t", ONE_4K)), 0);
	ck_assert_int_eq(symlink(victim, path_of("t", ".new")), 0);
	must_lack("t", 1, PAGE_4K, "none is stored");
	must_put("t", 1, PAGE_4K, 6);
	must_have("t", 1, PAGE_4K, 6);
	ck_assert_int_eq(unlink(path_of("t", ONE_4K)), 0);
	ck_assert_int_eq(mkfifo(path_of("t", ONE_4K), 0600), 0);
	must_lack("t", 1, PAGE_4K, "none is stored");
	must_put("t", 1, PAGE_4K, 7);
	must_have("t", 1, PAGE_4K, 7);
	ck_assert_int_eq(unlink(path_of("t", ONE_4K)), 0);
	ck_assert_int_eq(mkdir(path_of("t", ONE_4K), 0700), 0);
	must_lack("t", 1, PAGE_4K, "none is stored");
	ck_assert_int_eq(put("t", 1, PAGE_4K, 8, &err), -1);
	ck_assert_int_ne(access(path_of("t", ".new"), F_OK), 0);
	ck_assert_int_eq(stat(victim, &st), 0);
	ck_assert_int_eq(st.st_size, 0);
}
END_TEST

/* A tenant's directory that leads elsewhere. */
START_TEST(test_strange_directory)
{
	char elsewhere[512], link[512];
	struct err err;

	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", dir);
	snprintf(link, sizeof(link), "%s/working-sets/t", dir);
	ck_assert_int_eq(mkdir(elsewhere, 0755), 0);
	ck_assert_int_eq(symlink(elsewhere, link), 0);
	ck_assert_int_eq(put("t", 1, PAGE_4K, 8, &err), -1);
	ck_assert_int_eq(rmdir(elsewhere), 0);
}
END_TEST

/* ---- room ---- */

static uint64_t stored(const char *tenant, uint64_t upto)
{
	uint64_t n = 0;

	for (uint64_t i = 1; i <= upto; i++) {
		struct err err;

		n += get(tenant, i, PAGE_4K, &err) >= 0;
	}
	return n;
}

/* Sixteen blocks are all; what was recorded longest ago goes, and nobody else's. */
START_TEST(test_oldest_go_first)
{
	must_put("u", 1, PAGE_4K, 5);
	for (uint64_t i = 1; i <= 16; i++) {
		must_put("t", i, PAGE_4K, 5);
		ck_assert_uint_eq(stored("t", i), i);
	}
	must_put("t", 1, PAGE_4K, 6);
	must_have("t", 1, PAGE_4K, 6);
	must_lack("t", 2, PAGE_4K, "none is stored");
	must_have("t", 16, PAGE_4K, 5);
	for (uint64_t i = 17; i <= 200; i++) {
		must_put("t", i, PAGE_4K, 5);
		must_have("t", i, PAGE_4K, 5);
		must_have("t", i - 1, PAGE_4K, 5);
		ck_assert_uint_le(stored("t", i), 16);
		ck_assert_uint_ge(stored("t", i), 12);
		if (i == 100)
			reopen();
	}
	must_have("u", 1, PAGE_4K, 5);
}
END_TEST

/* The same set again and again takes no more room than once. */
START_TEST(test_again_and_again)
{
	for (uint64_t i = 1; i <= 8; i++)
		must_put("t", i, PAGE_4K, 5);
	for (uint32_t i = 0; i < 100; i++)
		must_put("t", 8, PAGE_4K, 5 + i);
	ck_assert_uint_eq(stored("t", 8), 8);
}
END_TEST

START_TEST(test_full_disk)
{
	struct err err = {.msg = ""};
	char fill[512];
	int fd;

	if (!harness_small_disk(dir, "64k"))
		return;
	reopen();
	must_put("t", 1, PAGE_4K, 5);
	snprintf(fill, sizeof(fill), "%s/fill", dir);
	fd = open(fill, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	while (write(fd, fill, sizeof(fill)) > 0)
		;
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_int_eq(put("t", 1, PAGE_4K, 100, &err), -1);
	ck_assert_int_eq(err.code, ERR_NOSPACE);
	must_have("t", 1, PAGE_4K, 5);
	ck_assert_int_ne(access(path_of("t", ".new"), F_OK), 0);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	close(fd);
	must_put("t", 1, PAGE_4K, 100);
	must_have("t", 1, PAGE_4K, 100);
	/* So that the directory can be removed. */
	wset_store_close(steal_ptr(&ws));
	ck_assert_int_eq(umount2(dir, MNT_DETACH), 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("wsets");
	TCase *t = tcase_create("files");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_put_and_find);
	tcase_add_test(t, test_replaced_whole);
	tcase_add_test(t, test_refused);
	tcase_add_test(t, test_other_descriptors);
	tcase_add_test(t, test_names);
	tcase_add_test(t, test_damaged);
	tcase_add_test(t, test_misplaced);
	tcase_add_test(t, test_strange_files);
	tcase_add_test(t, test_strange_directory);
	tcase_add_test(t, test_oldest_go_first);
	tcase_add_test(t, test_again_and_again);
	tcase_add_test(t, test_full_disk);
	suite_add_tcase(s, t);
	return s;
}
