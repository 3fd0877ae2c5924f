/* test_supervisor_link_reconnect - the way to the next supervisor, or to what is none */
#include "worker/supervisor_link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/support/fds.h"
#include "tests/support/linkkit.h"
#include "tests/support/runner.h"

#define NOBODY 65534
#define LONGEST_US 1000000
#define JUST_NOW (UINT64_MAX / 2) /* it came back, however late we are */

static void check_pause(uint64_t got, uint64_t pause)
{
	ck_assert_msg(got >= pause / 2 && got < pause / 2 + pause, "%ju us beside %ju",
		      (uintmax_t)got, (uintmax_t)pause);
}

static void make_nothing(const char *path)
{
	(void)path;
}

static void make_file(const char *path)
{
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
}

static void make_stale(const char *path)
{
	struct err err;
	int fd;

	ck_assert_int_eq(sock_listen(path, SOCK_SEQPACKET, sock_mode(0666), &fd, &err), 0);
	close(fd);
}

static void make_stream(const char *path)
{
	struct err err;
	int fd; /* open to the end of the test */

	ck_assert_int_eq(sock_listen(path, SOCK_STREAM, sock_mode(0666), &fd, &err), 0);
}

static void (*const not_homes[])(const char *path) = {make_nothing, make_file, make_stale,
						      make_stream};

START_TEST(pauses_grow)
{
	uint64_t pause = FIRST_US, before;
	struct scene s;
	int fds;

	setup(&s, "no-home");
	unlink(s.l.reconnect_path);
	not_homes[_i](s.l.reconnect_path);
	lose(&s);
	fds = fds_count(getpid());
	for (int i = 0; i < 12; i++) {
		before = s.l.try_us;
		turn(&s, before - 1);
		ck_assert_msg(s.l.try_us == before, "tried before it was time");
		ck_assert_uint_eq(supervisor_link_wait_us(&s.l, before - 7), 7);
		try_now(&s);
		pause = min_u64(2 * pause, LONGEST_US);
		check_pause(s.l.try_us - before, pause);
		ck_assert_int_eq(s.l.chan, -1);
	}
	ck_assert_uint_eq(pause, LONGEST_US);
	ck_assert_int_eq(s.returns, 0);
	ck_assert_int_eq(fds_count(getpid()), fds);
	teardown(&s);
}
END_TEST

/* Not all in one moment: neither one worker's attempts nor those of many. */
START_TEST(pauses_are_jittered)
{
	enum { TRIES = 64 };
	uint64_t least = UINT64_MAX, most = 0, sum = 0;
	struct scene s;

	setup(&s, "home");
	lose(&s);
	for (int i = 0; i < 10 + TRIES; i++) {
		uint64_t at = s.l.try_us, got;

		try_now(&s);
		got = s.l.try_us - at;
		if (i < 10)
			continue;
		least = min_u64(least, got);
		most = max_u64(most, got);
		sum += got;
	}
	ck_assert_msg(most - least > LONGEST_US / 2, "%ju to %ju us", (uintmax_t)least,
		      (uintmax_t)most);
	ck_assert_msg(sum / TRIES > LONGEST_US * 3 / 4 && sum / TRIES < LONGEST_US * 5 / 4,
		      "%ju us on average", (uintmax_t)(sum / TRIES));
	teardown(&s);
}
END_TEST

