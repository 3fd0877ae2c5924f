/* test_io - whole reads and writes, sealed memory, and descriptors on their way */
#include "common/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/fds.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

/* ---- bytes ---- */

static int file_of(const char *text)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	ck_assert_int_eq(io_write_all(fd, text, strlen(text)), 0);
	return fd;
}

START_TEST(reads_up_to_the_end)
{
	static const struct {
		size_t len, off, done;
	} cases[] = {{9, 0, 9}, {5, 0, 5},   {5, 4, 5},  {5, 5, 4}, {1, 8, 1},
		     {1, 9, 0}, {7, 100, 0}, {20, 0, 9}, {0, 0, 0}, {0, 50, 0}};
	static const char text[] = "123456789";
	int fd = file_of(text);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char buf[32] = "";

		errno = EBADF;
		ck_assert_uint_eq(io_read_at(fd, buf, cases[i].len, cases[i].off), cases[i].done);
		if (cases[i].done < cases[i].len)
			ck_assert_int_eq(errno, 0);
		ck_assert_msg(memcmp(buf, &text[min_u64(cases[i].off, 9)], cases[i].done) == 0 &&
				      !buf[cases[i].done],
			      "%zu bytes at %zu", cases[i].len, cases[i].off);
	}
	close(fd);
}
END_TEST

START_TEST(tells_why_it_cannot_read)
{
	int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char byte;

	ck_assert_uint_eq(io_read_at(-1, &byte, 1, 0), 0);
	ck_assert_int_eq(errno, EBADF);
	ck_assert_uint_eq(io_read_at(dir, &byte, 1, 0), 0);
	ck_assert_int_eq(errno, EISDIR);
	close(dir);
}
END_TEST

/* The kernel takes what fits below the limit, and tells why it takes no more when asked again. */
START_TEST(tells_why_it_cannot_write)
{
	char *dir = harness_tmpdir(), path[256], bytes[16];
	struct rlimit few = {10, RLIM_INFINITY};
	int fd, rc, why;
	struct stat st;

	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	memset(bytes, 'x', sizeof(bytes));
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &few), 0);
	rc = io_write_all(fd, bytes, sizeof(bytes));
	why = errno;
	few.rlim_cur = RLIM_INFINITY;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &few), 0);
	ck_assert_int_eq(rc, -1);
	ck_assert_int_eq(why, EFBIG);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 10);
	ck_assert_int_eq(io_write_all(-1, bytes, 0), 0);
	close(fd);
	harness_rmtree(dir);
	free(dir);
}
END_TEST

#define MUCH ((size_t)4 << 20) /* many times what a pipe holds */
#define PIECE 50000

static void on_signal(int sig)
{
	(void)sig;
}

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 7 + i / 1000);
}

/*
 * The writer is interrupted before each piece is taken: in a call that has written some,
 * and again in one that finds the pipe full. Ends with 0 if all came, in order.
 */
static int read_slowly(int fd, pid_t writer)
{
	static uint8_t piece[PIECE];
	size_t at = 0;
	ssize_t n;

	do {
		for (int i = 0; i < 20; i++) {
			kill(writer, SIGUSR1);
			sched_yield();
		}
		n = read(fd, piece, sizeof(piece));
		for (ssize_t i = 0; i < n; i++)
			if (piece[i] != byte_at(at++))
				return 1;
	} while (n > 0);
	return at == MUCH ? 0 : 2;
}

START_TEST(writes_on_when_interrupted)
{
	const struct sigaction act = {.sa_handler = on_signal}; /* no SA_RESTART */
	uint8_t *bytes = malloc(MUCH);
	int fds[2], status;
	pid_t child, writer = getpid();

	for (size_t i = 0; i < MUCH; i++)
		bytes[i] = byte_at(i);
	ck_assert_int_eq(sigaction(SIGUSR1, &act, NULL), 0);
	ck_assert_int_eq(pipe(fds), 0);
	child = fork();
	if (child == 0) {
		close(fds[1]);
		_exit(read_slowly(fds[0], writer));
	}
	close(fds[0]);
	ck_assert_int_eq(io_write_all(fds[1], bytes, MUCH), 0);
	close(fds[1]);
	while (waitpid(child, &status, 0) < 0)
		ck_assert_int_eq(errno, EINTR);
	ck_assert_int_eq(status, 0);
	free(bytes);
}
END_TEST

START_TEST(sealed_for_good)
{
	const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
	struct err err;
	char buf[8] = "";
	int fd = -1;

	ck_assert_int_eq(io_sealed("some", "abc", 3, &fd, &err), 0);
	ck_assert_int_eq(fcntl(fd, F_GET_SEALS), all);
	ck_assert_uint_eq(io_read_at(fd, buf, sizeof(buf), 0), 3);
	ck_assert_str_eq(buf, "abc");
	ck_assert_int_eq(pwrite(fd, "x", 1, 0), -1);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	ck_assert_int_eq(io_sealed("none", "", 0, &fd, &err), 0);
	ck_assert_int_eq(fcntl(fd, F_GET_SEALS), all);
	close(fd);
}
END_TEST

/* Returns what it was before; a sanitizer wants that back at the end. */
static rlim_t limit_files(rlim_t n)
{
	struct rlimit l;
	rlim_t was;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &l), 0);
	was = l.rlim_cur;
	l.rlim_cur = n;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
	return was;
}

