/* test_acceptor - who is let in at a UFFD socket, passed on, kept and let go */
#include "daemon/acceptor.h"

#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "common/pagemap.h"
#include "common/proc.h"
#include "common/sock.h"
#include "daemon/timer.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define CROWD 20 /* more than are kept */
#define BURST 32 /* so many at once, then one each time */
#define EVERY_US 10000

static char *dir, *path; /* owned; of the socket */
static struct event_base *base;
static struct acceptor a;
/* What the restore answers, and whom it was given. */
static struct {
	bool full, deaf;
	unsigned asked, sent;
	uint64_t last;
} told;

static bool send_peer(void *arg, int sock)
{
	ck_assert_ptr_eq(arg, &a);
	told.asked++;
	if (told.deaf)
		return false;
	told.sent++;
	told.last = sock_cookie(sock);
	return true;
}

static bool has_room(void *arg)
{
	ck_assert_ptr_eq(arg, &a);
	told.asked++;
	return !told.full;
}

static const struct acceptor_hooks hooks = {send_peer, has_room};

static int listen_at(const char *where)
{
	struct err err = {.msg = ""};
	int fd;

	ck_assert_msg(sock_listen(where, SOCK_STREAM, sock_mode(0600), &fd, &err) == 0, "%s",
		      err.msg);
	return fd;
}

static void open_at(size_t awaited, bool waits)
{
	int fd = listen_at(path);

	acceptor_open(&a, &fd, awaited, waits);
	ck_assert_int_eq(fd, -1);
}

static void begin(void)
{
	memset(&told, 0, sizeof(told));
	dir = harness_tmpdir();
	ck_assert_int_gt(asprintf(&path, "%s/s", dir), 0);
	base = timer_base_new();
	acceptor_init(&a, base, &hooks, &a);
}

static void end(void)
{
	acceptor_close(&a);
	event_base_free(base);
	harness_rmtree(dir);
	free(path);
	free(dir);
}

static int come(void)
{
	struct err err = {.msg = ""};
	int fd;

	ck_assert_msg(sock_connect(path, SOCK_STREAM, &fd, &err) == 0, "%s", err.msg);
	return fd;
}

/* What the loop does without waiting. */
static void turn(void)
{
	for (int i = 0; i < 2 * CROWD; i++)
		event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}

static bool has_sent(void *arg)
{
	const unsigned *n = arg;

	event_base_loop(base, EVLOOP_NONBLOCK);
	return told.sent == *n;
}

static void await_sent(unsigned n)
{
	ck_assert_msg(harness_wait(has_sent, &n, HARNESS_MS), "%u were passed on, not %u",
		      told.sent, n);
}

static bool is_closed(int peer)
{
	char c;

	return recv(peer, &c, 1, MSG_DONTWAIT) == 0;
}

/* ---- those who come ---- */