static int accept_one(int listener)
{
	return accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

START_TEST(comes_back)
{
	int fds[CHAN_FDS_MAX], home = -1, sup;
	struct chan_msg msg = {0};
	struct scene s;
	struct err err;

	setup(&s, "home");
	for (int round = 1; round <= 3; round++) {
		lose(&s);
		ck_assert_uint_eq(s.l.pause_us, FIRST_US);
		try_now(&s);
		ck_assert_int_eq(s.l.chan, -1);
		home = listen_at("home");
		try_now(&s);
		ck_assert_int_eq(s.returns, round);
		ck_assert_int_eq(fcntl(s.l.chan, F_GETFD), FD_CLOEXEC);
		ck_assert_uint_eq(supervisor_link_wait_us(&s.l, UINT64_MAX - 1), UINT64_MAX);
		turn(&s, UINT64_MAX - 1);
		ck_assert_msg(s.returns == round, "said twice");
		sup = accept_one(home);
		ck_assert_int_ge(sup, 0);
		ck_assert_int_eq(accept_one(home), -1);
		msg.prefetch.rate_bytes_per_s = (uint64_t)round;
		supervisor_link_send(&s.l, CHAN_COMPLETE, &msg, NULL, 0);
		ck_assert_int_eq(chan_recv(sup, &msg, fds, &err), CHAN_GOT);
		ck_assert_uint_eq(msg.type, CHAN_COMPLETE);
		ck_assert_int_eq(chan_send(sup, CHAN_RESUME, &msg, NULL, 0, &err), 0);
		ck_assert_int_eq(supervisor_link_recv(&s.l, &msg, fds), CHAN_GOT);
		ck_assert_uint_eq(msg.type, CHAN_RESUME);
		close(home);
		s.sup = sup;
	}
	teardown(&s);
}
END_TEST

/* As the loop of a worker does it. */
static void wait_and_try(struct scene *s)
{
	uint64_t wait;

	while ((wait = supervisor_link_wait_us(&s->l, now_us())))
		poll(NULL, 0, (int)(wait / 1000 + 1));
	turn(s, now_us());
	ck_assert_int_ge(s->l.chan, 0);
}

static void hang_up(struct scene *s, int home, bool say_something)
{
	int fds[CHAN_FDS_MAX], sup = accept_one(home);
	struct chan_msg msg = {0};
	struct err err;

	if (say_something) {
		ck_assert_int_eq(chan_send(sup, CHAN_RESUME, &msg, NULL, 0, &err), 0);
		ck_assert_int_eq(supervisor_link_recv(&s->l, &msg, fds), CHAN_GOT);
	}
	close(sup);
	s->l.since_us = JUST_NOW;
	ck_assert_int_eq(supervisor_link_recv(&s->l, &msg, fds), CHAN_AGAIN);
	ck_assert_int_eq(s->l.chan, -1);
}

/* One that wants us not is asked ever more seldom, until another is there. */
START_TEST(turned_away)
{
	int home = listen_at("home");
	struct scene s;

	setup(&s, "home");
	lose(&s);
	for (int round = 1; round <= 4; round++) {
		wait_and_try(&s);
		hang_up(&s, home, false);
		ck_assert_uint_eq(s.l.pause_us, FIRST_US << round);
	}
	wait_and_try(&s);
	hang_up(&s, home, true);
	ck_assert_uint_eq(s.l.pause_us, FIRST_US);
	ck_assert_int_eq(s.returns, 5);
	teardown(&s);
	close(home);
}
END_TEST

/* Anybody could bind the path while the supervisor is away, if he may write there. */
START_TEST(refuses_a_home_of_somebody_else)
{
	struct scene s;
	int ready[2], stay[2], status;
	char byte;
	pid_t pid;

	if (geteuid() != 0)
		return; /* needs another user */
	ck_assert_int_eq(chmod(dir, 0777), 0);
	setup(&s, "strange");
	lose(&s);
	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(stay, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		struct err err;
		int fd;

		close(stay[1]);
		if (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY) ||
		    sock_listen(s.l.reconnect_path, SOCK_SEQPACKET, sock_mode(0666), &fd, &err) ||
		    write(ready[1], "x", 1) != 1)
			_exit(1);
		/* Somebody did come, but stayed for nothing and left without a word. */
		_exit(read(stay[0], &byte, 1) == 0 && (fd = accept_one(fd)) >= 0 &&
				      recv(fd, &byte, 1, 0) == 0
			      ? 0
			      : 2);
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	try_now(&s);
	ck_assert_int_eq(s.l.chan, -1);
	ck_assert_int_eq(s.returns, 0);
	ck_assert_uint_eq(s.l.pause_us, 2 * FIRST_US);
	close(stay[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	teardown(&s);
}
END_TEST

static int fill_backlog(const char *path, int *ret, int max)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int n = 0;

	memcpy(addr.sun_path, path, strlen(path) + 1);
	for (; n < max; n++) {
		ret[n] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (connect(ret[n], (struct sockaddr *)&addr, sizeof(addr)) == 0)
			continue;
		ck_assert_int_eq(errno, EAGAIN);
		close(ret[n]);
		return n;
	}
	return n;
}

START_TEST(full_backlog)
{
	int home = listen_at("home"), others[16], n;
	struct scene s;

	ck_assert_int_eq(listen(home, 2), 0);
	setup(&s, "home");
	lose(&s);
	n = fill_backlog(s.l.reconnect_path, others, ARRAY_LEN(others));
	ck_assert_int_lt(n, (int)ARRAY_LEN(others));
	/* Nobody takes any of them: one that waited would do so for ever. */
	for (int i = 0; i < 5; i++) {
		try_now(&s);
		ck_assert_int_eq(s.l.chan, -1);
	}
	ck_assert_uint_eq(s.l.pause_us, FIRST_US << 5);
	ck_assert_int_eq(s.returns, 0);
	close(accept_one(home));
	try_now(&s);
	ck_assert_int_ge(s.l.chan, 0);
	ck_assert_int_eq(s.returns, 1);
	for (int i = 0; i < n; i++)
		close(others[i]);
	teardown(&s);
	close(home);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("link_reconnect");
	TCase *tc = tcase_create("back");

	tcase_add_unchecked_fixture(tc, make_dir, remove_dir);
	tcase_add_loop_test(tc, pauses_grow, 0, ARRAY_LEN(not_homes));
	tcase_add_test(tc, pauses_are_jittered);
	tcase_add_test(tc, comes_back);
	tcase_add_test(tc, turned_away);
	tcase_add_test(tc, refuses_a_home_of_somebody_else);
	tcase_add_test(tc, full_backlog);
	suite_add_tcase(suite, tc);
	return suite;
}
