/* uffd: opening one, its messages, and descriptors that are none */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/support/harness.h"
#include "tests/fakes/vmm/touch.h"

#define P PAGE_4K

START_TEST(open_flags)
{
	struct err err = {.msg = ""};
	int fd = -1;

	ck_assert_int_eq(uffd_open(0, &fd, &err), 0);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	ck_assert_int_eq(uffd_register(fd, 1, P, &err), -1);
	ck_assert_msg(strstr(err.msg, "registering 0x1+0x1000"), "%s", err.msg);
	close(fd);
}
END_TEST

/* As somebody without any right; where the host gives everybody one, that is fine, too. */
START_TEST(open_denied)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct err err = {.msg = ""};
		int fd = -1;

		if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
			_exit(2);
		if (uffd_open(0, &fd, &err) == 0)
			_exit(0);
		_exit(err.code == ERR_SYSTEM && fd == -1 && strstr(err.msg, "/dev/userfaultfd") &&
				      strstr(err.msg, "vm.unprivileged_userfaultfd=1") &&
				      strstr(err.msg, "CAP_SYS_PTRACE")
			      ? 0
			      : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* The kernel hands out all faults before any event, whatever came first. */
START_TEST(faults_come_before_events)
{
	struct touch_mem m;
	struct touch discard = {.m = &m, .body = touch_discard, .page = 2};
	struct touch load = {.m = &m, .body = touch_load, .page = 6};
	struct uf_msg msgs[4];

	touch_open(&m, UF_FEATURE_REMOVE, 8);
	touch_start(&discard);
	ck_assert(touch_readable(m.uffd, HARNESS_MS));
	touch_start(&load);
	touch_await_faults(m.uffd, 1);
	ck_assert_uint_eq(touch_read(m.uffd, msgs, 4), 2);
	ck_assert(msgs[0].event == UF_FAULT && msgs[0].start == m.base + 6 * P);
	ck_assert(msgs[1].event == UF_REMOVE && msgs[1].start == m.base + 2 * P);
	ck_outcome(touch_copy(&m, 6, 1), UF_DONE);
	touch_join(&load);
	touch_join(&discard);
	ck_assert_int_eq(load.value, 'g');
	touch_close(&m);
}
END_TEST

START_TEST(unmapped)
{
	struct touch_mem m;
	struct touch unmap = {.m = &m, .body = touch_unmap, .page = 6};
	struct uf_msg msg;

	touch_open(&m, UF_FEATURE_UNMAP, 8);
	touch_start(&unmap);
	msg = touch_read_one(m.uffd);
	ck_assert_int_eq(msg.event, UF_UNMAP);
	ck_assert_uint_eq(msg.start, m.base + 6 * P);
	ck_assert_uint_eq(msg.end, m.base + 8 * P);
	ck_assert_int_eq(msg.fd, -1);
	touch_join(&unmap);
	touch_close(&m);
}
END_TEST

START_TEST(remapped)
{
	struct touch_mem m;
	struct touch remap = {.m = &m, .body = touch_remap, .page = 1};
	struct uf_msg msg;

	touch_open(&m, UF_FEATURE_REMAP, 8);
	touch_start(&remap);
	msg = touch_read_one(m.uffd);
	ck_assert_int_eq(msg.event, UF_REMAP);
	ck_assert_uint_eq(msg.start, m.base + P);
	ck_assert_uint_eq(msg.end, m.base + 3 * P);
	ck_assert_uint_eq(msg.to, m.base + 6 * P);
	ck_assert_int_eq(msg.fd, -1);
	touch_join(&remap);
	ck_outcome(touch_copy(&m, 6, 2), UF_DONE);
	touch_close(&m);
}
END_TEST

/* The child's descriptor is a real one, and never inheritable, whatever the parent's is. */
START_TEST(fork_brings_a_descriptor)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_FORK};
	struct touch_mem m;
	struct touch forker = {.m = &m, .body = touch_fork};
	struct uf_msg msg;
	struct err err = {.msg = ""};
	int status;

	touch_map(&m, 0, 4);
	close(m.uffd);
	m.uffd = touch_raw(O_NONBLOCK);
	ck_assert_int_eq(ioctl(m.uffd, UFFDIO_API, &api), 0);
	ck_assert_int_eq(uffd_register(m.uffd, m.base, m.len, &err), 0);
	touch_start(&forker);
	msg = touch_read_one(m.uffd);
	ck_assert_int_eq(msg.event, UF_FORK);
	touch_join(&forker);
	ck_assert_int_eq(waitpid(forker.child, &status, 0), forker.child);
	ck_assert(msg.fd >= 0 && msg.fd != m.uffd);
	ck_assert(fcntl(msg.fd, F_GETFD) & FD_CLOEXEC);
	ck_assert_msg(uffd_check(msg.fd, m.base, m.len, &err) == 0, "%s", err.msg);
	close(msg.fd);
	touch_close(&m);
}
END_TEST

