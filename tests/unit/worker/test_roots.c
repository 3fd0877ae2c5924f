/* test_roots - paths beneath directories, and all that leads out of them */
#include "worker/roots.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/harness.h"
#include "tests/support/runner.h"

static char *dir; /* owned */

static char *in_dir(const char *name)
{
	char *path;

	ck_assert_int_gt(asprintf(&path, "%s/%s", dir, name), 0);
	return path;
}

static void make_file(const char *name)
{
	cleanup_free char *path = in_dir(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

static void make_subdir(const char *name)
{
	cleanup_free char *path = in_dir(name);

	ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void make_link(const char *to, const char *name)
{
	cleanup_free char *path = in_dir(name);

	ck_assert_int_eq(symlink(to, path), 0);
}

/*
 * red/file red/sub/file   within:  red/sub/up -> ../file, red/down -> sub
 * blue/file               out of:  red/out -> ../blue/file, red/outdir -> ../blue, red/abs,
 *                                  red/proc -> /proc/self/fd/0
 */
static void make_dirs(void)
{
	dir = harness_tmpdir();
	make_subdir("red");
	make_subdir("red/sub");
	make_subdir("redder");
	make_subdir("blue");
	make_file("red/file");
	make_file("red/sub/file");
	make_file("redder/file");
	make_file("blue/file");
	make_link("../file", "red/sub/up");
	make_link("sub", "red/down");
	make_link("../blue/file", "red/out");
	make_link("../blue", "red/outdir");
	make_link("/proc/self/fd/0", "red/proc");
	make_link("/etc/passwd", "red/abs");
}

static void remove_dirs(void)
{
	harness_rmtree(dir);
	free(dir);
}

/* Roots in the directory, each with a blank behind it. */
static struct roots roots_of(const char *names)
{
	struct roots r = {0};
	char text[1024];
	struct err err = {.msg = ""};
	size_t len = 0;

	for (size_t n; *names; names += n + 1) {
		n = strcspn(names, " ");
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s/%.*s", dir, (int)n,
					names) +
		       1;
	}
	ck_assert_msg(roots_take(&r, text, len, &err) == 0, "%s", err.msg);
	return r;
}

static const struct {
	const char *roots, *path;
	int sys; /* 0: it is opened */
} rows[] = {
	{"", "red/file", 0},
	{"", "red/out", 0},
	{"", "red/none", ENOENT},
	{"red ", "red/file", 0},
	{"red ", "red//file", 0},
	{"red ", "red/sub/file", 0},
	{"red ", "red/sub/up", 0},
	{"red ", "red/down/file", 0},
	{"red ", "red/sub/../file", 0},
	{"red ", "red/none", ENOENT},
	{"red ", "blue/file", EXDEV},
	{"red ", "redder/file", EXDEV},
	{"red ", "red/../blue/file", EXDEV},
	{"red ", "red/sub/../../blue/file", EXDEV},
	{"red ", "red/out", EXDEV},
	{"red ", "red/outdir/file", EXDEV},
	{"red ", "red/abs", EXDEV},
	{"red ", "red/proc", EXDEV},
	{"red/sub ", "red/sub/up", EXDEV},
	{"red/sub ", "red/file", EXDEV},
	{"red/sub red ", "red/sub/up", 0},
	{"blue red ", "red/file", 0},
	{"blue red ", "red/out", EXDEV},
	{"none ", "none/file", ENOENT},
};

START_TEST(test_open)
{
	struct roots r = roots_of(rows[_i].roots);
	cleanup_free char *path = in_dir(rows[_i].path);
	cleanup_fd int fd = roots_open(&r, path, O_RDONLY | O_CLOEXEC);
	int sys = fd < 0 ? errno : 0;

	ck_assert_msg(sys == rows[_i].sys, "%s beneath %s: %s", rows[_i].path, rows[_i].roots,
		      strerror(sys));
	roots_fini(&r);
	roots_fini(&r);
}
END_TEST

/* A directory that is a root, and a root that is all. */
START_TEST(test_root_itself)
{
	static const char slash[] = "/";
	struct roots r = roots_of("red "), all = {0};
	cleanup_free char *red = in_dir("red"), *out = in_dir("red/out");
	struct err err;
	int fd;

	fd = roots_open(&r, red, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(roots_take(&all, slash, sizeof(slash), &err), 0);
	fd = roots_open(&all, out, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	close(fd);
	roots_fini(&r);
	roots_fini(&all);
}
END_TEST

START_TEST(test_open_at)
{
	struct roots r = roots_of("red "), anywhere = {0};
	cleanup_free char *sub = in_dir("red/sub"), *blue = in_dir("blue");
	cleanup_fd int at = open(sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_fd int a = roots_open_at(&anywhere, at, "/nowhere", "file", O_RDONLY | O_CLOEXEC);
	cleanup_fd int b = roots_open_at(&r, at, sub, "up", O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(a, 0);
	ck_assert_int_ge(b, 0);
	/* The path counts. */
	ck_assert_int_eq(roots_open_at(&r, at, blue, "file", O_RDONLY | O_CLOEXEC), -1);
	ck_assert_int_eq(errno, EXDEV);
	roots_fini(&r);
}
END_TEST

START_TEST(test_not_roots)
{
	struct roots r = {0};
	struct err err = {.msg = ""};

	ck_assert_int_eq(roots_take(&r, "", 0, &err), 0);
	ck_assert_int_eq(roots_take(&r, "/a", 2, &err), -1);
	ck_assert_int_eq(err.code, ERR_SYSTEM);
	ck_assert_int_eq(roots_take(&r, "/a\0b\0", 5, &err), -1);
	ck_assert_int_eq(roots_take(&r, "/a\0\0", 4, &err), -1);
	ck_assert_ptr_null(r.text);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("roots");
	TCase *t = tcase_create("roots");

	tcase_add_unchecked_fixture(t, make_dirs, remove_dirs);
	tcase_add_loop_test(t, test_open, 0, ARRAY_LEN(rows));
	tcase_add_test(t, test_root_itself);
	tcase_add_test(t, test_open_at);
	tcase_add_test(t, test_not_roots);
	suite_add_tcase(s, t);
	return s;
}
