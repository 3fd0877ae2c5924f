/* test_holders - the socket for a holder, a connection to one, and who is ended */
#include "daemon/holders.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "common/sock.h"
#include "tests/support/restorekit.h"

#define STRANGER 4242

static struct restorekit k;
static char path[CONF_PATH_MAX + 1];
static pid_t holder; /* 0: none */

static void begin(void)
{
	restorekit_open(&k, "");
	host_path(&k.host, "files", "r", path);
	holder = 0;
}

static void end(void)
{
	if (holder) {
		kill(holder, SIGKILL);
		waitpid(holder, NULL, 0);
	}
	restorekit_close(&k);
}

/* Listens as a holder would, and echoes what is said to it. */
static void hold(int ready)
{
	struct err err = {.msg = ""};
	int fd, peer;
	char c;

	if (sock_listen(path, SOCK_SEQPACKET, sock_mode(0600), &fd, &err) ||
	    fcntl(fd, F_SETFL, 0) || write(ready, "x", 1) != 1)
		_exit(1);
	while ((peer = accept(fd, NULL, NULL)) >= 0)
		while (recv(peer, &c, 1, 0) == 1 && send(peer, &c, 1, MSG_NOSIGNAL) == 1)
			;
	_exit(1);
}

static void start_holder(void)
{
	int ready[2];
	char c;

	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	holder = fork();
	if (holder == 0)
		hold(ready[1]);
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	close(ready[0]);
}

/* One that a signal is on its way to does not answer any more. */
static bool lives(int fd)
{
	char c = 'x';

	return send(fd, &c, 1, MSG_NOSIGNAL) == 1 && recv(fd, &c, 1, 0) == 1;
}

static bool was_killed(void)
{
	int status;
	bool killed = waitpid(holder, &status, 0) == holder && WIFSIGNALED(status) &&
		      WTERMSIG(status) == SIGKILL;

	holder = 0;
	return killed;
}

static int dial(void)
{
	struct err err = {.msg = ""};
	int fd;

	ck_assert_msg(sock_connect(path, SOCK_SEQPACKET, &fd, &err) == 0, "%s", err.msg);
	return fd;
}

/* ---- for a worker ---- */

static void check_socket(int fd, uid_t owner)
{
	struct sockaddr_un at = {0};
	socklen_t len = sizeof(at);
	struct stat st;
	struct err err;
	int peer;

	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert(S_ISSOCK(st.st_mode));
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_uint_eq(st.st_uid, owner);
	/* Bound, and for the worker's own holder to listen at. */
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	ck_assert_int_eq(sock_connect(path, SOCK_SEQPACKET | SOCK_NONBLOCK, &peer, &err), -1);
	ck_assert_int_eq(listen(fd, 1), 0);
	close(dial());
}

/* Where nobody is there; the files are of the caller, and so is who keeps them. */
START_TEST(test_new)
{
	const uid_t owner = geteuid() == 0 ? STRANGER : geteuid();
	int fd;

	/* Left by one that has ended. */
	close(open(path, O_CREAT | O_CLOEXEC, 0644));
	ck_assert_int_eq(holders_reach(&k.host, "r", owner, _i, &fd), CHAN_HOLDER_NEW);
	check_socket(fd, owner);
	close(fd);
}
END_TEST

START_TEST(test_there)
{
	int fd;

	start_holder();
	ck_assert_int_eq(holders_reach(&k.host, "r", geteuid(), false, &fd), CHAN_HOLDER_THERE);
	ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
	ck_assert(lives(fd));
	close(fd);
}
END_TEST

/* A new restore has nothing to do with who has held files under its id. */
START_TEST(test_anew)
{
	int fd;

	start_holder();
	ck_assert_int_eq(holders_reach(&k.host, "r", geteuid(), true, &fd), CHAN_HOLDER_NEW);
	ck_assert(was_killed());
	check_socket(fd, geteuid());
	close(fd);
}
END_TEST

START_TEST(test_none)
{
	char dir[CONF_PATH_MAX + 1];
	int fd = 77;

	host_path(&k.host, "files", "", dir);
	ck_assert_int_eq(rmdir(dir), 0);
	ck_assert_int_eq(holders_reach(&k.host, "r", geteuid(), _i, &fd), CHAN_HOLDER_NONE);
	ck_assert_int_eq(fd, -1);
	holders_end(&k.host, "r");
}
END_TEST

/* ---- the end ---- */

START_TEST(test_end)
{
	start_holder();
	holders_end(&k.host, "r");
	ck_assert(was_killed());
	ck_assert(!restorekit_exists(&k, "files"));
	/* Safe where nobody is. */
	holders_end(&k.host, "r");
}
END_TEST

/* Root's process at another user's socket is none: a tenant must not have it killed. */
START_TEST(test_end_of_a_stranger)
{
	int fd;

	if (geteuid() != 0)
		return;
	start_holder();
	ck_assert_int_eq(chown(path, STRANGER, STRANGER), 0);
	fd = dial();
	holders_end(&k.host, "r");
	ck_assert(lives(fd));
	ck_assert(!restorekit_exists(&k, "files"));
	close(fd);
}
END_TEST

/* Nor does a link lead to somebody else's. */
START_TEST(test_end_of_a_link)
{
	cleanup_free char *other = NULL;
	int fd;

	start_holder();
	ck_assert_int_gt(asprintf(&other, "%s/other", k.dir), 0);
	ck_assert_int_eq(rename(path, other), 0);
	ck_assert_int_eq(symlink(other, path), 0);
	fd = dial();
	holders_end(&k.host, "r");
	ck_assert(lives(fd));
	ck_assert(!restorekit_exists(&k, "files"));
	close(fd);
}
END_TEST

/* Who listens there may be ourselves. */
START_TEST(test_end_of_ourselves)
{
	struct err err = {.msg = ""};
	int fd;

	ck_assert_msg(sock_listen(path, SOCK_SEQPACKET, sock_mode(0600), &fd, &err) == 0, "%s",
		      err.msg);
	holders_end(&k.host, "r");
	ck_assert(!restorekit_exists(&k, "files"));
	close(fd);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("holders");
	TCase *tc = tcase_create("holders");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_loop_test(tc, test_new, 0, 2);
	tcase_add_test(tc, test_there);
	tcase_add_test(tc, test_anew);
	tcase_add_loop_test(tc, test_none, 0, 2);
	tcase_add_test(tc, test_end);
	tcase_add_test(tc, test_end_of_a_stranger);
	tcase_add_test(tc, test_end_of_a_link);
	tcase_add_test(tc, test_end_of_ourselves);
	suite_add_tcase(suite, tc);
	return suite;
}