START_TEST(no_descriptor_left)
{
	rlim_t was = limit_files(0);
	struct err err;
	int fd = 4711, rc = io_sealed("some", "abc", 3, &fd, &err);

	limit_files(was);
	ck_assert_int_eq(rc, -1);
	ck_assert_msg(strstr(err.msg, "create a memfd"), "%s", err.msg);
	ck_assert_int_eq(fd, 4711);
}
END_TEST

/* ---- descriptors ---- */

/* Files that can be told apart. */
static void make_files(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fds[i] = memfd_create("file", MFD_CLOEXEC);
}

static void close_files(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close_fd(&fds[i]);
}

static ino_t file_at(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_ino;
}

static void send_byte(int sock, const int *fds, size_t nfds)
{
	char byte = 'x';
	struct iovec iov = {&byte, 1};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};

	ck_assert_int_eq(io_send(sock, &hdr, fds, nfds, MSG_NOSIGNAL), 1);
	ck_assert(!hdr.msg_control && hdr.msg_controllen == 0);
}

/* With so many bytes of room for the control data. */
static size_t take(int sock, size_t control_bytes, int *fds, size_t max, bool *ret_all)
{
	static union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * IO_FDS_MAX)];
	} control;
	char byte = 0;
	struct iovec iov = {&byte, 1};
	struct msghdr hdr = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = control_bytes};

	ck_assert_uint_le(control_bytes, sizeof(control));
	ck_assert_int_eq(recvmsg(sock, &hdr, MSG_CMSG_CLOEXEC), 1);
	ck_assert_int_eq(byte, 'x');
	return io_take_fds(&hdr, fds, max, ret_all);
}

static const struct passing {
	const char *what;
	size_t sent, room, max; /* descriptors: sent, that the control data have room for, wanted */
	size_t got;
	bool all;
} passings[] = {
	{"none", 0, IO_FDS_MAX, 4, 0, true},
	{"none wanted", 0, IO_FDS_MAX, 0, 0, true},
	{"one", 1, IO_FDS_MAX, 4, 1, true},
	{"as many as wanted", 4, IO_FDS_MAX, 4, 4, true},
	{"one too many", 5, IO_FDS_MAX, 4, 4, false},
	{"all too many", 3, IO_FDS_MAX, 0, 0, false},
	{"as many as go", IO_FDS_MAX, IO_FDS_MAX, IO_FDS_MAX, IO_FDS_MAX, true},
	{"too little control data", 8, 4, 8, 4, false},
	{"no control data", 8, 0, 8, 0, false},
};

START_TEST(descriptors_are_passed)
{
	const struct passing *p = &passings[_i];
	int socks[2], sent[IO_FDS_MAX], got[IO_FDS_MAX + 1], before;
	bool all = !p->all;
	size_t n;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks), 0);
	make_files(sent, p->sent);
	before = fds_count(getpid());
	for (size_t i = 0; i < ARRAY_LEN(got); i++)
		got[i] = -7;
	send_byte(socks[0], sent, p->sent);
	n = take(socks[1], p->room ? CMSG_SPACE(sizeof(int) * p->room) : 0, got, p->max, &all);
	ck_assert_msg(n == p->got && all == p->all, "%s: %zu, %d", p->what, n, all);
	ck_assert_int_eq(fds_count(getpid()), before + (int)n);
	ck_assert_int_eq(got[n], -7);
	for (size_t i = 0; i < n; i++) {
		ck_assert_msg(file_at(got[i]) == file_at(sent[i]), "%s: number %zu", p->what, i);
		ck_assert_int_eq(fcntl(got[i], F_GETFD), FD_CLOEXEC);
	}
	close_files(got, n);
	close_files(sent, p->sent);
}
END_TEST

/* What the kernel could not give us is not taken for nothing. */
START_TEST(no_room_in_the_table)
{
	int socks[2], sent[4], got[4], free_fd;
	bool all = true;
	rlim_t was;
	size_t n;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks), 0);
	make_files(sent, 4);
	free_fd = dup(socks[0]);
	close(free_fd);
	send_byte(socks[0], sent, 4);
	was = limit_files((rlim_t)free_fd + 1);
	n = take(socks[1], CMSG_SPACE(sizeof(int) * 8), got, 4, &all);
	limit_files(was);
	ck_assert_uint_eq(n, 1);
	ck_assert(!all);
	ck_assert(file_at(got[0]) == file_at(sent[0]));
}
END_TEST

START_TEST(tells_why_it_cannot_send)
{
	char byte = 'x';
	struct iovec iov = {&byte, 1};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
	int socks[2], none = -1;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks), 0);
	ck_assert_int_eq(io_send(socks[0], &hdr, &none, 1, MSG_NOSIGNAL), -1);
	ck_assert_int_eq(errno, EBADF);
	ck_assert(!hdr.msg_control && hdr.msg_controllen == 0);
	close(socks[1]);
	ck_assert_int_eq(io_send(socks[0], &hdr, NULL, 0, MSG_NOSIGNAL), -1);
	ck_assert_int_eq(errno, EPIPE);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("io");
	TCase *tc = tcase_create("io");

	tcase_add_test(tc, reads_up_to_the_end);
	tcase_add_test(tc, tells_why_it_cannot_read);
	tcase_add_test(tc, tells_why_it_cannot_write);
	tcase_add_test(tc, writes_on_when_interrupted);
	tcase_add_test(tc, sealed_for_good);
	tcase_add_test(tc, no_descriptor_left);
	tcase_add_loop_test(tc, descriptors_are_passed, 0, ARRAY_LEN(passings));
	tcase_add_test(tc, no_room_in_the_table);
	tcase_add_test(tc, tells_why_it_cannot_send);
	suite_add_tcase(suite, tc);
	return suite;
}
