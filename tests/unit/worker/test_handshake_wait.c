/* test_handshake_wait - how a wait for a VMM ends, and what it leaves behind */
#include "worker/handshake_wait.h"

#include "common/sock.h"
#include "tests/support/fds.h"
#include "tests/support/jobkit.h"

#define GOOD "[{\"base_host_virt_addr\":140000000000000,\"size\":8192,\"offset\":4096}]"
#define BAD "[{\"base_host_virt_addr\":140000000000000,\"size\":8192,\"offset\":true}]"

static char *dir; /* of the test case */

/* Unchecked: they run in the runner, so that a failed test leaves nothing behind. */
static void make_dir(void)
{
	dir = harness_tmpdir();
}

static void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
}

/* The VMM's message in one piece; @fd: beside it, or -1. */
static void send_message(int sock, const char *text, int fd)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
						.cmsg_level = SOL_SOCKET,
						.cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	}
	ck_assert_int_eq(sendmsg(sock, &m, 0), (ssize_t)strlen(text));
}

/* Somebody connects, says @text, hands @fd over, and is gone; NULL: says nothing. */
static void visit(struct scene *s, const char *text, int fd)
{
	struct chan_msg msg = {0};
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	if (text)
		send_message(pair[1], text, fd);
	say(s, CHAN_PEER, &msg, pair, 1);
	close(pair[0]);
	close(pair[1]);
}

static void visit_directly(struct scene *s, const char *text, int fd)
{
	struct err err;
	int sock;

	ck_assert_msg(sock_connect(s->job.spec.socket_path, SOCK_STREAM, &sock, &err) == 0, "%s",
		      err.msg);
	send_message(sock, text, fd);
	close(sock);
}

static void open_door(struct scene *s)
{
	struct spec *spec = &s->job.spec;
	struct err err;

	scene_open(s);
	snprintf(spec->socket_path, sizeof(spec->socket_path), "%.80s/vmm-%d", dir, (int)getpid());
	ck_assert_msg(sock_listen(spec->socket_path, SOCK_STREAM, sock_mode(0600),
				  &s->job.listen_fd, &err) == 0,
		      "%s", err.msg);
	spec->peer_uid = getuid();
	s->job.assign.unlink_socket = 1;
	s->job.assign.connect_ms = HARNESS_MS;
	s->job.phase = JOB_LOADING;
}

/* ---- how it ends ---- */

static void stop(struct scene *s)
{
	struct chan_msg msg = {0};

	say(s, CHAN_STOP, &msg, NULL, 0);
}

static void run_out_of_time(struct scene *s)
{
	s->job.assign.connect_ms = 0;
	s->job.spec.connect_timeout_ms = 1234;
}

static void come(struct scene *s)
{
	visit(s, GOOD, s->holder);
}

static void come_badly(struct scene *s)
{
	visit(s, BAD, s->holder);
}

/* With nothing in his hands he is a stranger, whatever he says. */
static void strangers_come(struct scene *s)
{
	visit(s, NULL, -1);
	visit(s, GOOD, -1);
	run_out_of_time(s);
}

static void somebody_elses_come(struct scene *s)
{
	s->job.spec.peer_uid = getuid() + 1;
	visit(s, GOOD, s->holder);
	run_out_of_time(s);
}

static void come_after_strangers(struct scene *s)
{
	visit(s, NULL, -1);
	visit(s, GOOD, s->holder);
}

/* The VMM may come before the next supervisor does. */
static void come_while_it_is_away(struct scene *s)
{
	close_fd(&s->sup);
	visit_directly(s, GOOD, s->holder);
}

static void have_no_descriptors(struct scene *s)
{
	(void)s;
	harness_limit_fds(0);
}

static const struct {
	void (*happens)(struct scene *s);
	enum handshake_end end;
	const char *why;  /* in the error; "": there is none */
	unsigned refused; /* were turned away */
} ends[] = {
	{stop, HANDSHAKE_STOPPED, "", 0},
	{run_out_of_time, HANDSHAKE_NOBODY, "within 1234 ms (connect_timeout)", 0},
	{come, HANDSHAKE_VMM, "", 0},
	{come_badly, HANDSHAKE_BAD_VMM, "offset", 0},
	{strangers_come, HANDSHAKE_NOBODY, "within 1234 ms", 2},
	{somebody_elses_come, HANDSHAKE_NOBODY, "within 1234 ms", 1},
	{come_after_strangers, HANDSHAKE_VMM, "", 1},
	{come_while_it_is_away, HANDSHAKE_VMM, "", 0},
	{have_no_descriptors, HANDSHAKE_NOBODY, "cannot wait for connections", 0},
};

static unsigned count_refused(struct scene *s)
{
	struct chan_msg msg;
	unsigned n = 0;
	size_t nfds;

	while (s->sup >= 0 && hear(s->sup, &msg, &nfds) == CHAN_REFUSED)
		n++;
	return n;
}

START_TEST(test_end)
{
	int before = fds_count(getpid());
	struct peer vmm;
	struct err err = {.msg = ""};
	struct regions regions;
	enum handshake_end end;
	struct scene s;

	open_door(&s);
	ends[_i].happens(&s);
	end = handshake_wait(&s.job, &vmm, &regions, &err);
	ck_assert_msg(end == ends[_i].end, "row %d ends in %d: %s", _i, end, err.msg);
	if (end == HANDSHAKE_NOBODY || end == HANDSHAKE_BAD_VMM)
		ck_assert_msg(strstr(err.msg, ends[_i].why) != NULL, "%s", err.msg);
	ck_assert_ptr_null(s.job.peers);
	ck_assert_msg(access(s.job.spec.socket_path, F_OK) != 0, "the path is not free");
	ck_assert_uint_eq(count_refused(&s), ends[_i].refused);
	if (end == HANDSHAKE_VMM) {
		ck_assert_uint_eq(regions.n, 1);
		ck_assert_uint_eq(regions.v[0].offset, 4096);
	}
	if (end == HANDSHAKE_VMM || end == HANDSHAKE_BAD_VMM) {
		ck_assert_int_ge(vmm.hs.fds[0], 0);
		ck_assert_int_eq(vmm.who.pid, getpid());
		ck_assert_int_ge(vmm.pidfd, 0);
		peer_fini(&vmm);
	}
	scene_close(&s);
	if (ends[_i].happens != have_no_descriptors)
		ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* What is wanted of prefetch may change before there is a guest. */
START_TEST(test_wishes)
{
	struct chan_msg msg = {.prefetch = {PREFETCH_ALL, 1, 77, 88}};
	struct peer vmm;
	struct regions regions;
	struct scene s;
	struct err err;

	open_door(&s);
	say(&s, CHAN_PREFETCH, &msg, NULL, 0);
	msg.prefetch.mode = PREFETCH_COUNT;
	msg.prefetch.rate_bytes_per_s = 1;
	say(&s, CHAN_PREFETCH, &msg, NULL, 0);
	stop(&s);
	ck_assert_int_eq(handshake_wait(&s.job, &vmm, &regions, &err), HANDSHAKE_STOPPED);
	ck_assert_int_eq(s.job.spec.prefetch, PREFETCH_ALL);
	ck_assert(s.job.prefetch_held);
	ck_assert_uint_eq(s.job.spec.rate_bytes_per_s, 77);
	ck_assert_uint_eq(s.job.spec.max_resident_bytes, 88);
	scene_close(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("handshake_wait");
	TCase *t = tcase_create("waiting");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_loop_test(t, test_end, 0, ARRAY_LEN(ends));
	tcase_add_test(t, test_wishes);
	suite_add_tcase(s, t);
	return s;
}
