#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "tests/support/runner.h"

static int saved_stderr = -1, captured = -1;
static char text[1 << 16];

/* From here on stderr is @fd, which captured() reads back. */
static void redirect(int fd)
{
	ck_assert_int_ge(fd, 0);
	captured = fd;
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
}

static void setup(void)
{
	saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	unsetenv("JOURNAL_STREAM");
	redirect(memfd_create("stderr", MFD_CLOEXEC));
	log_open("prog");
	log_set_level(LOG_LEVEL_INFO);
}

static void teardown(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	close_fd(&saved_stderr);
	close_fd(&captured);
}

/* Everything written since the last call. */
static const char *written(void)
{
	ssize_t n = pread(captured, text, sizeof(text) - 1, 0);

	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	ck_assert_int_eq(ftruncate(captured, 0), 0);
	ck_assert_int_eq(lseek(captured, 0, SEEK_SET), 0);
	return text;
}

/* The line behind its prefix, without its newline; there is exactly one. */
static const char *one_line(const char *level)
{
	char prefix[64];
	const char *line = written(), *p;
	char *end = strchr(line, '\n');

	snprintf(prefix, sizeof(prefix), " prog[%d] %s: ", (int)getpid(), level);
	p = strstr(line, prefix);
	ck_assert_msg(p != NULL, "\"%s\" has no \"%s\"", line, prefix);
	ck_assert_msg(end && end[1] == '\0', "\"%s\" is not one line", line);
	*end = '\0';
	return p + strlen(prefix);
}

START_TEST(test_line)
{
	log_info("restore ready", "id=%s pages=%d", "a", 7);
	ck_assert_str_eq(one_line("info"), "restore ready: id=a pages=7");
	log_error("plain sentence");
	ck_assert_str_eq(one_line("error"), "plain sentence");
	log_warning("w", "n=%d", 1);
	ck_assert_str_eq(one_line("warning"), "w: n=1");
	log_notice("n");
	ck_assert_str_eq(one_line("notice"), "n");
}
END_TEST

START_TEST(test_time)
{
	int64_t before = wall_ms() / 1000, stamp, after;
	int year, month, day, hour, minute, second, ms, used = 0;
	struct tm tm = {0};

	log_info("now");
	after = wall_ms() / 1000;
	ck_assert_int_eq(sscanf(written(), "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day,
				&hour, &minute, &second, &ms, &used),
			 7);
	ck_assert_int_eq(used, (int)strlen("2026-01-02T03:04:05.678Z "));
	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	tm.tm_mday = day;
	tm.tm_hour = hour;
	tm.tm_min = minute;
	tm.tm_sec = second;
	stamp = timegm(&tm);
	ck_assert_int_ge(stamp, before);
	ck_assert_int_le(stamp, after);
}
END_TEST

START_TEST(test_levels)
{
	for (int limit = 0; limit < LOG_LEVEL_COUNT; limit++) {
		for (int level = 0; level < LOG_LEVEL_COUNT; level++) {
			log_set_level((enum log_level)limit);
			log_line((enum log_level)level, "x");
			ck_assert_msg((*written() != '\0') == (level <= limit), "%d at %d", level,
				      limit);
		}
	}
	ck_assert_int_eq(log_level_from("error"), LOG_LEVEL_ERROR);
	ck_assert_int_eq(log_level_from("debug"), LOG_LEVEL_DEBUG);
	ck_assert_int_eq(log_level_from("Info"), LOG_LEVEL_COUNT);
	ck_assert_int_eq(log_level_from(""), LOG_LEVEL_COUNT);
}
END_TEST