/* Its message stays unread: a successor finds it. */
START_TEST(test_comes)
{
	char text[3] = "";
	int peer;

	open_at(0, true);
	peer = come();
	ck_assert_int_eq(write(peer, "hi", 2), 2);
	await_sent(1);
	ck_assert_uint_eq(a.n, 1);
	ck_assert_uint_eq(told.last, sock_cookie(a.peers[0].sock));
	ck_assert(a.peers[0].told && a.peers[0].ours);
	ck_assert_int_ne(fcntl(a.peers[0].sock, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(recv(a.peers[0].sock, text, 2, 0), 2);
	ck_assert_str_eq(text, "hi");
	close(peer);
}
END_TEST

/* While the worker's queue is full, nobody is lost, and nobody is told twice. */
START_TEST(test_worker_is_deaf)
{
	int peers[2];

	open_at(0, true);
	told.deaf = true;
	for (int i = 0; i < 2; i++)
		peers[i] = come();
	turn();
	ck_assert_uint_eq(told.sent, 0);
	ck_assert_uint_ge(a.n, 1);
	told.deaf = false;
	await_sent(2);
	turn();
	ck_assert_uint_eq(told.sent, 2);
	close(peers[0]);
	close(peers[1]);
}
END_TEST

START_TEST(test_no_room)
{
	int peer;

	open_at(0, true);
	told.full = true;
	peer = come();
	turn();
	ck_assert_uint_ge(told.asked, 1);
	ck_assert_uint_eq(a.n, 0);
	told.full = false;
	await_sent(1);
	close(peer);
}
END_TEST

/* Further ones wait, until one of those who are kept is turned away. */
START_TEST(test_crowd)
{
	int crowd[CROWD];

	open_at(0, true);
	for (int i = 0; i < CROWD; i++)
		crowd[i] = come();
	await_sent(CHAN_PEERS_MAX);
	turn();
	ck_assert_uint_eq(told.sent, CHAN_PEERS_MAX);
	/* Nobody's: nothing changes. */
	acceptor_drop(&a, sock_cookie(crowd[0]));
	ck_assert_uint_eq(a.n, CHAN_PEERS_MAX);
	acceptor_drop(&a, sock_cookie(a.peers[0].sock));
	ck_assert_uint_eq(a.n, CHAN_PEERS_MAX - 1);
	ck_assert(is_closed(crowd[0]));
	await_sent(CHAN_PEERS_MAX + 1);
	ck_assert_uint_eq(a.n, CHAN_PEERS_MAX);
	for (int i = 0; i < CROWD; i++)
		close(crowd[i]);
}
END_TEST

/* Who comes again and again is let in, but not as often as he likes. */
START_TEST(test_pace)
{
	const unsigned more = 8;
	uint64_t since = now_us();

	open_at(0, true);
	for (unsigned i = 1; i <= BURST + more; i++) {
		int peer = come();

		await_sent(i);
		acceptor_drop(&a, told.last);
		close(peer);
	}
	ck_assert_uint_ge(now_us() - since, more * EVERY_US);
}
END_TEST

/* ---- after a worker came back, and before one is lost ---- */

/* Room is kept for those that it has announced, whether they are there or not. */
START_TEST(test_awaited)
{
	int peer, gone = -1, pair[2];

	open_at(CHAN_PEERS_MAX + 4, true);
	ck_assert_uint_eq(a.awaited, CHAN_PEERS_MAX);
	peer = come();
	turn();
	ck_assert_uint_eq(told.sent, 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	acceptor_keep(&a, &pair[0], NULL);
	ck_assert_int_eq(pair[0], -1);
	ck_assert_uint_eq(a.n, 1);
	ck_assert_uint_eq(a.awaited, CHAN_PEERS_MAX - 1);
	ck_assert(a.peers[0].told && !a.peers[0].ours);
	turn();
	ck_assert_uint_eq(told.sent, 0);
	acceptor_keep(&a, &gone, NULL);
	await_sent(1);
	ck_assert_uint_eq(a.n, 2);
	close(peer);
	close(pair[1]);
}
END_TEST

/* More than are kept, or where nobody is awaited: it stays the caller's. */
START_TEST(test_keeps_no_more)
{
	int pairs[CHAN_PEERS_MAX + 1][2];

	open_at(0, _i);
	for (int i = 0; i <= CHAN_PEERS_MAX; i++) {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]), 0);
		acceptor_keep(&a, &pairs[i][0], NULL);
	}
	ck_assert_uint_eq(a.n, _i ? CHAN_PEERS_MAX : 0);
	ck_assert_int_ge(pairs[CHAN_PEERS_MAX][0], 0);
	ck_assert_int_eq(pairs[0][0] < 0, _i);
}
END_TEST

/* A worker that will come back brings all that it has; the others are still to be told. */
START_TEST(test_forget_sent)
{
	int peers[2];

	open_at(0, true);
	peers[0] = come();
	await_sent(1);
	told.deaf = true;
	peers[1] = come();
	turn();
	ck_assert_uint_eq(a.n, 2);
	acceptor_forget_sent(&a);
	ck_assert_uint_eq(a.n, 1);
	ck_assert(!a.peers[0].told);
	ck_assert(is_closed(peers[0]) && !is_closed(peers[1]));
	close(peers[0]);
	close(peers[1]);
}
END_TEST

/* A new worker knows nobody, and announces nobody. */
START_TEST(test_hand_over)
{
	int peer;

	open_at(3, true);
	peer = come();
	await_sent(1);
	acceptor_hand_over(&a);
	ck_assert_uint_eq(told.sent, 2);
	ck_assert_uint_eq(told.last, sock_cookie(a.peers[0].sock));
	ck_assert_uint_eq(a.awaited, 0);
	close(peer);
}
END_TEST

/* ---- who it is ---- */

START_TEST(test_has_peer)
{
	int peer;

	open_at(0, true);
	ck_assert(!acceptor_has_peer(&a, getpid(), geteuid()));
	peer = come();
	await_sent(1);
	ck_assert(acceptor_has_peer(&a, getpid(), geteuid()));
	ck_assert(!acceptor_has_peer(&a, getpid() + 1, geteuid()));
	ck_assert(!acceptor_has_peer(&a, getpid(), geteuid() + 1));
	close(peer);
}
END_TEST

