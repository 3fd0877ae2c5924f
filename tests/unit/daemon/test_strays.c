/* test_strays - workers that came back and are not adopted: listed once, until they have ended */
#include "daemon/strays.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "common/proc.h"
#include "tests/support/runner.h"

static pid_t start(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		pause();
		_exit(0);
	}
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(strays_are_listed_once)
{
	struct sock_peer a = {.pid = start(), .uid = 5}, b = {.pid = start(), .uid = 6};
	struct strays s = {0};

	for (int i = 0; i < 100; i++)
		strays_note(&s, "one", &a, "first");
	strays_note(&s, "two", &b, "then");
	strays_note(&s, "three", &a, "last");
	ck_assert_uint_eq(s.n, 2);
	ck_assert_str_eq(s.v[0].key, "three");
	ck_assert_str_eq(s.v[0].why, "last");
	ck_assert_uint_eq(s.v[0].uid, 5);
	strays_drop_ended(&s);
	ck_assert_uint_eq(s.n, 2);
	end(a.pid);
	strays_drop_ended(&s);
	ck_assert_uint_eq(s.n, 1);
	ck_assert_int_eq(s.v[0].pid, b.pid);
	strays_forget(&s, a.pid);
	ck_assert_uint_eq(s.n, 1);
	strays_forget(&s, b.pid);
	ck_assert_uint_eq(s.n, 0);
	end(b.pid);
	strays_fini(&s);
}
END_TEST

/* Whoever comes and goes cannot fill it; whoever stays cannot make it grow. */
START_TEST(strays_are_bounded)
{
	struct sock_peer alive = {.pid = getpid()}, ended = {.pid = 0};
	struct strays s = {0};

	strays_note(&s, "alive", &alive, "");
	for (int i = 1; i <= 2 * STRAYS_MAX; i++) {
		/* No such process. */
		ended.pid = (1 << 22) + i;
		strays_note(&s, "ended", &ended, "");
		ck_assert_uint_le(s.n, STRAYS_MAX);
	}
	strays_drop_ended(&s);
	ck_assert_uint_eq(s.n, 1);
	ck_assert_str_eq(s.v[0].key, "alive");
	strays_fini(&s);
}
END_TEST

/* The number of one that has ended may be another process's by now. */
START_TEST(strays_are_known_by_their_start)
{
	struct sock_peer who = {.pid = getpid()};
	struct strays s = {0};

	strays_note(&s, "one", &who, "");
	ck_assert_uint_eq(s.v[0].start, proc_start_time(getpid()));
	s.v[0].start--;
	strays_drop_ended(&s);
	ck_assert_uint_eq(s.n, 0);
	strays_fini(&s);
}
END_TEST

/* What a stranger says of itself may be of any length. */
START_TEST(strays_are_cut)
{
	struct sock_peer who = {.pid = getpid()};
	struct strays s = {0};
	char text[1024];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	strays_note(&s, text, &who, text);
	ck_assert_uint_eq(strlen(s.v[0].key), sizeof(s.v[0].key) - 1);
	ck_assert_uint_eq(strlen(s.v[0].why), sizeof(s.v[0].why) - 1);
	strays_fini(&s);
	ck_assert(s.v == NULL && s.n == 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("strays");
	TCase *tc = tcase_create("strays");

	tcase_add_test(tc, strays_are_listed_once);
	tcase_add_test(tc, strays_are_bounded);
	tcase_add_test(tc, strays_are_known_by_their_start);
	tcase_add_test(tc, strays_are_cut);
	suite_add_tcase(suite, tc);
	return suite;
}
