/* test_peers - who connects while a VMM is waited for: how many, in which order, who is the VMM */
#include "worker/peers.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/proc.h"
#include "tests/support/fds.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"
#include "tests/support/vmmside.h"

#define GOOD "[{\"base_host_virt_addr\":140000000000000,\"size\":8192,\"offset\":4096}]"
#define BAD "[{\"base_host_virt_addr\":140000000000000,\"size\":8192,\"offset\":true}]"
#define BEGIN ((uint64_t)1000 * 1000)
#define STRANGER 65534 /* uid */

static char *dir; /* of the test case */

/* Unchecked: they run in the runner, so that a failed test leaves nothing behind. */
static void make_dir(void)
{
	dir = harness_tmpdir();
	ck_assert_int_eq(chmod(dir, 0755), 0);
}

static void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
}

struct wait {
	struct peers l;
	char path[PROTO_SUN_MAX + 1];
	int fd;          /* what a VMM passes */
	unsigned nturns; /* away */
	uint64_t cookie; /* of the last one, … */
	char why[256];   /* … and why */
};

static void turned_away(void *arg, const struct peer *p, const char *why)
{
	struct wait *w = arg;

	w->nturns++;
	w->cookie = p->cookie;
	snprintf(w->why, sizeof(w->why), "%s", why);
}

static void wait_begin(struct wait *w)
{
	struct err err;
	int fd;

	memset(w, 0, sizeof(*w));
	snprintf(w->path, sizeof(w->path), "%.80s/vmm-%d", dir, (int)getpid());
	w->fd = memfd_create("passed", MFD_CLOEXEC);
	ck_assert_msg(sock_listen(w->path, SOCK_STREAM, sock_mode(0666), &fd, &err) == 0, "%s",
		      err.msg);
	ck_assert_int_eq(peers_init(&w->l, fd, getuid(), 0, &err), 0);
	w->l.refused = turned_away;
	w->l.arg = w;
}

static void wait_end(struct wait *w)
{
	peers_fini(&w->l);
	peers_fini(&w->l);
	close_fd(&w->fd);
}

static void say(const struct wait *w, int sock, const char *text, bool passes)
{
	struct err err;

	ck_assert_msg(handshake_send(sock, text, &w->fd, passes, &err) == 0, "%s", err.msg);
}

static int connect_to(const struct wait *w)
{
	struct err err;
	int sock;

	ck_assert_msg(sock_connect(w->path, SOCK_STREAM, &sock, &err) == 0, "%s", err.msg);
	return sock;
}

/* A connection of this process, as the supervisor passes it on; returns the peer's end. */
static int come(struct wait *w)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	peers_add(&w->l, pair[0], BEGIN);
	return pair[1];
}

static size_t count(const struct wait *w)
{
	size_t n = 0;

	for (size_t i = 0; i < CHAN_PEERS_MAX; i++)
		n += w->l.peers[i].hs.sock >= 0;
	return n;
}

static bool has_news(const struct wait *w)
{
	struct pollfd p[PEERS_POLL_MAX];
	size_t n = peers_poll(&w->l, p);

	return poll(p, n, 0) > 0;
}

#define ck_step(w, now, want)                                                             \
	do {                                                                              \
		struct regions regions_;                                                  \
		struct peer vmm_ = {.hs.sock = -1, .pidfd = -1};                          \
		struct err err_ = {.msg = ""};                                            \
		enum peers_step got_ = peers_step(&(w)->l, now, &vmm_, &regions_, &err_); \
		ck_assert_msg(got_ == (want), "%d: %s", got_, err_.msg);                  \
		peer_fini(&vmm_);                                                         \
	} while (0)

/* ---- the VMM ---- */

