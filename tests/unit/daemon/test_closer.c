/* test_closer - whoever calls it never waits, and a close() that hangs keeps no other waiting */
#include "daemon/closer.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "tests/support/harness.h"
#include "tests/support/lingerkit.h"

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static bool is_closed(void *arg)
{
	return !is_open(*(int *)arg);
}

static bool waits_for(void *arg)
{
	return closer_waiting() == *(size_t *)arg;
}

static void await_waiting(size_t n)
{
	ck_assert_msg(harness_wait(waits_for, &n, HARNESS_MS), "%zu wait, not %zu",
		      closer_waiting(), n);
}

static int plain(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static void close_plain(void)
{
	int fd = plain(), was = fd;

	closer_close(&fd);
	ck_assert_int_eq(fd, -1);
	ck_assert(harness_wait(is_closed, &was, HARNESS_MS));
}

START_TEST(test_close)
{
	int none = -1;

	closer_close(&none);
	ck_assert_uint_eq(closer_waiting(), 0);
	for (int i = 0; i < 100; i++)
		close_plain();
	await_waiting(0);
}
END_TEST

/* The socket itself; or another socket in whose queue it lies, which nobody has read. */
static void hang(struct linger_end *l, bool queued)
{
	int pair[2];

	lingerkit_open(l);
	if (!queued) {
		closer_close(&l->fd);
		return;
	}
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(lingerkit_send(l, pair[0], "x", 1), 1);
	closer_close(&pair[1]);
	close(pair[0]);
}

START_TEST(test_one_hangs)
{
	struct linger_end l;

	hang(&l, _i);
	close_plain();
	close_plain();
	await_waiting(1);
	lingerkit_let_go(&l);
	await_waiting(0);
	lingerkit_close(&l);
}
END_TEST

/* While all threads hang descriptors stay open. One thread that is free again closes them all. */
START_TEST(test_all_hang)
{
	struct linger_end ends[CLOSER_THREADS_MAX];
	int more[3], was[3];

	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		hang(&ends[i], false);
	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		more[i] = was[i] = plain();
		closer_close(&more[i]);
	}
	ck_assert_uint_eq(closer_waiting(), ARRAY_LEN(ends) + ARRAY_LEN(more));
	for (size_t i = 0; i < ARRAY_LEN(was); i++)
		ck_assert(is_open(was[i]));
	lingerkit_let_go(&ends[7]);
	await_waiting(ARRAY_LEN(ends) - 1);
	for (size_t i = 0; i < ARRAY_LEN(was); i++)
		ck_assert(!is_open(was[i]));
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		lingerkit_close(&ends[i]);
	await_waiting(0);
}
END_TEST

static bool blocks_sigterm(const char *tid)
{
	unsigned long long blocked = 0;
	cleanup_file FILE *f = NULL;
	char path[64], line[256];

	snprintf(path, sizeof(path), "/proc/self/task/%s/status", tid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "SigBlk: %llx", &blocked) == 1)
			break;
	return blocked & 1ull << (SIGTERM - 1);
}

/* A signal is for the loop, which would never hear of it from a thread that hangs. */
START_TEST(test_signals)
{
	char self[16];
	size_t others = 0;
	struct dirent *e;
	DIR *dir;

	close_plain();
	snprintf(self, sizeof(self), "%d", (int)getpid());
	dir = opendir("/proc/self/task");
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.' && strcmp(e->d_name, self) != 0) {
			ck_assert_msg(blocks_sigterm(e->d_name), "%s", e->d_name);
			others++;
		}
	closedir(dir);
	ck_assert_uint_ge(others, 1);
	ck_assert(!blocks_sigterm(self));
}
END_TEST

/* How long a thread takes is up to the machine. */
static bool settles(void *arg)
{
	(void)arg;
	return closer_settle();
}

/* A child that is forked now has nothing of it. */
START_TEST(test_settle)
{
	struct linger_end ends[CLOSER_THREADS_MAX];
	int more, was;

	ck_assert(harness_wait(settles, NULL, HARNESS_MS));
	for (int i = 0; i < 100; i++) {
		more = was = plain();
		closer_close(&more);
		ck_assert(harness_wait(settles, NULL, HARNESS_MS));
		ck_assert(!is_open(was));
	}
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		hang(&ends[i], false);
	ck_assert(harness_wait(settles, NULL, HARNESS_MS));
	more = was = plain();
	closer_close(&more);
	ck_assert(!closer_settle());
	ck_assert(is_open(was));
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		lingerkit_close(&ends[i]);
	await_waiting(0);
	ck_assert(harness_wait(settles, NULL, HARNESS_MS));
}
END_TEST

/* Who hangs is left behind, and a stop does not wait for it. */
START_TEST(test_stop)
{
	struct linger_end l;

	hang(&l, false);
	close_plain();
	closer_stop();
	ck_assert_uint_eq(closer_waiting(), 1);
	lingerkit_close(&l);
	await_waiting(0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("closer");
	TCase *tc = tcase_create("threads");

	tcase_add_test(tc, test_close);
	tcase_add_loop_test(tc, test_one_hangs, 0, 2);
	tcase_add_test(tc, test_all_hang);
	tcase_add_test(tc, test_signals);
	tcase_add_test(tc, test_settle);
	tcase_add_test(tc, test_stop);
	suite_add_tcase(s, tc);
	return s;
}
