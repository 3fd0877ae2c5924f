/* test_supervisor_link - when the supervisor counts as away, and what is still heard of it */
#include "worker/supervisor_link.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "tests/support/fds.h"
#include "tests/support/linkkit.h"
#include "tests/support/runner.h"

#define SENDS_MAX 100000

static void close_it(struct scene *s)
{
	close_fd(&s->sup);
}

static void send_rubbish(struct scene *s)
{
	ck_assert_int_eq(send(s->sup, "rubbish", 7, 0), 7);
}

static void send_old(struct scene *s)
{
	const uint32_t old[4] = {CHAN_PAUSE, CHAN_VERSION_MIN - 1};

	ck_assert_int_eq(send(s->sup, old, sizeof(old), 0), sizeof(old));
}

START_TEST(lost_when_nothing_can_be_read)
{
	void (*const how[])(struct scene * s) = {close_it, send_rubbish, send_old};
	int fds[CHAN_FDS_MAX], before = fds_count(getpid());
	struct chan_msg msg = {0};
	struct scene s;
	uint64_t now;

	setup(&s, "nobody");
	ck_assert_int_eq(supervisor_link_recv(&s.l, &msg, fds), CHAN_AGAIN);
	ck_assert_int_ge(s.l.chan, 0);
	ck_assert_uint_eq(supervisor_link_wait_us(&s.l, now_us()), UINT64_MAX);
	how[_i](&s);
	now = now_us();
	ck_assert_int_eq(supervisor_link_recv(&s.l, &msg, fds), CHAN_AGAIN);
	ck_assert_int_eq(s.l.chan, -1);
	ck_assert_uint_ge(s.l.try_us, now + FIRST_US / 2);
	ck_assert_uint_le(s.l.try_us, now_us() + FIRST_US + FIRST_US / 2);
	ck_assert_int_eq(supervisor_link_recv(&s.l, &msg, fds), CHAN_AGAIN);
	ck_assert_int_eq(s.returns, 0);
	teardown(&s);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* What was said before the end is heard; what cannot be sent stays the caller's. */
START_TEST(lost_when_nothing_can_be_sent)
{
	int fds[CHAN_FDS_MAX], own = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct chan_msg msg = {0};
	struct scene s;
	struct err err;

	setup(&s, "nobody");
	ck_assert_int_eq(chan_send(s.sup, CHAN_PAUSE, &msg, NULL, 0, &err), 0);
	close_fd(&s.sup);
	ck_assert_int_eq(supervisor_link_recv(&s.l, &msg, fds), CHAN_GOT);
	ck_assert_uint_eq(msg.type, CHAN_PAUSE);
	for (int i = 0; i < 3; i++) {
		supervisor_link_send(&s.l, CHAN_CONNECTED, &msg, &own, 1);
		ck_assert_int_eq(s.l.chan, -1);
	}
	ck_assert_int_eq(fcntl(own, F_GETFD), FD_CLOEXEC);
	close(own);
	teardown(&s);
}
END_TEST

/* It had handed something over before it died, and we spoke before we listened. */
START_TEST(last_words_are_heard)
{
	int fds[CHAN_FDS_MAX], own = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct chan_msg msg = {0};
	int home = listen_at("home");
	struct scene s;
	struct err err;

	setup(&s, "home");
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(chan_send(s.sup, CHAN_PEER, &msg, &own, 1, &err), 0);
	lose(&s);
	for (int i = 0; i < 3; i++) {
		struct pollfd p = {.fd = supervisor_link_fd(&s.l), .events = POLLIN};

		/* First of all. */
		ck_assert_uint_eq(supervisor_link_wait_us(&s.l, UINT64_MAX - 1), UINT64_MAX);
		ck_assert_int_eq(poll(&p, 1, 0), 1);
		ck_assert_int_eq(supervisor_link_recv(&s.l, &msg, fds), CHAN_GOT);
		ck_assert_uint_eq(msg.type, CHAN_PEER);
		ck_assert_int_ge(fds[0], 0);
		close(fds[0]);
	}
	ck_assert_int_eq(supervisor_link_recv(&s.l, &msg, fds), CHAN_AGAIN);
	ck_assert_int_eq(supervisor_link_fd(&s.l), -1);
	try_now(&s);
	ck_assert_int_eq(s.returns, 1);
	ck_assert_int_eq(supervisor_link_fd(&s.l), s.l.chan);
	close(own);
	close(home);
	teardown(&s);
}
END_TEST

/* The guest's thread does not wait for one that does not read. */
START_TEST(lost_when_it_does_not_read)
{
	struct chan_msg msg = {0};
	int sent = 0, home = listen_at("home");
	struct scene s;

	setup(&s, "home");
	for (; s.l.chan >= 0 && sent < SENDS_MAX; sent++)
		supervisor_link_send(&s.l, CHAN_NOTE, &msg, NULL, 0);
	ck_assert_int_eq(s.l.chan, -1);
	ck_assert_int_gt(sent, 3);
	try_now(&s);
	ck_assert_int_eq(s.returns, 1);
	teardown(&s);
	close(home);
}
END_TEST

START_TEST(without_a_home)
{
	struct scene s;

	setup(&s, NULL);
	lose(&s);
	ck_assert_uint_eq(supervisor_link_wait_us(&s.l, UINT64_MAX - 1), UINT64_MAX);
	turn(&s, UINT64_MAX - 1);
	ck_assert_int_eq(s.l.chan, -1);
	teardown(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("link");
	TCase *tc = tcase_create("lost");

	tcase_add_unchecked_fixture(tc, make_dir, remove_dir);
	tcase_add_loop_test(tc, lost_when_nothing_can_be_read, 0, 3);
	tcase_add_test(tc, lost_when_nothing_can_be_sent);
	tcase_add_test(tc, last_words_are_heard);
	tcase_add_test(tc, lost_when_it_does_not_read);
	tcase_add_test(tc, without_a_home);
	suite_add_tcase(suite, tc);
	return suite;
}
