/* test_foreign - what a descriptor is, and who closes it */
#include "common/foreign.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "tests/support/vmmside.h"
#include "tests/support/runner.h"

static int uffd(void)
{
	struct err err = {.msg = ""};
	int fd = -1;

	ck_assert_msg(uffd_open(0, &fd, &err) == 0, "%s", err.msg);
	return fd;
}

static int pidfd(void)
{
	return pidfd_open(getpid(), 0);
}

static int unix_stream(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int unix_packets(void)
{
	return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
}

static int tcp(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int memory(void)
{
	return memfd_create("m", MFD_CLOEXEC);
}

static int sealed(void)
{
	int fd = memfd_create("m", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	return fd;
}

static int device(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int directory(void)
{
	return open("/proc", O_PATH | O_CLOEXEC);
}

static int closed(void)
{
	return 1000;
}

/* clang-format off */
static const struct {
	const char *what;
	int (*open)(void);
	enum foreign_kind kind; /* the only one beside FOREIGN_ANY */
} files[] = {
	{"a userfaultfd", uffd,         FOREIGN_UFFD},
	{"a pidfd",       pidfd,        FOREIGN_PIDFD},
	{"a stream",      unix_stream,  FOREIGN_UNIX_SOCKET},
	{"packets",       unix_packets, FOREIGN_UNIX_SOCKET},
	{"TCP",           tcp,          FOREIGN_ANY},
	{"a memfd",       memory,       FOREIGN_MEMORY},
	{"sealed",        sealed,       FOREIGN_MEMORY},
	{"a device",      device,       FOREIGN_ANY},
	{"a directory",   directory,    FOREIGN_ANY},
	{"not open",      closed,       -1},
};
static const enum foreign_kind kinds[] = {FOREIGN_UFFD, FOREIGN_PIDFD, FOREIGN_UNIX_SOCKET, FOREIGN_MEMORY};
/* clang-format on */

START_TEST(test_kinds)
{
	int fd = files[_i].open();
	char name[16];

	ck_assert_int_ge(fd, 0);
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		ck_assert_msg(foreign_is(fd, kinds[k]) == (kinds[k] == files[_i].kind), "%s: %d",
			      files[_i].what, (int)kinds[k]);
	ck_assert_msg(foreign_is(fd, FOREIGN_ANY) == (files[_i].open != closed), "%s",
		      files[_i].what);
	snprintf(name, sizeof(name), "%d", fd);
	if (files[_i].open != closed) {
		int dir = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);

		ck_assert_int_eq(foreign_names_uffd(dir, name), files[_i].kind == FOREIGN_UFFD);
		close(dir);
		close(fd);
	}
}
END_TEST

/* A path is no name of the kernel's. */
START_TEST(test_path_like_a_kind)
{
	static const char *const names[] = {"anon_inode:[userfaultfd]", "anon_inode:[pidfd]",
					    "pidfd:[1]"};
	char dir[] = "/tmp/foreign-XXXXXX";
	int at;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		int fd = openat(at, names[i], O_CREAT | O_RDWR | O_CLOEXEC, 0600);

		ck_assert_int_ge(fd, 0);
		ck_assert(!foreign_is(fd, FOREIGN_UFFD) && !foreign_is(fd, FOREIGN_PIDFD));
		close(fd);
		unlinkat(at, names[i], 0);
	}
	close(at);
	rmdir(dir);
}
END_TEST

static int closed_by_us;

static void note(int *fd)
{
	closed_by_us = *fd;
	*fd = -1;
}

START_TEST(test_close)
{
	int fd = device(), none = -1, kept;

	kept = fd;
	foreign_close(&fd);
	ck_assert_int_eq(fd, -1);
	ck_assert(!foreign_is(kept, FOREIGN_ANY));
	foreign_close(&none);
	ck_assert_int_eq(none, -1);
	foreign_close_by(note);
	fd = kept = device();
	foreign_close(&fd);
	ck_assert_int_eq(fd, -1);
	ck_assert_int_eq(closed_by_us, kept);
	ck_assert(foreign_is(kept, FOREIGN_ANY));
	closed_by_us = 0;
	foreign_close(&none);
	ck_assert_int_eq(closed_by_us, 0);
	close(kept);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("foreign");
	TCase *tc = tcase_create("descriptors");

	tcase_add_loop_test(tc, test_kinds, 0, ARRAY_LEN(files));
	tcase_add_test(tc, test_path_like_a_kind);
	tcase_add_test(tc, test_close);
	suite_add_tcase(s, tc);
	return s;
}
