/* test_cgroup_writer - limits are written in order, and nobody waits for a write that hangs */
#include "daemon/cgroup_writer.h"

#include <fcntl.h>
#include <string.h>

#include "tests/support/capture.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define FILE_TEXT_MAX 256

static int ends[2];

static void begin(void)
{
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
}

static void end(void)
{
	close_fd(&ends[0]);
	close_fd(&ends[1]);
}

static void fill_pipe(void)
{
	static const char byte;

	ck_assert_int_eq(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	while (write(ends[1], &byte, 1) == 1)
		;
	ck_assert_int_eq(fcntl(ends[1], F_SETFL, 0), 0);
}

static void say(int file, const char *text)
{
	int fd = fcntl(file, F_DUPFD_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	cgroup_writer_write(&fd, text, "a/file");
	ck_assert_int_eq(fd, -1);
}

static bool has_text(void *arg)
{
	char text[FILE_TEXT_MAX] = "";

	return pread(*(int *)arg, text, sizeof(text) - 1, 0) > 0 &&
	       strcmp(text, "4096 max 7 ") == 0;
}

static int file_for_text(void)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(test_in_order)
{
	int fd = file_for_text();

	/* All copies of it have one position. */
	say(fd, "4096 ");
	say(fd, "max ");
	say(fd, "7 ");
	ck_assert_msg(harness_wait(has_text, &fd, HARNESS_MS), "not written");
	close(fd);
}
END_TEST

static bool has_text_after_reading(void *fd)
{
	char bytes[65536];

	while (read(ends[0], bytes, sizeof(bytes)) > 0)
		;
	return has_text(fd);
}

START_TEST(test_hangs)
{
	int fd = file_for_text();

	fill_pipe();
	say(ends[1], "hangs");
	say(fd, "4096 ");
	say(fd, "max ");
	say(fd, "7 ");
	/* They come behind the one that hangs, so that the last one holds. */
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 0);
	ck_assert_int_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	ck_assert_msg(harness_wait(has_text_after_reading, &fd, HARNESS_MS), "not written");
	close(fd);
}
END_TEST

static bool is_logged(void *arg)
{
	return pread(*(int *)arg, (char[1]){0}, 1, 0) > 0;
}

/* A limit that does not hold is told. */
START_TEST(test_refused)
{
	int readable = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct capture c = {0};

	capture_begin(&c);
	say(readable, "max");
	ck_assert(harness_wait(is_logged, &c.source[1], HARNESS_MS));
	capture_end(&c);
	ck_assert_msg(strstr(c.err, "could not be changed") && strstr(c.err, "file=a/file to=max"),
		      "%s", c.err);
	capture_fini(&c);
	close(readable);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("cgroup_writer");
	TCase *t = runner_case(s, "cgroup_writer", begin, end);

	tcase_add_test(t, test_in_order);
	tcase_add_test(t, test_hangs);
	tcase_add_test(t, test_refused);
	return s;
}
