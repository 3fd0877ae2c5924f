/* test_reconnect - who comes to workers.sock, what it must say, and what becomes of it */
#include "daemon/reconnect.h"
#include "daemon/timer.h"

#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "common/sock.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

static char *dir, *path; /* owned */
static struct event_base *base;
static struct pool *pool;
static struct reconnect *reconnect;

/* What the supervisor knows, answers, and was told last. */
static struct {
	bool knows, strange;
	enum reconnect_answer answer;
	unsigned n;
	char id[PROTO_ID_MAX + 1];
	bool proof, listens;
	uint64_t size_bytes; /* of the proof */
	pid_t pid;
	struct worker *taken;
} told;

static bool expects(void *arg, const struct sock_peer *who)
{
	(void)arg;
	ck_assert_int_eq(who->pid, getpid());
	return !told.strange;
}

static bool knows(void *arg, const char *id)
{
	(void)arg;
	ck_assert_str_eq(id, "r");
	return told.knows;
}

static enum reconnect_answer on_back(void *arg, const struct reconnect_guest *g, struct err *err)
{
	(void)arg;
	told.n++;
	memcpy(told.id, g->reattach->key, sizeof(told.id));
	told.proof = g->proof != NULL;
	told.size_bytes = g->proof ? g->proof->size_bytes : 0;
	told.listens = *g->listen_fd >= 0;
	told.pid = g->who->pid;
	if (told.answer == RECONNECT_TAKEN)
		told.taken = g->worker;
	err_set(err, ERR_CONFLICT, "a test");
	return told.answer;
}

static bool has_room(void *arg)
{
	(void)arg;
	return true;
}

static const struct reconnect_hooks hooks = {expects, knows, on_back, has_room};

static void begin(void)
{
	struct reconnect_parts parts = {.hooks = &hooks};
	struct err err = {.msg = ""};

	memset(&told, 0, sizeof(told));
	dir = harness_tmpdir();
	ck_assert_int_gt(asprintf(&path, "%s/workers.sock", dir), 0);
	base = timer_base_new();
	ck_assert_msg(pool_new(base, "/bin/true", 0, &pool, &err) == 0, "%s", err.msg);
	parts.base = base;
	parts.pool = pool;
	ck_assert_msg(reconnect_open(path, &parts, &reconnect, &err) == 0, "%s", err.msg);
}

static void end(void)
{
	if (told.taken)
		worker_leave(told.taken);
	reconnect_close(reconnect);
	pool_free(pool);
	event_base_free(base);
	harness_rmtree(dir);
	free(path);
	free(dir);
}

static int come(void)
{
	struct err err = {.msg = ""};
	int fd;

	ck_assert_msg(sock_connect(path, SOCK_SEQPACKET | SOCK_NONBLOCK, &fd, &err) == 0, "%s",
		      err.msg);
	return fd;
}

static void say(int fd, enum chan_type type, bool proof, int with)
{
	struct chan_msg msg = {0};
	struct err err = {.msg = ""};

	/* Where REATTACH has its id any other message may have one, too. */
	snprintf(msg.reattach.key, sizeof(msg.reattach.key), "r");
	if (type == CHAN_REATTACH) {
		msg.reattach.pid = (uint32_t)getpid();
		msg.reattach.proof = proof;
	} else if (type == CHAN_PROOF) {
		msg.proof.size_bytes = 4711;
	}
	ck_assert_msg(chan_send(fd, type, &msg, &with, with >= 0, &err) == 0, "%s", err.msg);
}

/* ---- what is waited for, while the supervisor's loop runs ---- */

static bool was_told(void *arg)
{
	const unsigned *n = arg;

	event_base_loop(base, EVLOOP_NONBLOCK);
	return told.n == *n;
}

static void await_told(unsigned n)
{
	ck_assert(harness_wait(was_told, &n, HARNESS_MS));
}

static bool is_answered(void *arg)
{
	struct pollfd p = {.fd = *(const int *)arg, .events = POLLIN};

	event_base_loop(base, EVLOOP_NONBLOCK);
	return poll(&p, 1, 0) > 0;
}

/* The next that is said to it, and its end. */
static enum chan_step hear(int fd, struct chan_msg *ret)
{
	int fds[CHAN_FDS_MAX];
	struct err err;

	ck_assert(harness_wait(is_answered, &fd, HARNESS_MS));
	return chan_recv(fd, ret, fds, &err);
}

static void check_closed(int fd)
{
	struct chan_msg msg;

	ck_assert_int_eq(hear(fd, &msg), CHAN_CLOSED);
	close(fd);
}

/* ---- those who come ---- */