START_TEST(test_escaping)
{
	static const struct {
		const char *value, *shown;
	} cases[] = {
		{"plain ~!\"'%s", "plain ~!\"'%s"},
		{"a\nb\r\tc", "a\\nb\\r\\tc"},
		{"\n<3>forged line", "\\n<3>forged line"},
		{"\x1b[2J\x07\x7f\x01", "\\x1b[2J\\x07\\x7f\\x01"},
		{"\xc2\x9b", "\\xc2\\x9b"},
		{"\xff\xfe", "\\xff\\xfe"},
		{"back\\n", "back\\\\n"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char want[128];

		log_info("got", "value=%s", cases[i].value);
		snprintf(want, sizeof(want), "got: value=%s", cases[i].shown);
		ck_assert_str_eq(one_line("info"), want);
	}
}
END_TEST

/* Every length around the bound, of bytes that stay and of bytes that grow. */
START_TEST(test_cut)
{
	static const char *const fillers[] = {"x", "\n", "\x1b", "\\"};
	static char value[2 * LOG_LINE_MAX + 1];

	for (size_t f = 0; f < ARRAY_LEN(fillers); f++) {
		bool was_cut = false;

		for (size_t n = 1; n < sizeof(value); n += n < 200 || n > 1100 ? 97 : 1) {
			const char *line;
			size_t len;
			bool cut;

			memset(value, *fillers[f], n);
			value[n] = '\0';
			log_info("long", "value=%s", value);
			line = written();
			len = strlen(line);
			ck_assert_msg(len <= LOG_LINE_MAX, "%zu bytes for %zu", len, n);
			ck_assert(strchr(line, '\n') == line + len - 1);
			cut = len >= 7 && strcmp(line + len - 7, " [cut]\n") == 0;
			ck_assert_msg(cut || !was_cut, "%zu not cut, shorter was", n);
			ck_assert_msg(cut || n < LOG_LINE_MAX, "%zu not cut", n);
			ck_assert_msg(!cut || n > LOG_LINE_MAX / 4 - 64, "%zu cut", n);
			was_cut = cut;
		}
		ck_assert(was_cut);
	}
}
END_TEST

START_TEST(test_errno)
{
	errno = EXDEV;
	log_info("x", "error=%m");
	ck_assert_int_eq(errno, EXDEV);
	ck_assert_msg(strstr(one_line("info"), strerror(EXDEV)) != NULL, "%s", text);
	log_debug("dropped");
	ck_assert_int_eq(errno, EXDEV);

	/* Nor does a stderr that fails. */
	close(STDERR_FILENO);
	log_info("x");
	ck_assert_int_eq(errno, EXDEV);
}
END_TEST

/* One write per line: a packet socket keeps them apart. */
START_TEST(test_one_write)
{
	int sv[2];
	char packet[2 * LOG_LINE_MAX];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	dup2(sv[1], STDERR_FILENO);
	for (int i = 0; i < 3; i++)
		log_info("line", "i=%d", i);
	for (int i = 0; i < 3; i++) {
		char want[32];
		ssize_t n = recv(sv[0], packet, sizeof(packet) - 1, MSG_DONTWAIT);

		ck_assert_int_gt(n, 0);
		packet[n] = '\0';
		snprintf(want, sizeof(want), "line: i=%d\n", i);
		ck_assert_msg(strstr(packet, want) != NULL, "%s", packet);
	}
	ck_assert_int_eq(recv(sv[0], packet, sizeof(packet), MSG_DONTWAIT), -1);
	close(sv[0]);
	close(sv[1]);
}
END_TEST

START_TEST(test_journal)
{
	char stream[64];
	struct stat st;

	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_open("prog");
	log_error("e", "a=%d", 1);
	ck_assert_str_eq(written(), "<3>e: a=1\n");
	log_info("i");
	ck_assert_str_eq(written(), "<6>i\n");

	/* Another stream's number, and none at all. */
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + 1);
	setenv("JOURNAL_STREAM", stream, 1);
	log_open("prog");
	log_info("i");
	ck_assert_str_eq(one_line("info"), "i");
	setenv("JOURNAL_STREAM", "", 1);
	log_open("prog");
	log_info("i");
	ck_assert_str_eq(one_line("info"), "i");
}
END_TEST

START_TEST(test_limit)
{
	struct log_limit limit = LOG_LIMIT(3, 1000);
	uint64_t now = 5000000;

	for (int i = 0; i < 3; i++)
		ck_assert_msg(log_allow(&limit, now), "line %d", i);
	for (int i = 0; i < 5; i++)
		ck_assert(!log_allow(&limit, now + 999));
	ck_assert_str_eq(written(), "");

	/* One comes back with every 1000 us, and tells how many were lost. */
	ck_assert(log_allow(&limit, now + 1000));
	ck_assert_str_eq(one_line("warning"), "lines like the next were suppressed: count=5");
	ck_assert(!log_allow(&limit, now + 1999));
	ck_assert(log_allow(&limit, now + 2000));
	ck_assert_str_eq(one_line("warning"), "lines like the next were suppressed: count=1");

	/* After a long silence the burst is back, and not more. */
	for (int i = 0; i < 3; i++)
		ck_assert(log_allow(&limit, now + 1000000));
	ck_assert(!log_allow(&limit, now + 1000000));
	ck_assert_str_eq(written(), "");
	/* A clock that steps back gives nothing and breaks nothing. */
	ck_assert(!log_allow(&limit, 0));
	ck_assert(log_allow(&limit, now + 1001000));
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("log");
	TCase *t = tcase_create("log");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_line);
	tcase_add_test(t, test_time);
	tcase_add_test(t, test_levels);
	tcase_add_test(t, test_escaping);
	tcase_add_test(t, test_cut);
	tcase_add_test(t, test_errno);
	tcase_add_test(t, test_one_write);
	tcase_add_test(t, test_journal);
	tcase_add_test(t, test_limit);
	suite_add_tcase(s, t);
	return s;
}
