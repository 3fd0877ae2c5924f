/* notify against a datagram socket of our own, and descriptors as systemd hands them over */
#include "daemon/notify.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "common/base.h"
#include "common/proto.h"
#include "tests/support/fds.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define FIRST 3
#define LONGEST "a23456789-123456789-123456789-123456789-123456789-123456789-123"
#define TOO_LONG LONGEST LONGEST LONGEST LONGEST LONGEST LONGEST LONGEST LONGEST
static_assert(sizeof(LONGEST) == PROTO_ID_MAX + 1, "the longest id");

static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

/* ---- what is said ---- */

struct manager {
	char *dir;
	struct sockaddr_un addr;
	socklen_t len;
	int fd;
};

/* @abstract: a name without a file. NOTIFY_SOCKET is set. */
static void manager_open(struct manager *m, bool abstract)
{
	m->dir = harness_tmpdir();
	m->addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(m->addr.sun_path, sizeof(m->addr.sun_path), "%s%s/notify", abstract ? "@" : "",
		 m->dir);
	ck_assert_int_eq(setenv("NOTIFY_SOCKET", m->addr.sun_path, 1), 0);
	m->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(m->addr.sun_path) +
			     !abstract);
	if (abstract)
		m->addr.sun_path[0] = '\0';
	m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(m->fd, (struct sockaddr *)&m->addr, m->len), 0);
}

static void manager_close(struct manager *m)
{
	close_fd(&m->fd);
	harness_rmtree(m->dir);
	free(m->dir);
}

/* The next message is exactly this; *ret_fd: what came with it, or -1. */
static void manager_hears(const struct manager *m, const char *want, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(4 * sizeof(int))];
	} control;
	char text[512] = "";
	struct iovec iov = {text, sizeof(text) - 1};
	struct msghdr hdr = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *c;

	ck_assert_msg(recvmsg(m->fd, &hdr, MSG_CMSG_CLOEXEC) >= 0, "nothing instead of %s", want);
	ck_assert_str_eq(text, want);
	*ret_fd = -1;
	c = CMSG_FIRSTHDR(&hdr);
	if (!c)
		return;
	ck_assert_uint_eq(c->cmsg_len, CMSG_LEN(sizeof(int)));
	memcpy(ret_fd, CMSG_DATA(c), sizeof(*ret_fd));
}

