/* sock: connecting, and who is at the other end */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "common/proc.h"
#include "tests/support/sockkit.h"

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

Suite *test_suite(void)
{
	Suite *suite = suite_create("sock_peer");
	TCase *tc = add_case(suite, "peer");

	tcase_add_test(tc, connect_finds_nobody);
	tcase_add_loop_test(tc, tells_who_the_peer_is, 0, ARRAY_LEN(group_counts));
	tcase_add_test(tc, cookies);
	tcase_add_test(tc, peer_of_no_socket);
	tcase_add_test(tc, pidfd_of_the_peer);
	return suite;
}