/* The one that passes a descriptor, wherever it stands; the others stay. */
START_TEST(test_vmm)
{
	struct peer vmm;
	struct regions regions;
	struct wait w;
	struct err err;
	int socks[3], unread, before = fds_count(getpid());
	uint64_t cookie;

	wait_begin(&w);
	for (size_t i = 0; i < ARRAY_LEN(socks); i++)
		socks[i] = come(&w);
	cookie = w.l.peers[1].cookie;
	ck_step(&w, BEGIN, PEERS_WAIT);
	say(&w, socks[1], GOOD, true);
	ck_assert_int_eq(peers_step(&w.l, BEGIN, &vmm, &regions, &err), PEERS_VMM);
	ck_assert_uint_eq(vmm.cookie, cookie);
	ck_assert_int_eq(vmm.who.pid, getpid());
	ck_assert_uint_eq(vmm.who.uid, getuid());
	ck_assert_int_ge(vmm.pidfd, 0);
	ck_assert_int_ge(vmm.hs.fds[0], 0);
	ck_assert_uint_eq(regions.n, 1);
	ck_assert_uint_eq(regions.v[0].offset, 4096);
	ck_assert_uint_eq(count(&w), 2);
	ck_assert_int_eq(w.l.peers[1].hs.sock, -1);
	ck_assert_uint_eq(w.nturns, 0);
	/* Unread, so that a successor could begin again. */
	ck_assert_int_eq(ioctl(vmm.hs.sock, FIONREAD, &unread), 0);
	ck_assert_int_eq(unread, (int)strlen(GOOD));
	peer_fini(&vmm);
	wait_end(&w);
	for (size_t i = 0; i < ARRAY_LEN(socks); i++)
		close(socks[i]);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* Of two, the one that came first; the other one remains. */
START_TEST(test_two)
{
	struct wait w;
	int first, second;

	wait_begin(&w);
	first = come(&w);
	second = come(&w);
	say(&w, second, BAD, true);
	say(&w, first, GOOD, true);
	ck_step(&w, BEGIN, PEERS_VMM);
	ck_assert_uint_eq(count(&w), 1);
	ck_step(&w, BEGIN, PEERS_BAD);
	ck_assert_uint_eq(count(&w), 0);
	close(first);
	close(second);
	wait_end(&w);
}
END_TEST

/* In two pieces: only an edge tells that there is more. */
START_TEST(test_pieces)
{
	struct wait w;
	int sock;

	wait_begin(&w);
	sock = come(&w);
	say(&w, sock, "[", true);
	ck_assert(has_news(&w));
	ck_step(&w, BEGIN, PEERS_WAIT);
	ck_assert(!has_news(&w));
	say(&w, sock, &GOOD[1], false);
	ck_assert(has_news(&w));
	ck_step(&w, BEGIN, PEERS_VMM);
	close(sock);
	wait_end(&w);
}
END_TEST

/* It ended, or the process that connected for it: it is a VMM all the same. */
START_TEST(test_vmm_whose_peer_is_gone)
{
	struct peer vmm;
	struct regions regions;
	struct wait w;
	struct err err;
	pid_t pid;

	wait_begin(&w);
	w.l.accepts = true;
	pid = fork();
	if (pid == 0) {
		say(&w, connect_to(&w), GOOD, true);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(peers_step(&w.l, BEGIN, &vmm, &regions, &err), PEERS_VMM);
	ck_assert_int_eq(vmm.who.pid, pid);
	/* The kernel may know it still (since 6.16). */
	ck_assert(vmm.pidfd < 0 || proc_ended(vmm.pidfd));
	peer_fini(&vmm);
	wait_end(&w);
}
END_TEST

/* ---- who is turned away ---- */

enum deed { SAYS_NOTHING, SAYS_ALL, SAYS_PART, SAYS_BAD };

static const struct {
	enum deed deed;
	bool passes, leaves, late;
	enum peers_step step;
	const char *why; /* turned away; NULL: it is not */
} peers[] = {
	{SAYS_NOTHING, false, false, false, PEERS_WAIT, NULL},
	{SAYS_NOTHING, false, true, false, PEERS_WAIT, "connected and left without a message"},
	{SAYS_NOTHING, false, false, true, PEERS_WAIT, "not complete after 30 s"},
	{SAYS_ALL, true, false, false, PEERS_VMM, NULL},
	{SAYS_ALL, true, true, false, PEERS_VMM, NULL},
	{SAYS_ALL, true, false, true, PEERS_VMM, NULL},
	{SAYS_ALL, false, false, false, PEERS_WAIT, "descriptor"},
	{SAYS_PART, true, false, false, PEERS_WAIT, NULL},
	{SAYS_PART, true, false, true, PEERS_BAD, NULL},
	{SAYS_PART, true, true, false, PEERS_BAD, NULL},
	{SAYS_PART, false, false, true, PEERS_WAIT, ""},
	{SAYS_BAD, true, false, false, PEERS_BAD, NULL},
	{SAYS_BAD, false, false, false, PEERS_WAIT, "offset"},
};

/* With a descriptor it is the VMM, whatever it does. */
START_TEST(test_peer)
{
	static const char *const texts[] = {NULL, GOOD, "[{\"base_host", BAD};
	const bool stays = peers[_i].step == PEERS_WAIT && !peers[_i].why;
	struct wait w;
	uint64_t cookie;
	int sock;

	wait_begin(&w);
	sock = come(&w);
	cookie = w.l.peers[0].cookie;
	ck_assert_uint_ne(cookie, 0);
	if (texts[peers[_i].deed])
		say(&w, sock, texts[peers[_i].deed], peers[_i].passes);
	if (peers[_i].leaves)
		close(sock);
	ck_step(&w, BEGIN + (peers[_i].late ? PEERS_PEER_US : PEERS_PEER_US - 1), peers[_i].step);
	ck_assert_uint_eq(w.nturns, peers[_i].why ? 1 : 0);
	if (peers[_i].why) {
		ck_assert_msg(strstr(w.why, peers[_i].why) != NULL, "%s", w.why);
		ck_assert_uint_eq(w.cookie, cookie);
	}
	ck_assert_uint_eq(count(&w), stays ? 1 : 0);
	if (!peers[_i].leaves)
		close(sock);
	wait_end(&w);
}
END_TEST

/* At once, before a word of it is read. */
START_TEST(test_other_uid)
{
	struct wait w;
	int status;
	pid_t pid;

	wait_begin(&w);
	if (geteuid() == 0) {
		pid = fork();
		if (pid == 0) {
			if (setresuid(STRANGER, STRANGER, STRANGER))
				_exit(1);
			say(&w, connect_to(&w), GOOD, true);
			_exit(0);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
	} else {
		w.l.peer_uid = STRANGER;
		say(&w, connect_to(&w), GOOD, true);
	}
	w.l.accepts = true;
	ck_step(&w, BEGIN, PEERS_WAIT);
	ck_assert_uint_eq(w.nturns, 1);
	ck_assert_msg(strstr(w.why, "is not the restore's peer.uid"), "%s", w.why);
	ck_assert_uint_eq(count(&w), 0);
	wait_end(&w);
}
END_TEST

/* Another process of the right user is turned away, and the right one still gets in. */
START_TEST(test_other_pid)
{
	struct wait w;
	int other, right;

	wait_begin(&w);
	w.l.peer_pid = getpid() + 1;
	w.l.accepts = true;
	other = connect_to(&w);
	say(&w, other, GOOD, true);
	ck_step(&w, BEGIN, PEERS_WAIT);
	ck_assert_uint_eq(w.nturns, 1);
	ck_assert_msg(strstr(w.why, "is not the restore's peer.pid"), "%s", w.why);
	ck_assert_uint_eq(count(&w), 0);
	w.l.peer_pid = getpid();
	right = connect_to(&w);
	say(&w, right, GOOD, true);
	ck_step(&w, BEGIN, PEERS_VMM);
	ck_assert_uint_eq(w.nturns, 1);
	close(other);
	close(right);
	wait_end(&w);
}
END_TEST

/* Its connection lives on in the supervisor's duplicate, and is no news any more. */
START_TEST(test_duplicate)
{
	int pair[2], kept;
	struct wait w;

	wait_begin(&w);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	kept = fcntl(pair[0], F_DUPFD_CLOEXEC, 0);
	peers_add(&w.l, pair[0], BEGIN);
	say(&w, pair[1], BAD, false);
	ck_step(&w, BEGIN, PEERS_WAIT);
	ck_assert_uint_eq(w.nturns, 1);
	say(&w, pair[1], "more", false);
	ck_assert(!has_news(&w));
	close(pair[1]);
	ck_assert(!has_news(&w));
	close(kept);
	wait_end(&w);
}
END_TEST

/* ---- how many ---- */

/* One too many is closed; who was turned away makes room. */
START_TEST(test_bound)
{
	int socks[CHAN_PEERS_MAX], more, before;
	struct wait w;

	wait_begin(&w);
	for (size_t i = 0; i < CHAN_PEERS_MAX; i++)
		socks[i] = come(&w);
	ck_assert_uint_eq(count(&w), CHAN_PEERS_MAX);
	before = fds_count(getpid());
	more = come(&w);
	ck_assert_int_eq(fds_count(getpid()), before + 1);
	ck_assert_int_eq(read(more, (char[1]){0}, 1), 0);
	close(more);
	ck_assert_uint_eq(w.nturns, 0);
	close(socks[7]);
	ck_step(&w, BEGIN, PEERS_WAIT);
	ck_assert_uint_eq(count(&w), CHAN_PEERS_MAX - 1);
	socks[7] = come(&w);
	ck_assert_int_ge(w.l.peers[7].hs.sock, 0);
	say(&w, socks[7], GOOD, true);
	ck_step(&w, BEGIN, PEERS_VMM);
	for (size_t i = 0; i < CHAN_PEERS_MAX; i++)
		close(socks[i]);
	wait_end(&w);
}
END_TEST

/* Without a supervisor they are accepted here; too many wait in the backlog, and are not lost. */
START_TEST(test_accepts)
{
	int socks[CHAN_PEERS_MAX + 1];
	struct pollfd p[PEERS_POLL_MAX];
	struct wait w;

	wait_begin(&w);
	socks[0] = connect_to(&w);
	ck_assert_uint_eq(peers_poll(&w.l, p), 1);
	ck_step(&w, BEGIN, PEERS_WAIT);
	ck_assert_msg(count(&w) == 0, "it is the supervisor who accepts");
	w.l.accepts = true;
	ck_assert_uint_eq(peers_poll(&w.l, p), 2);
	ck_assert(has_news(&w));
	for (size_t i = 1; i < ARRAY_LEN(socks); i++)
		socks[i] = connect_to(&w);
	say(&w, socks[CHAN_PEERS_MAX], GOOD, true);
	ck_step(&w, BEGIN, PEERS_WAIT);
	ck_assert_uint_eq(count(&w), CHAN_PEERS_MAX);
	ck_assert_msg(peers_poll(&w.l, p) == 1, "there is no room for another");
	close(socks[3]);
	ck_step(&w, BEGIN, PEERS_WAIT);
	ck_assert_uint_eq(peers_poll(&w.l, p), 2);
	ck_step(&w, BEGIN, PEERS_VMM);
	for (size_t i = 0; i < ARRAY_LEN(socks); i++)
		if (i != 3)
			close(socks[i]);
	wait_end(&w);
}
END_TEST

START_TEST(test_deadline)
{
	int pair[2], first;
	struct wait w;

	wait_begin(&w);
	ck_assert_uint_eq(peers_deadline_us(&w.l), UINT64_MAX);
	first = come(&w);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	peers_add(&w.l, pair[0], BEGIN + 5);
	ck_assert_uint_eq(peers_deadline_us(&w.l), BEGIN + PEERS_PEER_US);
	close(first);
	ck_step(&w, BEGIN, PEERS_WAIT);
	ck_assert_uint_eq(peers_deadline_us(&w.l), BEGIN + 5 + PEERS_PEER_US);
	ck_step(&w, BEGIN + 5 + PEERS_PEER_US, PEERS_WAIT);
	ck_assert_uint_eq(peers_deadline_us(&w.l), UINT64_MAX);
	close(pair[1]);
	wait_end(&w);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("peers");
	TCase *t = tcase_create("peers");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_test(t, test_vmm);
	tcase_add_test(t, test_two);
	tcase_add_test(t, test_pieces);
	tcase_add_test(t, test_vmm_whose_peer_is_gone);
	tcase_add_loop_test(t, test_peer, 0, ARRAY_LEN(peers));
	tcase_add_test(t, test_other_uid);
	tcase_add_test(t, test_other_pid);
	tcase_add_test(t, test_duplicate);
	tcase_add_test(t, test_bound);
	tcase_add_test(t, test_accepts);
	tcase_add_test(t, test_deadline);
	suite_add_tcase(s, t);
	return s;
}
