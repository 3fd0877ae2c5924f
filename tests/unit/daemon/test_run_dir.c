/* test_run_dir - directories with their modes, one daemon in them, and which boot this is */
#include "daemon/run_dir.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/harness.h"
#include "tests/support/runner.h"

static char *dir; /* owned */
static struct conf conf;
static struct err err;

static void begin(void)
{
	dir = harness_tmpdir();
	conf_defaults(&conf);
	snprintf(conf.run_dir, sizeof(conf.run_dir), "%s/run", dir);
	snprintf(conf.state_dir, sizeof(conf.state_dir), "%s/state", dir);
	err = (struct err){.msg = ""};
	umask(022);
}

static void end(void)
{
	harness_rmtree(dir);
	free(dir);
}

static mode_t mode_of(const char *name)
{
	cleanup_free char *path = NULL;
	struct stat st;

	ck_assert_int_gt(asprintf(&path, "%s/%s", dir, name), 0);
	ck_assert_msg(stat(path, &st) == 0 && S_ISDIR(st.st_mode), "%s", path);
	return st.st_mode & 07777;
}

static void must_open(int *ret_fd)
{
	ck_assert_msg(run_dir_open(&conf, ret_fd, &err) == 0, "%s", err.msg);
}

/* A VMM reaches its socket, and lists nothing; what is ours is nobody else's. */
START_TEST(test_makes_them)
{
	cleanup_fd int fd = -1;

	must_open(&fd);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_uint_eq(mode_of("run"), 0755);
	ck_assert_uint_eq(mode_of("state"), 0700);
	ck_assert_uint_eq(mode_of("run/uffd"), 0711);
	ck_assert_uint_eq(mode_of("run/maps"), 0700);
	ck_assert_uint_eq(mode_of("run/files"), 0700);
}
END_TEST

/* What somebody else made, or masked, is set right; the administrator's directories are his. */
START_TEST(test_modes_are_set)
{
	cleanup_free char *run = NULL, *maps = NULL;
	cleanup_fd int fd = -1;

	ck_assert_int_gt(asprintf(&run, "%s/run", dir), 0);
	ck_assert_int_gt(asprintf(&maps, "%s/run/maps", dir), 0);
	ck_assert_int_eq(mkdir(run, 0750), 0);
	ck_assert_int_eq(mkdir(maps, 0755), 0);
	umask(077);
	must_open(&fd);
	ck_assert_uint_eq(mode_of("run"), 0750);
	ck_assert_uint_eq(mode_of("run/maps"), 0700);
	ck_assert_uint_eq(mode_of("run/uffd"), 0711);
}
END_TEST

/* Two daemons would clear away each other's sockets: the second one touches nothing. */
START_TEST(test_alone)
{
	cleanup_fd int first = -1, second = -1;
	cleanup_free char *maps = NULL;

	must_open(&first);
	ck_assert_int_gt(asprintf(&maps, "%s/run/maps", dir), 0);
	ck_assert_int_eq(chmod(maps, 0500), 0);
	ck_assert_int_eq(run_dir_open(&conf, &second, &err), -1);
	ck_assert_int_eq(err.code, ERR_SYSTEM);
	ck_assert_msg(strstr(err.msg, "another uffdd uses the run directory") &&
			      strstr(err.msg, conf.run_dir),
		      "%s", err.msg);
	ck_assert_uint_eq(mode_of("run/maps"), 0500);
	close_fd(&first);
	close_fd(&second);
	must_open(&second);
}
END_TEST

/* What cannot be made is named. */
START_TEST(test_refused)
{
	static const char *const files[] = {"run", "state", "run/maps"};
	cleanup_free char *path = NULL, *run = NULL;
	cleanup_fd int fd = -1;

	ck_assert_int_gt(asprintf(&path, "%s/%s", dir, files[_i]), 0);
	ck_assert_int_gt(asprintf(&run, "%s/run", dir), 0);
	if (_i == 2)
		ck_assert_int_eq(mkdir(run, 0755), 0);
	/* A file is in its place; and where none can be made, a directory is missing. */
	if (_i == 1)
		snprintf(conf.state_dir, sizeof(conf.state_dir), "%s/missing/state", dir);
	else
		close(open(path, O_CREAT | O_CLOEXEC, 0600));
	ck_assert_int_eq(run_dir_open(&conf, &fd, &err), -1);
	ck_assert_msg(strstr(err.msg, dir), "%s", err.msg);
}
END_TEST

/* Somebody who may write there could put files in the place of ours. */
static const struct {
	const char *name;
	uid_t uid;
	mode_t mode;
	const char *text; /* NULL: accepted */
} owners[] = {
	{"run", 65534, 0755, "belongs to uid 65534, and uffdd runs as uid 0"},
	{"state", 65534, 0700, "belongs to uid 65534"},
	{"run/maps", 65534, 0700, "belongs to uid 65534"},
	{"run", 0, 0775, "(mode 0775): chmod go-w"},
	{"run", 0, 01777, "(mode 1777)"},
	{"state", 0, 0702, "may be written to by others"},
	{"run/uffd", 0, 0713, "may be written to by others"},
	{"run", 0, 0711, NULL},
};

START_TEST(test_owners)
{
	cleanup_free char *path = NULL;
	cleanup_fd int fd = -1;

	if (geteuid())
		return;
	must_open(&fd);
	close_fd(&fd);
	ck_assert_int_gt(asprintf(&path, "%s/%s", dir, owners[_i].name), 0);
	ck_assert_int_eq(chmod(path, owners[_i].mode), 0);
	ck_assert_int_eq(chown(path, owners[_i].uid, owners[_i].uid), 0);
	if (!owners[_i].text) {
		must_open(&fd);
		return;
	}
	ck_assert_int_eq(run_dir_open(&conf, &fd, &err), -1);
	ck_assert_int_eq(err.code, ERR_PATH);
	ck_assert_msg(strstr(err.msg, path) && strstr(err.msg, owners[_i].text), "%s", err.msg);
}
END_TEST

/* A link in the place of one of our directories leads into another user's. */
START_TEST(test_link)
{
	cleanup_free char *path = NULL;
	cleanup_fd int fd = -1;

	must_open(&fd);
	close_fd(&fd);
	ck_assert_int_gt(asprintf(&path, "%s/run/maps", dir), 0);
	ck_assert(rmdir(path) == 0 && symlink(dir, path) == 0);
	ck_assert_int_eq(run_dir_open(&conf, &fd, &err), -1);
	ck_assert_msg(strstr(err.msg, path), "%s", err.msg);
}
END_TEST

START_TEST(test_boot_id)
{
	char id[BOOT_ID_LEN + 1], again[BOOT_ID_LEN + 1];

	memset(id, 'x', sizeof(id));
	ck_assert_msg(run_dir_boot_id(id, &err) == 0 && run_dir_boot_id(again, &err) == 0, "%s",
		      err.msg);
	ck_assert_uint_eq(strlen(id), BOOT_ID_LEN);
	ck_assert_uint_eq(strspn(id, "0123456789abcdef-"), BOOT_ID_LEN);
	ck_assert_str_eq(id, again);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("run dir");
	TCase *tc = tcase_create("run dir");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_makes_them);
	tcase_add_test(tc, test_modes_are_set);
	tcase_add_test(tc, test_alone);
	tcase_add_loop_test(tc, test_refused, 0, 3);
	tcase_add_loop_test(tc, test_owners, 0, ARRAY_LEN(owners));
	tcase_add_test(tc, test_link);
	tcase_add_test(tc, test_boot_id);
	suite_add_tcase(suite, tc);
	return suite;
}
