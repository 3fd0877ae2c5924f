/* test_landlock - what a process can no longer reach, without any filter of system calls */
#include "worker/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/sock.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

static char *top;
static char file[160], dir[160], inside[160], sock[160];
static int abi, listener, opened;

static void touch(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

static void setup(void)
{
	struct err err;

	top = harness_tmpdir();
	snprintf(file, sizeof(file), "%s/file", top);
	snprintf(dir, sizeof(dir), "%s/dir", top);
	snprintf(inside, sizeof(inside), "%s/dir/inside", top);
	snprintf(sock, sizeof(sock), "%s/sock", top);
	ck_assert_int_eq(mkdir(dir, 0755), 0);
	touch(file);
	touch(inside);
	ck_assert_int_eq(sock_listen(sock, SOCK_SEQPACKET, sock_mode(0666), &listener, &err), 0);
	opened = open(file, O_RDWR | O_CLOEXEC);
	abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
	if (abi < 1)
		fputs("# this kernel has no Landlock: skipped\n", stderr);
}

static void teardown(void)
{
	close(listener);
	close(opened);
	harness_rmtree(top);
	free(top);
}

static int remove_file(void)
{
	return unlink(file);
}

static int remove_inside(void)
{
	return unlink(inside);
}

static int open_file(void)
{
	return open(file, O_RDONLY | O_CLOEXEC);
}

static int make_file(void)
{
	char path[200];

	snprintf(path, sizeof(path), "%s.new", inside);
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static int make_socket(void)
{
	char path[200];
	struct err err;
	int fd;

	snprintf(path, sizeof(path), "%s.sock", inside);
	if (sock_listen(path, SOCK_STREAM, sock_mode(0600), &fd, &err) == 0)
		return 0;
	errno = EACCES;
	return -1;
}

static int run_program(void)
{
	execl("/bin/true", "true", NULL);
	return -1;
}

static int signal_parent(void)
{
	return kill(getppid(), 0);
}

/* As to the next supervisor. */
static int connect_by_path(void)
{
	struct err err;
	int fd, rc = sock_connect(sock, SOCK_SEQPACKET, &fd, &err);

	errno = err.sys ? err.sys : EACCES;
	return rc;
}

static int use_what_is_open(void)
{
	char byte = 'x';

	return ftruncate(opened, 1) || pwrite(opened, &byte, 1, 0) != 1 ||
			       pread(opened, &byte, 1, 0) != 1
		       ? -1
		       : 0;
}

static const struct {
	const char *what;
	int (*deed)(void);
	int since; /* the ABI that forbids it; 0: never */
	int sys;
	bool spared; /* not forbidden where the directory is removable */
} deeds[] = {
	{"use what is open", use_what_is_open, 0, 0, false},
	{"connect", connect_by_path, 0, 0, false},
	{"open", open_file, 1, EACCES, false},
	{"create", make_file, 1, EACCES, false},
	{"bind", make_socket, 1, EACCES, false},
	{"execute", run_program, 1, EACCES, false},
	{"remove elsewhere", remove_file, 1, EACCES, false},
	{"remove", remove_inside, 1, EACCES, true},
	{"signal", signal_parent, 6, EPERM, false},
};

static int try(bool locked, bool removable, int (*deed)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct err err;

		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    (locked && landlock_enter(removable ? dir : NULL, &err)))
			_exit(255);
		_exit(deed() < 0 ? errno : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) != 255, "%#x", status);
	return WEXITSTATUS(status);
}

START_TEST(test_deed)
{
	const bool removable = _i % 2;
	const int i = _i / 2;
	bool forbidden = deeds[i].since && abi >= deeds[i].since && !(removable && deeds[i].spared);
	int sys;

	if (abi < 1)
		return;
	sys = try(true, removable, deeds[i].deed);
	ck_assert_msg(sys == (forbidden ? deeds[i].sys : 0), "%s: %s", deeds[i].what,
		      strerror(sys));
	/* It is this lock that forbids it. */
	touch(inside);
	ck_assert_int_eq(try(false, false, deeds[i].deed), 0);
}
END_TEST

START_TEST(test_no_directory)
{
	struct err err = {.msg = ""};

	if (abi < 1)
		return;
	ck_assert_int_eq(landlock_enter("/nonexistent", &err), -1);
	ck_assert_int_eq(err.code, ERR_SYSTEM);
	ck_assert_msg(strstr(err.msg, "/nonexistent"), "%s", err.msg);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("landlock");
	TCase *t = tcase_create("landlock");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, test_deed, 0, 2 * (int)ARRAY_LEN(deeds));
	tcase_add_test(t, test_no_directory);
	suite_add_tcase(s, t);
	return s;
}
