/* chan over real socket pairs: what comes through, and what must not */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/chan.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define HEAD 8
#define SENDS_MAX 100000

/* The wire, written down a second time. */
static const struct {
	const char *name;
	size_t body;
	struct {
		size_t at, len;
	} text[2]; /* in the body */
} wire[CHAN_TYPE_COUNT] = {
	[CHAN_HELLO] = {"HELLO", 40, {{8, 32}}},
	[CHAN_ASSIGN] = {"ASSIGN", 528, {{0, 64}, {64, 108}}},
	[CHAN_READY] = {"READY", 64},
	[CHAN_REFUSED] = {"REFUSED", 272, {{16, 256}}},
	[CHAN_CONNECTED] = {"CONNECTED", 32},
	[CHAN_PREFETCH] = {"PREFETCH", 24},
	[CHAN_PAUSE] = {"PAUSE", 8},
	[CHAN_RESUME] = {"RESUME", 8},
	[CHAN_PAUSED] = {"PAUSED", 8},
	[CHAN_COMPLETE] = {"COMPLETE", 8},
	[CHAN_NOTE] = {"NOTE", 512, {{0, 32}, {32, 480}}},
	[CHAN_STOP] = {"STOP", 8},
	[CHAN_GONE] = {"GONE", 8},
	[CHAN_RELEASED] = {"RELEASED", 8},
	[CHAN_FAILED] = {"FAILED", 536, {{24, 512}}},
	[CHAN_FILES] = {"FILES", 16},
	[CHAN_REATTACH] = {"REATTACH", 112, {{0, 64}, {72, 32}}},
	[CHAN_LEASE_ASK] = {"LEASE_ASK", 16},
	[CHAN_LEASE_BACK] = {"LEASE_BACK", 8},
	[CHAN_LEASE_GRANT] = {"LEASE_GRANT", 16},
	[CHAN_LEASE_REVOKE] = {"LEASE_REVOKE", 8},
	[CHAN_FORK] = {"FORK", 8},
	[CHAN_FORKED] = {"FORKED", 8},
	[CHAN_WSET_GIVEN] = {"WSET_GIVEN", 8},
	[CHAN_WSET_MADE] = {"WSET_MADE", 8},
	[CHAN_PEER] = {"PEER", 8},
	[CHAN_PRESENCE] = {"PRESENCE", 8},
	[CHAN_CGROUPS] = {"CGROUPS", 16},
	[CHAN_KNOWN] = {"KNOWN", 8},
	[CHAN_PROOF] = {"PROOF", 64},
};

static void make_pair(int fds[2])
{
	struct err err;

	ck_assert_msg(chan_pair(fds, &err) == 0, "%s", err.msg);
}

static int make_memfd(const char *text)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

/* Bytes as a hostile or older peer may send them, with @nfds copies of one descriptor. */
static void send_raw(int sock, const void *buf, size_t len, size_t nfds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 250)];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
	cleanup_fd int fd = make_memfd("raw");

	if (nfds) {
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		CMSG_FIRSTHDR(&hdr)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&hdr)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&hdr)->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		for (size_t i = 0; i < nfds; i++)
			memcpy(CMSG_DATA(CMSG_FIRSTHDR(&hdr)) + i * sizeof(int), &fd, sizeof(fd));
	}
	ck_assert_int_eq(sendmsg(sock, &hdr, 0), (ssize_t)len);
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
		int before = harness_count_fds(getpid());

		memset(&sent, 0xa5, sizeof(sent));
		ck_assert_msg(chan_send(from, (enum chan_type)_i, &sent, sent_fds, nfds, &err) == 0,
			      "%s: %s", name, err.msg);
		memset(&got, 0x5a, sizeof(got));
		ck_assert_msg(chan_recv(to, &got, fds, &err) == CHAN_GOT, "%s: %s", name, err.msg);
		ck_assert_uint_eq(got.type, (unsigned)_i);
		ck_assert_uint_eq(got.version, CHAN_VERSION);
		for (int t = 0; t < 2; t++)
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
		ck_assert_int_eq(harness_count_fds(getpid()), before);
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

static void expect_bad(int pair[2], const char *what, const void *buf, size_t len, size_t nfds,
		       const char *text)
{
	int fds[CHAN_FDS_MAX], before = harness_count_fds(getpid());
	struct chan_msg msg;
	struct err err = {0};

	send_raw(pair[1], buf, len, nfds);
	ck_assert_msg(chan_recv(pair[0], &msg, fds, &err) == CHAN_BAD, "%s: taken", what);
	ck_assert_msg(err.code == ERR_PEER, "%s: code %d", what, err.code);
	ck_assert_msg(strstr(err.msg, text) != NULL, "%s: \"%s\"", what, err.msg);
	for (int i = 0; i < CHAN_FDS_MAX; i++)
		ck_assert_msg(fds[i] == -1, "%s: descriptor kept", what);
	ck_assert_msg(harness_count_fds(getpid()) == before, "%s: descriptor leaked", what);
	ck_assert_int_eq(chan_recv(pair[0], &msg, fds, &err), CHAN_AGAIN);
}

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

	ck_assert_uint_eq(sizeof(*msg), HEAD + wire[CHAN_FAILED].body);
	make_pair(pair);
	msg->type = CHAN_FAILED;
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

