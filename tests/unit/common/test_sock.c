/* sock and proc against real sockets and processes */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "common/proc.h"
#include "common/sock.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define NOBODY 65534
#define ROUNDS 300

static char *base; /* made and removed by the runner, which outlives a failed test */
static char dir[80], path[128];

static void make_base(void)
{
	base = harness_tmpdir();
	ck_assert_int_eq(chmod(base, 0755), 0);
}

static void remove_base(void)
{
	harness_rmtree(base);
	free(base);
}

static void make_dir(void)
{
	snprintf(dir, sizeof(dir), "%s/%d", base, (int)getpid());
	snprintf(path, sizeof(path), "%s/s", dir);
	umask(022);
	ck_assert_int_eq(mkdir(dir, 0755), 0);
}

static void remove_dir(void)
{
	harness_rmtree(dir);
}

static int must_listen(mode_t mode, int type)
{
	struct err err;
	int fd;

	ck_assert_msg(sock_listen(path, type, sock_mode(mode), &fd, &err) == 0, "%s", err.msg);
	return fd;
}

static int must_connect(int type)
{
	struct err err;
	int fd;

	ck_assert_msg(sock_connect(path, type, &fd, &err) == 0, "%s", err.msg);
	return fd;
}

/* The listener is non-blocking, but whoever connected before is in its queue. */
static int must_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	ck_assert_msg(fd >= 0, "accept: %s", strerror(errno));
	return fd;
}

