/* test_wait - what ends a sleep: each kind of readiness, a time, and what was closed meanwhile */
#include "worker/wait.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define LONG_US ((uint64_t)HARNESS_MS * 1000)

static struct wait w;

static void setup(void)
{
	struct err err;

	ck_assert_int_eq(wait_open(&w, &err), 0);
	ck_assert_int_eq(fcntl(w.epoll, F_GETFD), FD_CLOEXEC);
}

static void teardown(void)
{
	wait_close(&w);
	wait_close(&w);
}

static void set(unsigned which, int fd)
{
	struct err err;

	ck_assert_msg(wait_set(&w, which, fd, &err) == 0, "%s", err.msg);
}

static int ready(void)
{
	return eventfd(1, EFD_CLOEXEC);
}

static int not_ready(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

/* ---- descriptors ---- */

START_TEST(test_places)
{
	int fds[WAIT_MAX];

	for (unsigned i = 0; i < WAIT_MAX; i++) {
		fds[i] = i % 3 ? not_ready() : ready();
		set(i, fds[i]);
	}
	ck_assert_uint_eq(wait_sleep(&w, LONG_US), 1u << 0 | 1u << 3 | 1u << 6);
	/* Until it is read. */
	ck_assert_uint_eq(wait_sleep(&w, WAIT_NEVER), 1u << 0 | 1u << 3 | 1u << 6);
	ck_assert_int_eq(eventfd_read(fds[3], &(eventfd_t){0}), 0);
	ck_assert_int_eq(eventfd_write(fds[7], 1), 0);
	ck_assert_uint_eq(wait_sleep(&w, 1), 1u << 0 | 1u << 6 | 1u << 7);
	for (unsigned i = 0; i < WAIT_MAX; i++)
		close(fds[i]);
}
END_TEST

/* What has ended must be looked at as well. */
START_TEST(test_ended)
{
	int pair[2], ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	ck_assert_int_eq(pipe(ends), 0);
	set(1, pair[0]);
	set(2, ends[0]);
	ck_assert_uint_eq(wait_sleep(&w, 1), 0);
	close(pair[1]);
	ck_assert_uint_eq(wait_sleep(&w, LONG_US), 1u << 1);
	close(ends[1]);
	ck_assert_uint_eq(wait_sleep(&w, LONG_US), 1u << 1 | 1u << 2);
	close(pair[0]);
	close(ends[0]);
}
END_TEST

START_TEST(test_set_again)
{
	int old = ready(), new = ready();

	set(4, old);
	set(4, new);
	ck_assert_int_eq(eventfd_read(new, &(eventfd_t){0}), 0);
	ck_assert_msg(wait_sleep(&w, 1) == 0, "the old one wakes still");
	ck_assert_int_eq(eventfd_write(new, 1), 0);
	ck_assert_uint_eq(wait_sleep(&w, LONG_US), 1u << 4);
	set(4, -1);
	ck_assert_uint_eq(wait_sleep(&w, 1), 0);
	set(4, -1);
	/* The same descriptor, at another place. */
	set(5, new);
	ck_assert_uint_eq(wait_sleep(&w, LONG_US), 1u << 5);
	close(old);
	close(new);
}
END_TEST

/* The next channel may get the number of the last one. */
START_TEST(test_closed_meanwhile)
{
	int old = ready(), new;

	set(0, old);
	close(old);
	ck_assert_uint_eq(wait_sleep(&w, 1), 0);
	new = ready();
	ck_assert_int_eq(new, old);
	ck_assert_msg(wait_sleep(&w, 1) == 0, "it was not set");
	set(0, new);
	ck_assert_uint_eq(wait_sleep(&w, LONG_US), 1u << 0);
	close(new);
}
END_TEST

/* A file cannot be waited for; then nothing is. */
START_TEST(test_refused)
{
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), fd = ready();
	struct err err;

	set(2, fd);
	ck_assert_int_eq(wait_set(&w, 2, file, &err), -1);
	ck_assert_int_eq(err.code, ERR_SYSTEM);
	ck_assert_int_eq(w.fds[2], -1);
	ck_assert_uint_eq(wait_sleep(&w, 1), 0);
	set(2, fd);
	ck_assert_uint_eq(wait_sleep(&w, LONG_US), 1u << 2);
	close(file);
	close(fd);
}
END_TEST

START_TEST(test_no_descriptor)
{
	struct rlimit was = harness_limit_fds(0);
	struct wait none;
	struct err err;
	int rc = wait_open(&none, &err);

	setrlimit(RLIMIT_NOFILE, &was);
	ck_assert_int_eq(rc, -1);
	ck_assert_int_eq(err.code, ERR_SYSTEM);
	wait_close(&none);
}
END_TEST

/* ---- times ---- */

/* Never too early, apart from what a millisecond cuts off: the owner asks again. */
START_TEST(test_times)
{
	static const uint64_t times[] = {1, 300, 999, 1000, 2500, 20000};

	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		uint64_t least = times[i] < 1000 ? times[i] : times[i] / 1000 * 1000;
		uint64_t begin = now_us();

		ck_assert_uint_eq(wait_sleep(&w, times[i]), 0);
		ck_assert_uint_ge(now_us() - begin, least);
	}
}
END_TEST

START_TEST(test_no_time)
{
	int fd = ready();

	ck_assert_uint_eq(wait_sleep(&w, 0), 0);
	set(0, fd);
	ck_assert_uint_eq(wait_sleep(&w, 0), 1u << 0);
	close(fd);
}
END_TEST

/* Times that no int holds, in milliseconds: what comes later must come first. */
START_TEST(test_longest)
{
	static const uint64_t times[] = {WAIT_NEVER, WAIT_NEVER - 1, UINT64_C(0x100000000) * 1000,
					 UINT64_C(0x80000000) * 1000};
	const struct itimerspec later = {.it_value.tv_nsec = 20000000};

	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

		set(0, timer);
		ck_assert_int_eq(timerfd_settime(timer, 0, &later, NULL), 0);
		ck_assert_msg(wait_sleep(&w, times[i]) == 1u << 0, "time %zu was over", i);
		close(timer);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("wait");
	TCase *t = tcase_create("wait");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_places);
	tcase_add_test(t, test_ended);
	tcase_add_test(t, test_set_again);
	tcase_add_test(t, test_closed_meanwhile);
	tcase_add_test(t, test_refused);
	tcase_add_test(t, test_no_descriptor);
	tcase_add_test(t, test_times);
	tcase_add_test(t, test_no_time);
	tcase_add_test(t, test_longest);
	suite_add_tcase(s, t);
	return s;
}