/* How long a message of another release may be, beside what we know of it. */
enum { BODYLESS = -1000 };
static const struct version_rule {
	const char *what;
	int version; /* beside ours */
	int more;    /* bytes; BODYLESS: the head alone */
	bool taken;
} version_rules[] = {
	{"newer, as long", 1, 0, true},
	{"newer, a little longer", 1, 4, true},
	{"newer, longer than any of ours", 1, 4096, true},
	{"much newer, longer", 1000, 16, true},
	{"newer, shorter", 1, -1, false},
	{"newer, no body", 1, BODYLESS, false},
	{"older, as long", -1, 0, true},
	{"older, a little shorter", -1, -4, true},
	{"older, no body", -1, BODYLESS, true},
	{"older, longer", -1, 1, false},
	{"older, longer than any of ours", -1, 4096, false},
};

/* What is known of it came through, and nothing else is in the message. */
static void check_other_release(const struct chan_msg *got, enum chan_type type, size_t len,
				const char *what)
{
	const size_t known = min_u64(len, HEAD + wire[type].body);
	char want[sizeof(*got)] = {0};

	memset(want + HEAD, 'n', known - HEAD);
	for (int t = 0; t < 2; t++)
		if (wire[type].text[t].len)
			want[HEAD + wire[type].text[t].at + wire[type].text[t].len - 1] = '\0';
	ck_assert_msg(memcmp((const char *)got + HEAD, want + HEAD, sizeof(want) - HEAD) == 0,
		      "%s %s: bytes", wire[type].name, what);
}

static void try_rule(int pair[2], enum chan_type type, const struct version_rule *r)
{
	char buf[sizeof(struct chan_msg) + 8192];
	struct chan_msg *msg = (struct chan_msg *)buf, got;
	size_t len = r->more == BODYLESS ? HEAD : HEAD + wire[type].body + (size_t)r->more;
	int fds[CHAN_FDS_MAX];
	struct err err;

	memset(buf, 'n', sizeof(buf));
	msg->type = type;
	msg->version = (uint32_t)(CHAN_VERSION + r->version);
	if (!r->taken) {
		expect_bad(pair, r->what, buf, len, 2, "wrong length");
		return;
	}
	send_raw(pair[1], buf, len, 1);
	ck_assert_msg(chan_recv(pair[0], &got, fds, &err) == CHAN_GOT, "%s %s: %s", wire[type].name,
		      r->what, err.msg);
	ck_assert_uint_eq(got.type, type);
	ck_assert_uint_eq(got.version, msg->version);
	check_other_release(&got, type, len, r->what);
	ck_assert_msg(fds[0] >= 0 && fds[1] == -1, "%s: descriptors", r->what);
	close(fds[0]);
}

/* This is built a second time as the next release, so that there is an older one. */
START_TEST(other_releases)
{
	size_t tried = 0;
	int pair[2];

	make_pair(pair);
	for (size_t i = 0; i < ARRAY_LEN(version_rules); i++)
		if (CHAN_VERSION + version_rules[i].version >= CHAN_VERSION_MIN) {
			try_rule(pair, (enum chan_type)_i, &version_rules[i]);
			tried++;
		}
	ck_assert_uint_ge(tried, CHAN_VERSION > CHAN_VERSION_MIN ? 11 : 6);
}
END_TEST

/* Types that only a newer release knows: of any length, with or without descriptors. */
START_TEST(types_of_the_future)
{
	static const uint32_t types[] = {CHAN_TYPE_COUNT, CHAN_TYPE_COUNT + 1, UINT32_MAX};
	static const size_t lengths[] = {HEAD, HEAD + 1, sizeof(struct chan_msg),
					 sizeof(struct chan_msg) + 4096};
	static const size_t counts[] = {0, 1, CHAN_FDS_MAX, CHAN_FDS_MAX + 1, 250};
	char buf[sizeof(struct chan_msg) + 4096];
	struct chan_msg *msg = (struct chan_msg *)buf, known = {0}, got;
	int pair[2], fds[CHAN_FDS_MAX], before;
	struct err err;

	make_pair(pair);
	before = harness_count_fds(getpid());
	memset(buf, 'n', sizeof(buf));
	msg->version = CHAN_VERSION + 1 + (uint32_t)_i;
	for (size_t t = 0; t < ARRAY_LEN(types); t++)
		for (size_t l = 0; l < ARRAY_LEN(lengths); l++)
			for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
				struct chan_msg want;

				memset(&want, 0, sizeof(want));
				want.version = msg->version;
				msg->type = types[t];
				send_raw(pair[1], buf, lengths[l], counts[c]);
				ck_assert_msg(chan_recv(pair[0], &got, fds, &err) == CHAN_GOT, "%s",
					      err.msg);
				ck_assert_mem_eq(&got, &want, sizeof(got));
				for (int i = 0; i < CHAN_FDS_MAX; i++)
					ck_assert_int_eq(fds[i], -1);
			}
	ck_assert_int_eq(harness_count_fds(getpid()), before);
	/* What follows is heard. */
	ck_assert_int_eq(chan_send(pair[1], CHAN_PAUSED, &known, NULL, 0, &err), 0);
	ck_assert_int_eq(chan_recv(pair[0], &got, fds, &err), CHAN_GOT);
	ck_assert_uint_eq(got.type, CHAN_PAUSED);
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
	open_before = harness_count_fds(getpid());
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
	ck_assert_int_eq(harness_count_fds(getpid()), open_before);
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
	before = harness_count_fds(getpid());
	send_raw(pair[1], "", 0, 3);
	ck_assert_int_eq(chan_recv(pair[0], &msg, fds, &err), CHAN_CLOSED);
	ck_assert_int_eq(harness_count_fds(getpid()), before);
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
	tcase_add_loop_test(tc, other_releases, CHAN_NONE + 1, CHAN_TYPE_COUNT);
	tcase_add_loop_test(tc, types_of_the_future, 0, 2);
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
