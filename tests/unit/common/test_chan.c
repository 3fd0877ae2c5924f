/* chan over real socket pairs: what comes through, and what must not */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/support/chankit.h"
#include "tests/support/fds.h"

#define SENDS_MAX 100000

static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

START_TEST(pair_is_safe_to_own)
{
	int fds[2];

	make_pair(fds);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
	ck_assert(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
	ck_assert(!(fcntl(fds[1], F_GETFL) & O_NONBLOCK));
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(names)
{
	ck_assert_str_eq(chan_type_name((enum chan_type)_i), wire[_i].name);
	ck_assert_str_eq(chan_type_name(CHAN_NONE), "unknown");
	ck_assert_str_eq(chan_type_name(CHAN_TYPE_COUNT), "unknown");
	ck_assert_str_eq(chan_type_name((enum chan_type) - 1), "unknown");
}
END_TEST

/* Both ways, with every number of descriptors; every text ends although none was ended. */
START_TEST(round_trip)
{
	const char *name = wire[_i].name;
	int pair[2], sent_fds[CHAN_FDS_MAX], fds[CHAN_FDS_MAX];
	struct chan_msg sent, got;
	struct err err;

	make_pair(pair);
	for (int i = 0; i < CHAN_FDS_MAX; i++)
		sent_fds[i] = make_memfd(name);
	for (size_t nfds = 0; nfds <= CHAN_FDS_MAX; nfds++) {
		int from = pair[nfds % 2], to = pair[1 - nfds % 2];
		int before = fds_count(getpid());

		memset(&sent, 0xa5, sizeof(sent));
		ck_assert_msg(chan_send(from, (enum chan_type)_i, &sent, sent_fds, nfds, &err) == 0,
			      "%s: %s", name, err.msg);
		memset(&got, 0x5a, sizeof(got));
		ck_assert_msg(chan_recv(to, &got, fds, &err) == CHAN_GOT, "%s: %s", name, err.msg);
		ck_assert_uint_eq(got.type, (unsigned)_i);
		ck_assert_uint_eq(got.version, CHAN_VERSION);
		for (int t = 0; t < 3; t++)
			if (wire[_i].text[t].len)
				((char *)&sent)[HEAD + wire[_i].text[t].at + wire[_i].text[t].len -
						1] = '\0';
		ck_assert_msg(memcmp(&sent, &got, HEAD + wire[_i].body) == 0, "%s: bytes", name);
		for (size_t i = 0; i < CHAN_FDS_MAX; i++) {
			if (i >= nfds) {
				ck_assert_int_eq(fds[i], -1);
				continue;
			}
			ck_assert_msg(same_file(fds[i], sent_fds[i]), "%s: fd %zu", name, i);
			ck_assert_int_eq(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
			close(fds[i]);
		}
		ck_assert_int_eq(fds_count(getpid()), before);
	}
	ck_assert_int_eq(chan_recv(pair[0], &got, fds, &err), CHAN_AGAIN);
	ck_assert_int_eq(chan_recv(pair[1], &got, fds, &err), CHAN_AGAIN);
}
END_TEST

/* A shorter message must not leave bytes of an earlier one behind. */
START_TEST(nothing_stale_in_the_body)
{
	struct chan_msg msg = {.stop.how = CHAN_STOP_GUEST};
	int pair[2], fds[CHAN_FDS_MAX];
	struct err err;

	make_pair(pair);
	ck_assert_int_eq(chan_send(pair[0], CHAN_STOP, &msg, NULL, 0, &err), 0);
	memset(&msg, 'x', sizeof(msg));
	ck_assert_int_eq(chan_recv(pair[1], &msg, fds, &err), CHAN_GOT);
	ck_assert_uint_eq(msg.stop.how, CHAN_STOP_GUEST);
	for (size_t i = HEAD + sizeof(struct chan_stop); i < sizeof(msg); i++)
		ck_assert_int_eq(((char *)&msg)[i], 0);
}
END_TEST

START_TEST(wrong_length)
{
	const size_t right = HEAD + wire[_i].body;
	char buf[sizeof(struct chan_msg) + 4096] = {0};
	struct chan_msg *msg = (struct chan_msg *)buf;
	const size_t wrong[] = {HEAD, right - 1, right + 1, sizeof(*msg) + 1, sizeof(buf)};
	int pair[2];

	make_pair(pair);
	msg->type = (unsigned)_i;
	msg->version = CHAN_VERSION;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		expect_bad(pair, wire[_i].name, buf, wrong[i], 2, "wrong length");
	for (size_t len = 1; len < HEAD; len++)
		expect_bad(pair, wire[_i].name, buf, len, 1, "too short");
}
END_TEST

/* The longest body is as long as the buffer: only MSG_TRUNC tells that there was more. */
START_TEST(cut_off_by_the_buffer)
{
	char buf[sizeof(struct chan_msg) + 1] = {0};
	struct chan_msg *msg = (struct chan_msg *)buf;
	int pair[2];

	ck_assert_uint_eq(sizeof(*msg), HEAD + wire[CHAN_ASSIGN].body);
	make_pair(pair);
	msg->type = CHAN_ASSIGN;
	msg->version = CHAN_VERSION;
	expect_bad(pair, "one more", buf, sizeof(buf), 0, "wrong length");
}
END_TEST

static const struct {
	const char *what;
	uint32_t type, version;
	size_t nfds;
	const char *text;
} bad_heads[] = {
	{"no type", CHAN_NONE, CHAN_VERSION, 1, "unknown type 0"},
	{"type after the last", CHAN_TYPE_COUNT, CHAN_VERSION, 1, "unknown type"},
	{"largest type", UINT32_MAX, CHAN_VERSION, 4, "unknown type 4294967295"},
	{"version 0", CHAN_PAUSE, 0, 1, "version 0, the oldest that is understood is 1"},
	{"before the oldest version", CHAN_PAUSE, CHAN_VERSION_MIN - 1, 1, "is too old"},
	{"no type of a newer version", CHAN_NONE, CHAN_VERSION + 1, 1, "unknown type 0"},
	{"an older version's type", CHAN_TYPE_COUNT, CHAN_VERSION - 1, 1,
	 CHAN_VERSION > CHAN_VERSION_MIN ? "unknown type" : "is too old"},
	{"one descriptor too many", CHAN_PAUSE, CHAN_VERSION, CHAN_FDS_MAX + 1, "descriptors"},
	{"too many of a newer one", CHAN_PAUSE, CHAN_VERSION + 1, 250, "descriptors"},
	{"many descriptors", CHAN_PAUSE, CHAN_VERSION, 250, "descriptors"},
};

START_TEST(bad_head)
{
	const uint32_t msg[4] = {bad_heads[_i].type, bad_heads[_i].version};
	int pair[2];

	make_pair(pair);
	expect_bad(pair, bad_heads[_i].what, msg, sizeof(msg), bad_heads[_i].nfds,
		   bad_heads[_i].text);
}
END_TEST

/* Our own want is not the other side's fault, and costs one message; too many are its fault. */
START_TEST(no_room_for_descriptors)
{
	int pair[2], fds[CHAN_FDS_MAX], two[2];
	struct chan_msg msg = {0};
	struct rlimit before;
	struct err err;
	int open_before;

	make_pair(pair);
	two[0] = two[1] = make_memfd("x");
	open_before = fds_count(getpid());
	before = harness_limit_fds(_i);
	ck_assert_int_eq(chan_send(pair[1], CHAN_CONNECTED, &msg, two, 2, &err), 0);
	ck_assert_int_eq(chan_send(pair[1], CHAN_GONE, &msg, NULL, 0, &err), 0);
	ck_assert_int_eq(chan_recv(pair[0], &msg, fds, &err), _i < 2 ? CHAN_LOST : CHAN_GOT);
	ck_assert_int_eq(msg.type, CHAN_CONNECTED);
	ck_assert(_i == 2 || strstr(err.msg, "no descriptor is left"));
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (size_t i = 0; _i == 2 && i < 2; i++)
		close_fd(&fds[i]);
	for (size_t i = 0; i < CHAN_FDS_MAX; i++)
		ck_assert_int_eq(fds[i], -1);
	ck_assert_int_eq(fds_count(getpid()), open_before);
	/* What follows is heard. */
	ck_assert_int_eq(chan_recv(pair[0], &msg, fds, &err), CHAN_GOT);
	ck_assert_int_eq(msg.type, CHAN_GONE);
	close(two[0]);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

START_TEST(an_empty_message_is_an_end)
{
	int pair[2], fds[CHAN_FDS_MAX], before;
	struct chan_msg msg;
	struct err err;

	make_pair(pair);
	before = fds_count(getpid());
	send_raw(pair[1], "", 0, 3);
	ck_assert_int_eq(chan_recv(pair[0], &msg, fds, &err), CHAN_CLOSED);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* What was sent before the end is still read; sending is refused and raises no signal. */
START_TEST(closed_peer)
{
	struct chan_msg msg = {0};
	int pair[2], fds[CHAN_FDS_MAX];
	struct err err;

	make_pair(pair);
	ck_assert_int_eq(chan_send(pair[_i], CHAN_GONE, &msg, NULL, 0, &err), 0);
	close(pair[_i]);
	ck_assert_int_eq(chan_recv(pair[1 - _i], &msg, fds, &err), CHAN_GOT);
	ck_assert_int_eq(chan_recv(pair[1 - _i], &msg, fds, &err), CHAN_CLOSED);
	ck_assert_int_eq(fds[0], -1);
	ck_assert_int_eq(chan_send(pair[1 - _i], CHAN_PAUSE, &msg, NULL, 0, &err), -1);
	ck_assert_int_eq(err.code, ERR_UNREADY);
	ck_assert_msg(strstr(err.msg, "PAUSE") && strstr(err.msg, "gone"), "%s", err.msg);
}
END_TEST

/* The kernel says ECONNRESET where something was left unread. */
START_TEST(peer_closed_without_reading)
{
	struct chan_msg msg = {0};
	int pair[2], fds[CHAN_FDS_MAX];
	struct err err;

	make_pair(pair);
	ck_assert_int_eq(chan_send(pair[0], CHAN_PAUSE, &msg, NULL, 0, &err), 0);
	close(pair[1]);
	ck_assert_int_eq(chan_recv(pair[0], &msg, fds, &err), CHAN_CLOSED);
	ck_assert_int_eq(chan_recv(pair[0], &msg, fds, &err), CHAN_CLOSED);
}
END_TEST

/* Neither end ever blocks, and everything that was accepted arrives in order. */
START_TEST(full_queue)
{
	int pair[2], fds[CHAN_FDS_MAX], from, to;
	struct chan_msg msg = {0};
	struct err err;
	uint64_t sent = 0, got = 0;

	make_pair(pair);
	from = pair[_i];
	to = pair[1 - _i];
	for (; sent < SENDS_MAX; sent++) {
		msg.prefetch = (struct chan_prefetch){.rate_bytes_per_s = sent};
		if (chan_send(from, CHAN_PREFETCH, &msg, NULL, 0, &err) < 0)
			break;
	}
	ck_assert_int_eq(err.code, ERR_UNREADY);
	ck_assert_msg(strstr(err.msg, "full") != NULL, "%s", err.msg);
	ck_assert_uint_gt(sent, 16);
	for (; chan_recv(to, &msg, fds, &err) == CHAN_GOT; got++)
		ck_assert_uint_eq(msg.prefetch.rate_bytes_per_s, got);
	ck_assert_uint_eq(got, sent);
	ck_assert_int_eq(chan_send(from, CHAN_PREFETCH, &msg, NULL, 0, &err), 0);
}
END_TEST

START_TEST(not_a_socket)
{
	cleanup_fd int fd = make_memfd("x");
	struct chan_msg msg = {0};
	int fds[CHAN_FDS_MAX];
	struct err err;

	ck_assert_int_eq(chan_send(fd, CHAN_PAUSE, &msg, NULL, 0, &err), -1);
	ck_assert_int_eq(err.sys, ENOTSOCK);
	ck_assert_int_eq(chan_recv(fd, &msg, fds, &err), CHAN_BAD);
	ck_assert_int_eq(err.sys, ENOTSOCK);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("chan");
	TCase *tc = tcase_create("messages");

	tcase_add_test(tc, pair_is_safe_to_own);
	tcase_add_loop_test(tc, names, CHAN_NONE + 1, CHAN_TYPE_COUNT);
	tcase_add_loop_test(tc, round_trip, CHAN_NONE + 1, CHAN_TYPE_COUNT);
	tcase_add_test(tc, nothing_stale_in_the_body);
	suite_add_tcase(suite, tc);

	tc = tcase_create("hostile");
	tcase_add_loop_test(tc, wrong_length, CHAN_NONE + 1, CHAN_TYPE_COUNT);
	tcase_add_test(tc, cut_off_by_the_buffer);
	tcase_add_loop_test(tc, bad_head, 0, ARRAY_LEN(bad_heads));
	tcase_add_loop_test(tc, no_room_for_descriptors, 0, 3);
	tcase_add_test(tc, an_empty_message_is_an_end);
	suite_add_tcase(suite, tc);

	tc = tcase_create("ends");
	tcase_add_loop_test(tc, closed_peer, 0, 2);
	tcase_add_test(tc, peer_closed_without_reading);
	tcase_add_loop_test(tc, full_queue, 0, 2);
	tcase_add_test(tc, not_a_socket);
	suite_add_tcase(suite, tc);
	return suite;
}