static void manager_hears_no_more(const struct manager *m)
{
	char byte;

	ck_assert_int_eq(recv(m->fd, &byte, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

START_TEST(says_and_stores)
{
	int fd = memfd_create("uffd", MFD_CLOEXEC), got;
	struct manager m;

	manager_open(&m, _i);
	notify_open();
	ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
	manager_hears_no_more(&m);
	notify_send("READY=1");
	manager_hears(&m, "READY=1", &got);
	ck_assert_int_eq(got, -1);
	notify_keep("vm-1", fd);
	manager_hears(&m, "FDSTORE=1\nFDNAME=uffd.vm-1\nFDPOLL=0", &got);
	ck_assert(got >= 0 && got != fd && same_file(got, fd));
	close(got);
	notify_keep(LONGEST, fd);
	manager_hears(&m, "FDSTORE=1\nFDNAME=uffd." LONGEST "\nFDPOLL=0", &got);
	ck_assert(same_file(got, fd));
	close(got);
	notify_forget(LONGEST);
	manager_hears(&m, "FDSTOREREMOVE=1\nFDNAME=uffd." LONGEST, &got);
	ck_assert_int_eq(got, -1);
	/* It stays the caller's. */
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	manager_hears_no_more(&m);
	close(fd);
	manager_close(&m);
}
END_TEST

/* Nobody to talk to, or nonsense: then nothing is said, and nothing is opened. */
START_TEST(without_a_manager)
{
	char longest[300];
	const char *const paths[] = {NULL, "", "/", "@", "relative", "vsock:2:1234", longest};
	int before = fds_count(getpid());
	int fd = memfd_create("uffd", MFD_CLOEXEC);

	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	unsetenv("NOTIFY_SOCKET");
	if (paths[_i])
		setenv("NOTIFY_SOCKET", paths[_i], 1);
	notify_open();
	ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
	notify_send("READY=1");
	notify_keep("a", fd);
	notify_forget("a");
	ck_assert_int_eq(notify_take("a"), -1);
	notify_close();
	close(fd);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* One that does not read, and one that is gone, hold nobody up. */
START_TEST(manager_that_does_not_listen)
{
	struct manager m;
	int got;

	manager_open(&m, false);
	notify_open();
	for (int i = 0; i < 5000; i++)
		notify_send("STATUS=more");
	manager_hears(&m, "STATUS=more", &got);
	manager_close(&m);
	notify_send("READY=1");
	notify_keep("a", STDIN_FILENO);
}
END_TEST

/* ---- what was kept ---- */

#define KEPT 4
/* clang-format off */
static const struct kept_case {
	const char *what;
	int pid;                   /* LISTEN_PID beside ours; 100: none */
	const char *count, *names; /* NULL: not set */
	/* What stands for which of the descriptors, in the order of taking. */
	struct {
		const char *id;
		int nth; /* -1: none */
	} take[5];
} kept_cases[] = {
	{"two", 0, "2", "uffd.a:uffd.b", {{"b", 1}, {"a", 0}, {"a", -1}, {"c", -1}}},
	{"all", 0, "4", "uffd.a:uffd.b:uffd.c:uffd." LONGEST,
	 {{"a", 0}, {"b", 1}, {"c", 2}, {LONGEST, 3}}},
	{"the same name twice", 0, "2", "uffd.a:uffd.a", {{"a", 0}, {"a", 1}, {"a", -1}}},
	{"another process's", 1, "2", "uffd.a:uffd.b", {{"a", -1}, {"b", -1}}},
	{"nobody's", 100, "2", "uffd.a:uffd.b", {{"a", -1}, {"b", -1}}},
	{"no names", 0, "2", NULL, {{"a", -1}, {"", -1}}},
	{"fewer names", 0, "4", "uffd.a", {{"a", 0}, {"", -1}}},
	{"more names", 0, "1", "uffd.a:uffd.b", {{"a", 0}, {"b", -1}}},
	{"strange names", 0, "4", "stored:uffd.:uffd." TOO_LONG ":uffd.z",
	 {{"z", 3}, {"", -1}, {TOO_LONG, -1}, {"stored", -1}}},
	{"similar names", 0, "4", "ufd.a:xuffd.a:uffd_a:UFFD.a", {{"a", -1}, {".a", -1}}},
	{"empty names", 0, "4", "::uffd.a:", {{"a", 2}, {"", -1}}},
	{"no count", 0, NULL, "uffd.a", {{"a", -1}}},
	{"a count of 0", 0, "0", "uffd.a", {{"a", -1}}},
	{"no number", 0, "x", "uffd.a", {{"a", -1}}},
	{"far too many", 0, "100000000", "uffd.a:uffd.b", {{"a", 0}, {"b", 1}}},
	{"most", 0, "18446744073709551615", "uffd.a", {{"a", 0}}},
	{"less than none", 0, "-1", "uffd.a", {{"a", 0}}},
	{"more than are there", 0, "6", "x:x:x:uffd.a:uffd.b:uffd.c",
	 {{"a", 3}, {"b", -1}, {"c", -1}}},
};
/* clang-format on */

static void set_env(const char *name, const char *value)
{
	if (value)
		setenv(name, value, 1);
	else
		unsetenv(name);
}

/* Check's own descriptors are where systemd would put its: this is a child. */
static void take_kept(const struct kept_case *c, const int files[KEPT], int report)
{
	static const char *const vars[] = {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"};
	bool taken[KEPT] = {false}, ours = c->pid == 0 && c->count && c->names;
	char pid[16];

	for (int i = 0; i < KEPT; i++)
		dup2(files[i], FIRST + i);
	for (int i = KEPT; i < KEPT + 3; i++)
		close(FIRST + i);
	snprintf(pid, sizeof(pid), "%d", (int)getpid() + c->pid);
	set_env("LISTEN_PID", c->pid == 100 ? NULL : pid);
	set_env("LISTEN_FDS", c->count);
	set_env("LISTEN_FDNAMES", c->names);
	notify_open();
	for (size_t i = 0; i < ARRAY_LEN(vars); i++)
		if (getenv(vars[i]))
			dprintf(report, "%s is still set; ", vars[i]);
	for (size_t i = 0; i < ARRAY_LEN(c->take) && c->take[i].id; i++) {
		int fd = notify_take(c->take[i].id), nth = c->take[i].nth;

		if (nth < 0 ? fd >= 0 : !same_file(fd, files[nth]))
			dprintf(report, "\"%s\" is %d; ", c->take[i].id, fd);
		if (nth >= 0 && fcntl(fd, F_GETFD) != FD_CLOEXEC)
			dprintf(report, "\"%s\" would be inherited; ", c->take[i].id);
		if (nth >= 0)
			taken[nth] = true;
	}
	notify_close();
	for (int i = 0; i < KEPT; i++)
		if (taken[i] && !same_file(FIRST + i, files[i]))
			dprintf(report, "%d was taken and is closed; ", i);
	if (ours && notify_take("a") >= 0)
		dprintf(report, "something is left; ");
}

static char *read_report(int fd)
{
	off_t len = lseek(fd, 0, SEEK_END);
	char *text = xcalloc((size_t)len + 1, 1);

	ck_assert_int_eq(pread(fd, text, (size_t)len, 0), len);
	return text;
}

START_TEST(kept_over_a_restart)
{
	const struct kept_case *c = &kept_cases[_i];
	cleanup_fd int report = fcntl(memfd_create("report", 0), F_DUPFD_CLOEXEC, 60);
	cleanup_free char *text = NULL;
	int files[KEPT], status;
	pid_t pid;

	for (int i = 0; i < KEPT; i++) {
		files[i] = fcntl(memfd_create("kept", 0), F_DUPFD_CLOEXEC, 50);
		ck_assert_int_ge(files[i], 50);
	}
	pid = fork();
	if (pid == 0) {
		take_kept(c, files, report);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	text = read_report(report);
	ck_assert_msg(status == 0, "%s: wait status %#x", c->what, (unsigned)status);
	ck_assert_msg(*text == '\0', "%s: %s", c->what, text);
}
END_TEST

/* What nobody took is not held any longer. */
START_TEST(closes_what_nobody_took)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		char text[16];

		for (int i = 0; i < 3; i++)
			dup2(STDIN_FILENO, FIRST + i);
		snprintf(text, sizeof(text), "%d", (int)getpid());
		setenv("LISTEN_PID", text, 1);
		setenv("LISTEN_FDS", "3", 1);
		setenv("LISTEN_FDNAMES", "uffd.a:uffd.b:uffd.c", 1);
		notify_open();
		if (notify_take("b") != FIRST + 1)
			_exit(1);
		notify_close();
		notify_close();
		_exit(fcntl(FIRST, F_GETFD) >= 0 || fcntl(FIRST + 1, F_GETFD) < 0 ||
				      fcntl(FIRST + 2, F_GETFD) >= 0
			      ? 2
			      : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("notify");
	TCase *tc = tcase_create("says");

	tcase_add_loop_test(tc, says_and_stores, 0, 2);
	tcase_add_loop_test(tc, without_a_manager, 0, 7);
	tcase_add_test(tc, manager_that_does_not_listen);
	suite_add_tcase(suite, tc);

	tc = tcase_create("kept");
	tcase_add_loop_test(tc, kept_over_a_restart, 0, ARRAY_LEN(kept_cases));
	tcase_add_test(tc, closes_what_nobody_took);
	suite_add_tcase(suite, tc);
	return suite;
}