/* By a worker's word: only what our own socket has accepted has come to us. */
START_TEST(test_kept_is_ours)
{
	const struct {
		const char *own, *at;
		bool ours;
	} rows[] = {{path, path, true}, {NULL, path, false}, {"/x", path, false}};
	int fd = listen_at(path), peer = come(), sock = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	acceptor_open(&a, &fd, 1, true);
	acceptor_keep(&a, &sock, rows[_i].own);
	ck_assert_uint_eq(a.n, 1);
	ck_assert_int_eq(a.peers[0].ours, rows[_i].ours);
	ck_assert_int_eq(acceptor_has_peer(&a, getpid(), geteuid()), rows[_i].ours);
	close(peer);
}
END_TEST

/* The VMM of the page map, of whom its worker could not tell any more. */
START_TEST(test_find)
{
	struct pagemap_view view = {0};
	int peer, pidfd, uffd;
	uid_t uid = geteuid();

	open_at(0, true);
	peer = come();
	await_sent(1);
	view.head.vmm_pid = (uint32_t)getpid() + 1;
	ck_assert(!acceptor_find(&a, uid, -1, &view, &pidfd, &uffd));
	view.head.vmm_pid = (uint32_t)getpid();
	ck_assert(!acceptor_find(&a, uid + 1, -1, &view, &pidfd, &uffd));
	ck_assert_int_eq(pidfd, -1);
	ck_assert(acceptor_find(&a, uid, -1, &view, &pidfd, &uffd));
	ck_assert(pidfd >= 0 && !proc_ended(pidfd));
	/* It has sent none. */
	ck_assert_int_eq(uffd, -1);
	close(pidfd);
	close(peer);
}
END_TEST

/* ---- the socket ---- */

START_TEST(test_listens)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), unix_fd = listen_at(path),
	    pair[2];
	int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(bind(tcp, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(tcp, 1), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert(!acceptor_listens(tcp) && !acceptor_listens(file) && !acceptor_listens(pair[0]) &&
		  !acceptor_listens(-1));
	ck_assert_int_eq(fcntl(unix_fd, F_SETFL, 0), 0);
	ck_assert(acceptor_listens(unix_fd));
	ck_assert_int_ne(fcntl(unix_fd, F_GETFL) & O_NONBLOCK, 0);
	close(tcp);
	close(unix_fd);
	close(file);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

/* What is no socket does not take the place of the one that is there. */
START_TEST(test_open_again)
{
	int none = open("/dev/null", O_RDONLY | O_CLOEXEC), peer, kept = none;

	open_at(0, false);
	peer = come();
	turn();
	ck_assert_uint_eq(told.sent, 0);
	acceptor_open(&a, &none, 0, true);
	ck_assert_int_eq(none, kept);
	await_sent(1);
	close(none);
	close(peer);
}
END_TEST

START_TEST(test_close)
{
	int peer, fd;
	struct err err;

	open_at(1, true);
	peer = come();
	await_sent(1);
	fd = a.fd;
	for (int i = 0; i < 2; i++)
		acceptor_close(&a);
	ck_assert(is_closed(peer));
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	ck_assert(a.n == 0 && a.awaited == 0 && a.fd == -1);
	ck_assert_int_eq(sock_connect(path, SOCK_STREAM, &fd, &err), -1);
	ck_assert_int_eq(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 0);
	close(peer);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("acceptor");
	TCase *tc = tcase_create("acceptor");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_comes);
	tcase_add_test(tc, test_worker_is_deaf);
	tcase_add_test(tc, test_no_room);
	tcase_add_test(tc, test_crowd);
	tcase_add_test(tc, test_pace);
	tcase_add_test(tc, test_awaited);
	tcase_add_loop_test(tc, test_keeps_no_more, 0, 2);
	tcase_add_test(tc, test_forget_sent);
	tcase_add_test(tc, test_hand_over);
	tcase_add_test(tc, test_has_peer);
	tcase_add_loop_test(tc, test_kept_is_ours, 0, 3);
	tcase_add_test(tc, test_find);
	tcase_add_test(tc, test_listens);
	tcase_add_test(tc, test_open_again);
	tcase_add_test(tc, test_close);
	suite_add_tcase(suite, tc);
	return suite;
}