static void expect_refusal(const char *what, const char *at, enum err_code code, const char *text)
{
	int fd = -7, before = harness_count_fds(getpid());
	struct err err = {0};

	ck_assert_msg(sock_listen(at, SOCK_STREAM, sock_mode(0600), &fd, &err) == -1, "%s: listens",
		      what);
	ck_assert_msg(err.code == code, "%s: %s: %s", what, err_name(err.code), err.msg);
	ck_assert_msg(strstr(err.msg, text) != NULL, "%s: \"%s\"", what, err.msg);
	ck_assert_int_eq(fd, -7);
	ck_assert_msg(harness_count_fds(getpid()) == before, "%s: descriptor leaked", what);
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

START_TEST(connect_finds_nobody)
{
	struct err err;
	int fd = -7;

	ck_assert_int_eq(sock_connect(path, SOCK_STREAM, &fd, &err), -1);
	ck_assert_int_eq(err.code, ERR_UNREADY);
	close(must_listen(0600, SOCK_STREAM));
	ck_assert_int_eq(sock_connect(path, SOCK_STREAM, &fd, &err), -1);
	ck_assert_int_eq(err.code, ERR_UNREADY);
	ck_assert_msg(strstr(err.msg, path) != NULL, "%s", err.msg);
	ck_assert_int_eq(fd, -7);
}
END_TEST

/* A child that becomes NOBODY with @ngroups groups from 1000 on, connects and waits. */
static pid_t start_peer(size_t ngroups)
{
	gid_t groups[200];
	pid_t pid;

	for (size_t i = 0; i < ngroups; i++)
		groups[i] = 1000 + (gid_t)i;
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (geteuid() == 0 && (setgroups(ngroups, groups) || setresgid(NOBODY, 77, 77) ||
			       setresuid(NOBODY, NOBODY, NOBODY)))
		_exit(100);
	must_connect(SOCK_STREAM);
	for (;;)
		pause();
}

static bool can_accept(void *listener)
{
	struct sockaddr_un addr;
	socklen_t len = sizeof(addr);
	int *fds = listener;

	fds[1] = accept4(fds[0], (struct sockaddr *)&addr, &len, SOCK_CLOEXEC);
	return fds[1] >= 0;
}

static const size_t group_counts[] = {0, 3, 64, 65, 200};

START_TEST(tells_who_the_peer_is)
{
	size_t ngroups = group_counts[_i];
	int fds[2] = {must_listen(0666, SOCK_STREAM), -1}, status;
	pid_t pid = start_peer(ngroups);
	struct sock_peer peer;
	struct err err;

	ck_assert(harness_wait(can_accept, fds, 2000));
	ck_assert_msg(sock_peer(fds[1], &peer, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(peer.pid, pid);
	if (geteuid() == 0) {
		ck_assert_uint_eq(peer.uid, NOBODY);
		ck_assert_uint_eq(peer.gid, 77);
		ck_assert_uint_eq(peer.ngroups, min_u64(ngroups, SOCK_GROUPS_MAX));
		for (size_t i = 0; i < peer.ngroups; i++)
			ck_assert_uint_eq(peer.groups[i], 1000 + i);
	}
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}
END_TEST

START_TEST(peer_of_no_socket)
{
	cleanup_fd int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct sock_peer peer;
	struct err err;
	int pidfd;

	ck_assert_int_eq(sock_peer(fd, &peer, &err), -1);
	ck_assert_int_eq(err.sys, ENOTSOCK);
	ck_assert_int_eq(sock_peer_pidfd(fd, 1, &pidfd, &err), -1);
	ck_assert_int_eq(err.sys, ENOTSOCK);
}
END_TEST

static bool has_ended(void *pidfd)
{
	return proc_ended(*(int *)pidfd);
}

START_TEST(pidfd_of_the_peer)
{
	int fds[2] = {must_listen(0666, SOCK_STREAM), -1}, pidfd, late = -1, status;
	pid_t pid = start_peer(0);
	struct err err;

	ck_assert(harness_wait(can_accept, fds, 2000));
	ck_assert_msg(sock_peer_pidfd(fds[1], pid, &pidfd, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
	ck_assert(!proc_ended(pidfd));
	ck_assert_msg(proc_kill(pidfd, &err) == 0, "%s", err.msg);
	ck_assert(harness_wait(has_ended, &pidfd, 2000));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(WTERMSIG(status), SIGKILL);
	ck_assert(proc_ended(pidfd));
	ck_assert_int_eq(proc_kill(pidfd, &err), 0);
	/* Too late: it is refused, or the descriptor says at once that it has ended. */
	if (sock_peer_pidfd(fds[1], pid, &late, &err) < 0)
		ck_assert_int_eq(err.code, ERR_PEER);
	else
		ck_assert(proc_ended(late));
}
END_TEST

static int kill_init(void)
{
	struct err err;
	int pidfd;

	if (proc_pidfd(getppid(), &pidfd, &err) < 0)
		return 1;
	return proc_kill(pidfd, &err) == -1 && err.code == ERR_DENIED ? 0 : 2;
}

START_TEST(kill_of_somebody_else)
{
	if (geteuid() == 0)
		in_child(kill_init, true);
}
END_TEST

/* Names made to mislead: what counts is behind the last bracket. */
static const char *const names[] = {"plain", "a b c", ") S 1 2 3", "((",
				    "))",    "a) (b", "\n1 2\n",   ") R 1 1 1 1 1 1"};

START_TEST(start_time_whatever_the_name)
{
	uint64_t before = proc_start_time(getpid());
	struct timespec now;
	double ticks = (double)sysconf(_SC_CLK_TCK), age;

	ck_assert_uint_gt(before, 0);
	ck_assert_int_eq(prctl(PR_SET_NAME, names[_i]), 0);
	ck_assert_msg(proc_start_time(getpid()) == before, "%s", names[_i]);
	clock_gettime(CLOCK_BOOTTIME, &now);
	age = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec - (double)before / ticks;
	ck_assert_msg(age > -0.1 && age < 60, "%s: started %f s ago", names[_i], age);
}
END_TEST

START_TEST(start_time_of_the_dead)
{
	pid_t pid = fork();
	struct err err;
	int pidfd, status;
	uint64_t start;

	if (pid == 0)
		for (;;)
			pause();
	start = proc_start_time(pid);
	ck_assert_uint_ge(start, proc_start_time(getpid()));
	ck_assert_int_eq(proc_pidfd(pid, &pidfd, &err), 0);
	ck_assert_int_eq(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
	ck_assert(!proc_ended(pidfd));
	ck_assert_int_eq(proc_kill(pidfd, &err), 0);
	ck_assert(harness_wait(has_ended, &pidfd, 2000));
	/* Not yet waited for: still known by the same time. */
	ck_assert_uint_eq(proc_start_time(pid), start);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_uint_eq(proc_start_time(pid), 0);
	close(pidfd);
	pidfd = -7;
	ck_assert_int_eq(proc_pidfd(pid, &pidfd, &err), -1);
	ck_assert_int_eq(err.code, ERR_NOTFOUND);
	ck_assert_int_eq(pidfd, -7);
	ck_assert_uint_eq(proc_start_time(0), 0);
	ck_assert_uint_eq(proc_start_time(-1), 0);
}
END_TEST

START_TEST(cookies)
{
	int pair[2], dup, other;
	uint64_t cookie;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	dup = fcntl(pair[0], F_DUPFD_CLOEXEC, 0);
	cookie = sock_cookie(pair[0]);
	ck_assert_uint_ne(cookie, 0);
	ck_assert_uint_eq(sock_cookie(dup), cookie);
	ck_assert_uint_ne(sock_cookie(pair[1]), cookie);
	close(pair[0]);
	ck_assert_uint_eq(sock_cookie(dup), cookie);
	other = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ck_assert_uint_eq(sock_cookie(other), 0);
	ck_assert_uint_eq(sock_cookie(-1), 0);
	close(other);
	close(dup);
	close(pair[1]);
}
END_TEST

static TCase *add_case(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_unchecked_fixture(tc, make_base, remove_base);
	tcase_add_checked_fixture(tc, make_dir, remove_dir);
	suite_add_tcase(suite, tc);
	return tc;
}

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
	tcase_add_test(tc, refuses_paths);

	tc = add_case(suite, "peer");
	tcase_add_test(tc, connect_finds_nobody);
	tcase_add_loop_test(tc, tells_who_the_peer_is, 0, ARRAY_LEN(group_counts));
	tcase_add_test(tc, cookies);
	tcase_add_test(tc, peer_of_no_socket);
	tcase_add_test(tc, pidfd_of_the_peer);

	tc = add_case(suite, "proc");
	tcase_add_test(tc, kill_of_somebody_else);
	tcase_add_loop_test(tc, start_time_whatever_the_name, 0, ARRAY_LEN(names));
	tcase_add_test(tc, start_time_of_the_dead);
	return suite;
}