static void register_as(const struct touch_mem *m, uint64_t mode)
{
	struct uffdio_register reg = {.range = {m->base, m->len}, .mode = mode};

	ck_assert_int_eq(ioctl(m->uffd, UFFDIO_REGISTER, &reg), 0);
}

START_TEST(unprotect_releases_a_writer)
{
	struct touch_mem m;
	struct touch store = {.m = &m, .body = touch_store, .page = 1, .value = 'Z'};
	struct uffdio_writeprotect wp = {.mode = UFFDIO_WRITEPROTECT_MODE_WP};
	struct uf_msg msg;

	touch_open(&m, 0, 4);
	ck_outcome(uffd_unprotect(m.uffd, m.base, m.len), UF_LEFT);
	register_as(&m, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	ck_outcome(touch_copy(&m, 0, 4), UF_DONE);
	wp.range = (struct uffdio_range){m.base, m.len};
	ck_assert_int_eq(ioctl(m.uffd, UFFDIO_WRITEPROTECT, &wp), 0);
	touch_start(&store);
	msg = touch_read_one(m.uffd);
	ck_assert(msg.event == UF_FAULT_WP && msg.write && msg.start == m.base + P);
	ck_outcome(uffd_unprotect(m.uffd, m.base + P, P), UF_DONE);
	touch_join(&store);
	ck_assert_int_eq(m.mem[P], 'Z');
	touch_close(&m);
}
END_TEST

START_TEST(minor_fault)
{
	struct touch_mem m;
	struct touch load = {.m = &m, .body = touch_load, .page = 1};
	int fd = memfd_create("check_events", MFD_CLOEXEC);
	struct uf_msg msg;

	touch_map(&m, 0, 4);
	ck_assert_int_eq(write(fd, m.src, m.len), (ssize_t)m.len);
	ck_assert_ptr_eq(mmap(m.mem, m.len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
			 m.mem);
	register_as(&m, UFFDIO_REGISTER_MODE_MINOR);
	touch_start(&load);
	msg = touch_read_one(m.uffd);
	ck_assert(msg.event == UF_FAULT_MINOR && !msg.write && msg.start == m.base + P);
	ck_outcome(uffd_unregister(m.uffd, m.base, m.len), UF_DONE);
	ck_outcome(uffd_wake(m.uffd, m.base, m.len), UF_DONE);
	touch_join(&load);
	ck_assert_int_eq(load.value, 'b');
	close(fd);
	touch_close(&m);
}
END_TEST

START_TEST(read_in_portions)
{
	struct touch_mem m;
	struct touch loads[3];
	struct uf_msg msgs[UF_READ_MAX + 1];
	struct err err;
	int raw;

	touch_open(&m, 0, 4);
	ck_assert_int_eq(uffd_read(m.uffd, touch_box(), msgs, UF_READ_MAX, &err), 0);
	for (size_t i = 0; i < 3; i++) {
		loads[i] = (struct touch){.m = &m, .body = touch_load, .page = i};
		touch_start(&loads[i]);
	}
	touch_await_faults(m.uffd, 3);
	ck_assert_uint_eq(touch_read(m.uffd, msgs, 2), 2);
	ck_assert_uint_eq(touch_read(m.uffd, msgs, UF_READ_MAX + 1), 1);
	ck_assert_int_eq(uffd_read(m.uffd, touch_box(), msgs, 1, &err), 0);
	ck_outcome(touch_copy(&m, 0, 4), UF_DONE);
	for (size_t i = 0; i < 3; i++) {
		touch_join(&loads[i]);
		ck_assert_int_eq(loads[i].value, 'a' + (int)i);
	}
	touch_close(&m);

	ck_assert_int_eq(uffd_read(-1, touch_box(), msgs, 1, &err), -1);
	ck_assert_int_eq(err.sys, EBADF);
	raw = touch_raw(O_CLOEXEC | O_NONBLOCK);
	ck_assert_int_eq(uffd_read(raw, touch_box(), msgs, 1, &err), -1);
	ck_assert_msg(strstr(err.msg, "reading the userfaultfd"), "%s", err.msg);
	close(raw);
}
END_TEST

START_TEST(read_no_more_than_fits)
{
	enum { THREADS = UF_READ_MAX + 4 };
	static struct touch loads[THREADS];
	static struct uf_msg msgs[THREADS];
	struct touch_mem m;

	touch_open(&m, 0, 1);
	for (size_t i = 0; i < THREADS; i++) {
		loads[i] = (struct touch){.m = &m, .body = touch_load};
		touch_start(&loads[i]);
	}
	touch_await_faults(m.uffd, THREADS);
	ck_assert_uint_eq(touch_read(m.uffd, msgs, THREADS), UF_READ_MAX);
	ck_assert_uint_eq(touch_read(m.uffd, msgs, THREADS), THREADS - UF_READ_MAX);
	ck_outcome(touch_copy(&m, 0, 1), UF_DONE);
	for (size_t i = 0; i < THREADS; i++)
		touch_join(&loads[i]);
	touch_close(&m);
}
END_TEST

static int make_pipe(void)
{
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) < 0)
		return -1;
	close(pair[1]);
	return pair[0];
}

