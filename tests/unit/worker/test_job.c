/* test_job - when a worker leaves before it has anything to serve */
#include "worker/job.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "common/chan.h"
#include "tests/support/fds.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

static void say(int sup, enum chan_type type, enum chan_assign_kind kind, const int *fds,
		size_t nfds)
{
	struct chan_msg msg = {0};
	struct err err;

	msg.assign.kind = kind;
	ck_assert_int_eq(chan_send(sup, type, &msg, fds, nfds, &err), 0);
}

static void hang_up(int sup)
{
	ck_assert_int_eq(shutdown(sup, SHUT_WR), 0);
}

/* It is idle: whoever says anything but ASSIGN does not want it. */
static void stop(int sup)
{
	say(sup, CHAN_STOP, 0, NULL, 0);
}

static void tell_it_is_known(int sup)
{
	say(sup, CHAN_KNOWN, 0, NULL, 0);
}

/* What only a newer supervisor says is no reason to leave. */
static void speak_of_what_is_new(int sup)
{
	uint32_t raw[4] = {CHAN_TYPE_COUNT + 5, CHAN_VERSION + 1};

	ck_assert_int_eq(send(sup, raw, sizeof(raw), 0), sizeof(raw));
	say(sup, CHAN_ASSIGN, CHAN_ASSIGN_WAIT, NULL, 0);
}

static void assign_nothing(int sup)
{
	say(sup, CHAN_ASSIGN, CHAN_ASSIGN_WAIT, NULL, 0);
}

/* A guest that nobody can take over is killed rather than left hanging. */
static void assign_guest_without_request(int sup)
{
	int fds[3];

	for (int i = 0; i < 3; i++)
		fds[i] = memfd_create("empty", MFD_CLOEXEC);
	say(sup, CHAN_ASSIGN, CHAN_ASSIGN_SERVE, fds, 3);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}

static const struct {
	void (*begin)(int sup);
	const char *why; /* of its FAILED; NULL: there is none */
	bool kill;
} rows[] = {
	{hang_up, NULL, false},
	{stop, NULL, false},
	{tell_it_is_known, NULL, false},
	{assign_nothing, "without a request", false},
	{speak_of_what_is_new, "without a request", false},
	{assign_guest_without_request, "has 0 bytes", true},
};

static bool hear(int sup, struct chan_msg *msg)
{
	int fds[CHAN_FDS_MAX];
	struct err err;

	return chan_recv(sup, msg, fds, &err) == CHAN_GOT;
}

START_TEST(test_row)
{
	int before = fds_count(getpid()), pair[2];
	struct chan_msg msg;
	struct err err;

	ck_assert_int_eq(chan_pair(pair, &err), 0);
	rows[_i].begin(pair[0]);
	job_run(pair[1], -1);
	ck_assert(hear(pair[0], &msg));
	ck_assert_uint_eq(msg.type, CHAN_HELLO);
	ck_assert_uint_eq(msg.hello.pid, (uint32_t)getpid());
	ck_assert_uint_eq(msg.hello.chan_version, CHAN_VERSION);
	if (rows[_i].why) {
		ck_assert(hear(pair[0], &msg));
		ck_assert_uint_eq(msg.type, CHAN_FAILED);
		ck_assert_msg(strstr(msg.failed.msg, rows[_i].why) != NULL, "%s", msg.failed.msg);
		ck_assert_uint_eq(msg.failed.kill, rows[_i].kill);
	}
	ck_assert(!hear(pair[0], &msg));
	close(pair[0]);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("job");
	TCase *t = tcase_create("nothing to serve");

	tcase_add_loop_test(t, test_row, 0, ARRAY_LEN(rows));
	suite_add_tcase(s, t);
	return s;
}
