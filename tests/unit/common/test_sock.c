/* sock: listening at a path, with whose rights, and what is refused */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/support/fds.h"
#include "tests/support/sockkit.h"

#define ROUNDS 300

/* The listener is non-blocking, but whoever connected before is in its queue. */
static int must_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	ck_assert_msg(fd >= 0, "accept: %s", strerror(errno));
	return fd;
}

static void expect_refusal(const char *what, const char *at, enum err_code code, const char *text)
{
	int fd = -7, before = fds_count(getpid());
	struct err err = {0};

	ck_assert_msg(sock_listen(at, SOCK_STREAM, sock_mode(0600), &fd, &err) == -1, "%s: listens",
		      what);
	ck_assert_msg(err.code == code, "%s: %s: %s", what, err_name(err.code), err.msg);
	ck_assert_msg(strstr(err.msg, text) != NULL, "%s: \"%s\"", what, err.msg);
	ck_assert_int_eq(fd, -7);
	ck_assert_msg(fds_count(getpid()) == before, "%s: descriptor leaked", what);
}

/* Runs @fn in a child, as NOBODY if @drop; its assertions and return value count. */
static void in_child(int (*fn)(void), bool drop)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (drop && (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
			     setresuid(NOBODY, NOBODY, NOBODY)))
			_exit(100);
		_exit(fn());
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child: status %#x", status);
}

static const mode_t modes[] = {0600, 0660, 0666, 0200, 0};
static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};

START_TEST(listens_with_the_mode)
{
	mode_t mode = modes[_i];
	struct stat st;

	umask(_i % 2 ? 0 : 0777);
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		int fd = must_listen(mode, types[i]), peer, end;

		ck_assert_int_eq(lstat(path, &st), 0);
		ck_assert_msg(st.st_mode == (S_IFSOCK | mode), "mode %o, not %o", st.st_mode, mode);
		ck_assert_uint_eq(st.st_uid, geteuid());
		ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
		ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
		ck_assert_int_eq(accept(fd, NULL, NULL), -1);
		ck_assert_int_eq(errno, EAGAIN);
		if (mode & 0200) {
			peer = must_connect(types[i]);
			ck_assert_int_eq(fcntl(peer, F_GETFD), FD_CLOEXEC);
			ck_assert(!(fcntl(peer, F_GETFL) & O_NONBLOCK));
			end = must_accept(fd);
			ck_assert_int_eq(write(peer, "x", 1), 1);
			close(end);
			close(peer);
		}
		close(fd);
		ck_assert_int_eq(unlink(path), 0);
	}
}
END_TEST

static bool watching;

/* Returns the first mode that was neither closed nor the final one. */
static void *watch_modes(void *final)
{
	mode_t wrong = 0, want = *(mode_t *) final;
	struct stat st;

	while (!wrong && __atomic_load_n(&watching, __ATOMIC_RELAXED))
		if (lstat(path, &st) == 0 && (st.st_mode & 0777) && (st.st_mode & 0777) != want)
			wrong = st.st_mode & 0777;
	return (void *)(uintptr_t)wrong;
}

START_TEST(is_never_wider)
{
	mode_t mode = 0600;
	pthread_t thread;
	void *wrong;

	umask(0);
	watching = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, watch_modes, &mode), 0);
	for (int i = 0; i < ROUNDS; i++) {
		close(must_listen(mode, SOCK_STREAM));
		ck_assert_int_eq(unlink(path), 0);
	}
	__atomic_store_n(&watching, false, __ATOMIC_RELAXED);
	pthread_join(thread, &wrong);
	ck_assert_msg(!wrong, "was open with mode %o", (unsigned)(uintptr_t)wrong);
}
END_TEST

static void expect_owner(uid_t uid, gid_t gid, mode_t mode)
{
	struct stat st;

	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_uint_eq(st.st_uid, uid);
	ck_assert_uint_eq(st.st_gid, gid);
	ck_assert_uint_eq(st.st_mode, S_IFSOCK | mode);
}

static const struct sock_rights to_others = {0660, 1234, 5678};