static int make_closed(void)
{
	return -1;
}

static int make_file(void)
{
	return open("/dev/zero", O_RDWR | O_CLOEXEC);
}

static int make_eventfd(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

static int make_epoll(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

static int make_raw(void)
{
	return touch_raw(O_CLOEXEC);
}

static int make_good(void)
{
	struct err err;
	int fd = -1;

	uffd_open(0, &fd, &err);
	return fd;
}

#define NO_UFFD "descriptor 0 of the handshake is not a userfaultfd"

static const struct check_case {
	const char *name;
	int (*make)(void);
	uint64_t start, len;
	const char *needle; /* NULL: fine */
} check_cases[] = {
	{"good", make_good, 16 * P, P, NULL},
	{"good, several pages", make_good, 1 << 30, 512 * P, NULL},
	{"pipe", make_pipe, 16 * P, P, NO_UFFD},
	{"file", make_file, 16 * P, P, NO_UFFD},
	{"eventfd", make_eventfd, 16 * P, P, NO_UFFD},
	{"epoll", make_epoll, 16 * P, P, "it is not a userfaultfd"},
	{"closed", make_closed, 16 * P, P, NO_UFFD},
	{"not initialised", make_raw, 16 * P, P, "UFFDIO_API was not done on it"},
	{"no length", make_good, 16 * P, 0, "refuses 0x10000+0x0"},
	{"misaligned", make_good, 16 * P + 1, P, "refuses 0x10001+0x1000"},
	{"kernel's half", make_good, UINT64_MAX - 2 * P + 1, P, "lies outside its address space"},
	{"wraps", make_good, UINT64_MAX - P + 1, 2 * P, "lies outside its address space"},
};

START_TEST(check)
{
	const struct check_case *c = &check_cases[_i];
	int fd = c->make();
	struct err err = {.msg = ""};
	int rc;

	ck_assert(fd >= 0 || c->make == make_closed);
	if (fd >= 0)
		ck_assert_int_eq(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK), 0);
	rc = uffd_check(fd, c->start, c->len, &err);
	if (c->needle) {
		ck_assert_msg(rc == -1 && err.code == ERR_PEER, "%s: accepted", c->name);
		ck_assert_msg(strstr(err.msg, c->needle), "%s: %s", c->name, err.msg);
	} else {
		ck_assert_msg(rc == 0, "%s: %s", c->name, err.msg);
		ck_assert_msg(fcntl(fd, F_GETFL) & O_NONBLOCK, "%s", c->name);
	}
	close_fd(&fd);
}
END_TEST

static TCase *events_case(void)
{
	TCase *tc = tcase_create("events");

	tcase_add_test(tc, open_flags);
	tcase_add_test(tc, open_denied);
	tcase_add_test(tc, faults_come_before_events);
	tcase_add_test(tc, unmapped);
	tcase_add_test(tc, remapped);
	tcase_add_test(tc, fork_brings_a_descriptor);
	tcase_add_test(tc, unprotect_releases_a_writer);
	tcase_add_test(tc, minor_fault);
	tcase_add_test(tc, read_in_portions);
	tcase_add_test(tc, read_no_more_than_fits);
	tcase_add_loop_test(tc, check, 0, ARRAY_LEN(check_cases));
	return tc;
}

Suite *test_suite(void)
{
	struct err err;
	Suite *s;
	int fd;

	if (uffd_open(UF_FEATURE_REMOVE | UF_FEATURE_FORK, &fd, &err) < 0) {
		printf("1..0 # SKIP %s\n", err.msg);
		return NULL;
	}
	close(fd);
	s = suite_create("events");
	suite_add_tcase(s, events_case());
	return s;
}