START_TEST(test_known)
{
	int fd = come(), listening = open("/dev/null", O_RDONLY | O_CLOEXEC);

	told.knows = true;
	say(fd, CHAN_REATTACH, true, listening);
	await_told(1);
	ck_assert_str_eq(told.id, "r");
	ck_assert(!told.proof && told.listens);
	/* Whoever says what: the kernel tells who it is. */
	ck_assert_int_eq(told.pid, getpid());
	ck_assert_ptr_nonnull(told.taken);
	close(listening);
	close(fd);
}
END_TEST

/* Nothing is read of a process that can be no worker, and it gets no place. */
START_TEST(test_stranger)
{
	int fd = come();

	told.strange = true;
	told.knows = true;
	say(fd, CHAN_REATTACH, true, -1);
	check_closed(fd);
	ck_assert_uint_eq(told.n, 0);
}
END_TEST

/* One that no row knows says more, and only then it is looked at. */
START_TEST(test_unknown_proves)
{
	int fd = come();

	say(fd, CHAN_REATTACH, true, -1);
	for (int i = 0; i < 100; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	ck_assert_uint_eq(told.n, 0);
	say(fd, CHAN_PROOF, false, -1);
	await_told(1);
	ck_assert(told.proof);
	ck_assert_uint_eq(told.size_bytes, 4711);
	close(fd);
}
END_TEST

/* And one that has no proof, since it is too old or was never known, at once. */
START_TEST(test_unknown_without_proof)
{
	int fd = come();

	say(fd, CHAN_REATTACH, false, -1);
	await_told(1);
	ck_assert(!told.proof);
	close(fd);
}
END_TEST

/* clang-format off */
static const struct {
	enum reconnect_answer answer;
	bool listens, proof;
	bool stop; /* it is told to end: nobody will ever come to it */
} answers[] = {
	{RECONNECT_STRANGE, true, false, true},
	{RECONNECT_STRANGE, false, false, false},
	{RECONNECT_STRANGE, false, true, false},
	{RECONNECT_LATER, true, false, false},
	{RECONNECT_LATER, false, true, false},
};
/* clang-format on */

START_TEST(test_turned_away)
{
	int fd = come(), listening = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct chan_msg msg;

	told.answer = answers[_i].answer;
	say(fd, CHAN_REATTACH, answers[_i].proof, answers[_i].listens ? listening : -1);
	if (answers[_i].proof)
		say(fd, CHAN_PROOF, false, -1);
	await_told(1);
	if (answers[_i].stop) {
		ck_assert_int_eq(hear(fd, &msg), CHAN_GOT);
		ck_assert_int_eq(msg.type, CHAN_STOP);
	}
	check_closed(fd);
	close(listening);
}
END_TEST

/* clang-format off */
static const enum chan_type wrong[][2] = {
	{CHAN_HELLO}, {CHAN_PROOF}, {CHAN_CONNECTED}, {CHAN_REATTACH, CHAN_REATTACH}, {CHAN_REATTACH, CHAN_GONE},
};
/* clang-format on */

START_TEST(test_says_something_else)
{
	int fd = come();

	for (int i = 0; i < 2 && wrong[_i][i] != CHAN_NONE; i++)
		say(fd, wrong[_i][i], true, -1);
	check_closed(fd);
	ck_assert_uint_eq(told.n, 0);
}
END_TEST

/* Also what is not of the protocol at all. */
START_TEST(test_noise)
{
	int fd = come();

	ck_assert_int_eq(send(fd, "GET / HTTP/1.1\r\n", 16, MSG_NOSIGNAL), 16);
	check_closed(fd);
	ck_assert_uint_eq(told.n, 0);
}
END_TEST

/* After a worker's death nothing more of it will come: what has come is heard, without the loop. */
START_TEST(test_hear_all)
{
	int silent = come(), dead = come();

	told.knows = true;
	say(dead, CHAN_REATTACH, false, -1);
	close(dead);
	reconnect_receive_all(reconnect);
	ck_assert_uint_eq(told.n, 1);
	ck_assert_ptr_nonnull(told.taken);
	close(silent);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("reconnect");
	TCase *tc = tcase_create("reconnect");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_known);
	tcase_add_test(tc, test_stranger);
	tcase_add_test(tc, test_unknown_proves);
	tcase_add_test(tc, test_unknown_without_proof);
	tcase_add_loop_test(tc, test_turned_away, 0, ARRAY_LEN(answers));
	tcase_add_loop_test(tc, test_says_something_else, 0, ARRAY_LEN(wrong));
	tcase_add_test(tc, test_noise);
	tcase_add_test(tc, test_hear_all);
	suite_add_tcase(suite, tc);
	return suite;
}