/* CAP_CHOWN alone, as a service has it: no right to change the mode of others' files. */
static int give_away_with_chown_only(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {
		{.effective = 1 << CAP_CHOWN, .permitted = 1 << CAP_CHOWN}};
	struct err err;
	int fd;

	if (syscall(SYS_capset, &head, caps))
		return 101;
	if (sock_listen(path, SOCK_STREAM, to_others, &fd, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	return 0;
}

START_TEST(gives_it_to_its_owner)
{
	const struct sock_rights to_group = {0660, SOCK_KEEP_OWNER, 5678};
	struct err err;
	int fd;

	if (geteuid() != 0)
		return;
	ck_assert_int_eq(sock_listen(path, SOCK_STREAM, to_others, &fd, &err), 0);
	expect_owner(1234, 5678, 0660);
	close(fd);
	ck_assert_int_eq(sock_listen(path, SOCK_STREAM, to_group, &fd, &err), 0);
	expect_owner(0, 5678, 0660);
	close(fd);
	unlink(path);
	in_child(give_away_with_chown_only, false);
	expect_owner(1234, 5678, 0660);
}
END_TEST

static int as_nobody(void)
{
	const struct sock_rights to_user = {0600, 1234, SOCK_KEEP_OWNER};
	const struct sock_rights to_group = {0600, SOCK_KEEP_OWNER, 1234};
	struct err err;
	int fd;

	expect_refusal("directory of root", path, ERR_PATH, "writable for uid 65534");
	snprintf(path, sizeof(path), "%s/open/s", dir);
	if (sock_listen(path, SOCK_STREAM, to_user, &fd, &err) == 0 ||
	    !strstr(err.msg, "CAP_CHOWN") || access(path, F_OK) == 0)
		return 1;
	if (sock_listen(path, SOCK_STREAM, to_group, &fd, &err) == 0 ||
	    !strstr(err.msg, "gid 1234") || access(path, F_OK) == 0)
		return 2;
	fd = must_listen(0660, SOCK_STREAM);
	expect_owner(NOBODY, NOBODY, 0660);
	close(fd);
	/* Died between birth and opening: only its own maker may not even try it. */
	if (chmod(path, 0) < 0)
		return 3;
	close(must_listen(0600, SOCK_STREAM));
	snprintf(path, sizeof(path), "%s/open/root", dir);
	expect_refusal("socket of root", path, ERR_PATH, "may not try");
	return sock_connect(path, SOCK_STREAM, &fd, &err) == -1 && err.code == ERR_DENIED ? 0 : 4;
}

START_TEST(without_privileges)
{
	int fd;

	if (geteuid() != 0)
		return;
	snprintf(path, sizeof(path), "%s/open", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(chmod(path, 0777), 0);
	snprintf(path, sizeof(path), "%s/open/root", dir);
	fd = must_listen(0600, SOCK_STREAM);
	snprintf(path, sizeof(path), "%s/s", dir);
	in_child(as_nobody, true);
	close(fd);
}
END_TEST

START_TEST(replaces_a_stale_socket)
{
	struct stat before, after;
	int fd = must_listen(0600, types[_i]);

	ck_assert_int_eq(lstat(path, &before), 0);
	close(fd);
	fd = must_listen(0660, types[_i]);
	ck_assert_int_eq(lstat(path, &after), 0);
	ck_assert_uint_eq(after.st_mode, S_IFSOCK | 0660);
	close(must_connect(types[_i]));
	close(fd);
}
END_TEST

static void bind_raw(int fd)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	memcpy(addr.sun_path, path, strlen(path) + 1);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

/* In use by any kind of socket, listening already or not; and its owner is not disturbed. */
START_TEST(refuses_a_live_socket)
{
	static const int kinds[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
	cleanup_fd int fd = socket(AF_UNIX, kinds[_i] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	bind_raw(fd);
	expect_refusal("bound", path, ERR_PATH, "somebody is listening at");
	if (kinds[_i] != SOCK_DGRAM) {
		ck_assert_int_eq(listen(fd, 1), 0);
		expect_refusal("listening", path, ERR_PATH, path);
		ck_assert_int_eq(accept(fd, NULL, NULL), -1);
		ck_assert_int_eq(errno, EAGAIN);
	}
	ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

START_TEST(refuses_other_files)
{
	char other[sizeof(path) + 8];
	struct stat st;

	ck_assert_int_eq(mkdir(path, 0700), 0);
	expect_refusal("directory", path, ERR_PATH, "not a socket");
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	expect_refusal("FIFO", path, ERR_PATH, "remove it");
	ck_assert_int_eq(unlink(path), 0);
	close(must_listen(0600, SOCK_STREAM));
	snprintf(other, sizeof(other), "%s.real", path);
	ck_assert_int_eq(rename(path, other), 0);
	ck_assert_int_eq(symlink(other, path), 0);
	expect_refusal("link to a stale socket", path, ERR_PATH, "not a socket");
	ck_assert_int_eq(unlink(other), 0);
	expect_refusal("dangling link", path, ERR_PATH, "not a socket");
	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_int_eq(lstat(other, &st), -1);
}
END_TEST

/* Removes what it is bound to, and nothing else that has come to be at its path. */
static const struct {
	const char *what;
	bool dir_is_moved, file_is_other, gone;
} unlinks[] = {
	{"as it was", false, false, true},
	{"another socket", false, true, false},
	{"another directory", true, true, false},
};

START_TEST(unlinks_its_own_file_only)
{
	char home[128], away[128], other[128];
	int fd, foreign = -1;

	snprintf(home, sizeof(home), "%s/home", dir);
	snprintf(away, sizeof(away), "%s/away", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	ck_assert(mkdir(home, 0755) == 0 && mkdir(other, 0755) == 0);
	snprintf(path, sizeof(path), "%.100s/s", home);
	fd = must_listen(0600, SOCK_STREAM);
	if (unlinks[_i].dir_is_moved)
		ck_assert(rename(home, away) == 0 && symlink(other, home) == 0);
	else if (unlinks[_i].file_is_other)
		ck_assert_int_eq(unlink(path), 0);
	if (unlinks[_i].file_is_other)
		foreign = must_listen(0600, SOCK_STREAM);
	sock_unlink(path, fd);
	ck_assert_msg((access(path, F_OK) < 0) == unlinks[_i].gone, "%s", unlinks[_i].what);
	close_fd(&fd);
	close_fd(&foreign);
}
END_TEST

/* Files that are no sockets, and sockets of which nobody can say whose they are, stay. */
START_TEST(unlinks_no_other_file)
{
	int fd = must_listen(0600, SOCK_STREAM);

	sock_unlink(path, -1);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_eq(unlink(path), 0);
	sock_unlink(path, fd);
	close(open(path, O_CREAT | O_CLOEXEC, 0600));
	sock_unlink(path, fd);
	ck_assert_int_eq(access(path, F_OK), 0);
	close(fd);
}
END_TEST

START_TEST(refuses_paths)
{
	char longest[110], missing[192];
	struct err err;
	int fd;

	expect_refusal("empty", "", ERR_PATH, "empty");
	snprintf(missing, sizeof(missing), "%s/no/such/s", dir);
	snprintf(path, sizeof(path), "there is no directory %s/no/such,", dir);
	expect_refusal("no directory", missing, ERR_PATH, path);
	expect_refusal("no directory, relative", "nosuch/s", ERR_PATH, "no directory nosuch,");

	memset(longest, 'a', sizeof(longest));
	memcpy(longest, dir, strlen(dir));
	longest[strlen(dir)] = '/';
	longest[108] = '\0';
	expect_refusal("108 bytes", longest, ERR_PATH, "108 bytes is too long, the limit is 107");
	ck_assert_int_eq(sock_connect(longest, SOCK_STREAM, &fd, &err), -1);
	ck_assert_int_eq(err.code, ERR_PATH);
	longest[107] = '\0';
	snprintf(path, sizeof(path), "%s", longest);
	fd = must_listen(0600, SOCK_STREAM);
	close(must_connect(SOCK_STREAM));
	close(fd);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("sock");
	TCase *tc = add_case(suite, "listen");

	tcase_add_loop_test(tc, listens_with_the_mode, 0, ARRAY_LEN(modes));
	tcase_add_test(tc, is_never_wider);
	tcase_add_test(tc, gives_it_to_its_owner);
	tcase_add_test(tc, without_privileges);
	tcase_add_loop_test(tc, replaces_a_stale_socket, 0, ARRAY_LEN(types));
	tcase_add_loop_test(tc, refuses_a_live_socket, 0, 3);
	tcase_add_test(tc, refuses_other_files);
	tcase_add_loop_test(tc, unlinks_its_own_file_only, 0, ARRAY_LEN(unlinks));
	tcase_add_test(tc, unlinks_no_other_file);
	tcase_add_test(tc, refuses_paths);
	return suite;
}
