/* test_zygote - workers by fork: whose children they are, what they hold, and when it ends */
#include "worker/zygote.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "common/chan.h"
#include "common/proc.h"
#include "tests/support/fds.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define CHAN 50 /* number of the channel, in the zygote and in its workers */

struct zygote {
	pid_t pid;
	int chan; /* the supervisor's end */
};

/* What a worker says of itself. */
struct self {
	pid_t pid, parent;
	int fds;
};

static void be_worker(void)
{
	struct chan_msg msg = {0};
	struct pollfd p = {.fd = CHAN, .events = POLLIN};
	struct err err;
	int fds[CHAN_FDS_MAX];

	msg.hello.pid = (uint32_t)getpid();
	msg.hello.chan_version = (uint32_t)getppid();
	snprintf(msg.hello.release, sizeof(msg.hello.release), "%d", fds_count(getpid()));
	if (chan_send(CHAN, CHAN_HELLO, &msg, NULL, 0, &err))
		_exit(1);
	/* Until it is told to go, or its supervisor does. */
	poll(&p, 1, -1);
	_exit(chan_recv(CHAN, &msg, fds, &err) == CHAN_GOT ? 42 : 43);
}

/* Nothing of the test is open in it. */
static void zygote_start(struct zygote *z)
{
	int pair[2];
	struct err err;

	ck_assert_int_eq(chan_pair(pair, &err), 0);
	z->pid = fork();
	if (z->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(pair[1], CHAN);
		close_range(3, CHAN - 1, 0);
		close_range(CHAN + 1, ~0U, 0);
		zygote_run(CHAN);
		be_worker();
	}
	close(pair[1]);
	z->chan = pair[0];
}

static void zygote_end(struct zygote *z)
{
	int status;

	close_fd(&z->chan);
	ck_assert_int_eq(waitpid(z->pid, &status, 0), z->pid);
	ck_assert_msg(status == 0, "%#x", status);
}

/* Its channel, and what every process has. */
static int least_fds(void)
{
	int n = 1;

	for (int fd = 0; fd < 3; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static bool holds_nothing(void *arg)
{
	const struct zygote *z = arg;

	return fds_count(z->pid) == least_fds();
}

static void await(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	ck_assert_int_eq(poll(&p, 1, harness_scale_ms(HARNESS_MS)), 1);
}

/* Asks for a worker; returns the supervisor's end of its channel, and its pid and pidfd. */
static int ask(const struct zygote *z, pid_t *ret_pid, int *ret_pidfd)
{
	int pair[2], fds[CHAN_FDS_MAX];
	struct chan_msg msg = {0};
	struct err err;

	ck_assert_int_eq(chan_pair(pair, &err), 0);
	ck_assert_int_eq(chan_send(z->chan, CHAN_FORK, &msg, &pair[1], 1, &err), 0);
	close(pair[1]);
	await(z->chan);
	ck_assert_int_eq(chan_recv(z->chan, &msg, fds, &err), CHAN_GOT);
	ck_assert_uint_eq(msg.type, CHAN_FORKED);
	*ret_pid = (pid_t)msg.forked.pid;
	*ret_pidfd = fds[0];
	ck_assert_int_ge(fds[0], 0);
	ck_assert_int_eq(fds[1], -1);
	return pair[0];
}

static struct self hear(int chan)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;
	struct err err;

	await(chan);
	ck_assert_int_eq(chan_recv(chan, &msg, fds, &err), CHAN_GOT);
	ck_assert_uint_eq(msg.type, CHAN_HELLO);
	return (struct self){(pid_t)msg.hello.pid, (pid_t)msg.hello.chan_version,
			     (int)strtol(msg.hello.release, NULL, 10)};
}

static void end_worker(pid_t pid, int chan, int pidfd, bool told)
{
	struct chan_msg msg = {0};
	struct err err;
	int status;

	if (told)
		ck_assert_int_eq(chan_send(chan, CHAN_STOP, &msg, NULL, 0, &err), 0);
	else
		close_fd(&chan);
	await(pidfd);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == (told ? 42 : 43), "%#x", status);
	close_fd(&chan);
	close(pidfd);
}

/* It is the supervisor's child, has a channel of its own at the same place, and nothing else. */
START_TEST(test_worker)
{
	int before = fds_count(getpid()), chan, pidfd;
	struct zygote z;
	struct self self;
	pid_t pid;

	zygote_start(&z);
	chan = ask(&z, &pid, &pidfd);
	self = hear(chan);
	ck_assert_int_eq(self.pid, pid);
	ck_assert_int_ne(self.pid, z.pid);
	ck_assert_int_eq(self.parent, getpid());
	ck_assert_msg(self.fds == least_fds(), "%d descriptors", self.fds);
	ck_assert(!proc_ended(pidfd));
	/* That the zygote ends does not matter to it. */
	zygote_end(&z);
	ck_assert(!proc_ended(pidfd));
	end_worker(pid, chan, pidfd, true);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* Each with its own channel: the end of one is not heard by the others. */
START_TEST(test_workers)
{
	int chans[3], pidfds[3];
	pid_t pids[3];
	struct zygote z;

	zygote_start(&z);
	for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
		chans[i] = ask(&z, &pids[i], &pidfds[i]);
		ck_assert_int_eq(hear(chans[i]).pid, pids[i]);
		ck_assert_msg(harness_wait(holds_nothing, &z, HARNESS_MS), "the zygote keeps some");
	}
	end_worker(pids[1], chans[1], pidfds[1], false);
	ck_assert(!proc_ended(pidfds[0]) && !proc_ended(pidfds[2]));
	zygote_end(&z);
	end_worker(pids[0], chans[0], pidfds[0], true);
	end_worker(pids[2], chans[2], pidfds[2], false);
}
END_TEST

/* What is no request is no reason to fork, or to end; its descriptors are closed. */
START_TEST(test_other_messages)
{
	struct chan_msg msg = {0};
	struct zygote z;
	struct err err;
	int some = memfd_create("some", MFD_CLOEXEC), chan, pidfd;
	pid_t pid;

	zygote_start(&z);
	ck_assert_int_eq(chan_send(z.chan, CHAN_STOP, &msg, &some, 1, &err), 0);
	ck_assert_int_eq(chan_send(z.chan, CHAN_FORK, &msg, NULL, 0, &err), 0);
	chan = ask(&z, &pid, &pidfd);
	ck_assert_msg(hear(chan).fds == least_fds(), "more than its channel");
	ck_assert_int_eq(harness_count_children(getpid()), 2);
	end_worker(pid, chan, pidfd, true);
	close(some);
	zygote_end(&z);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("zygote");
	TCase *t = tcase_create("workers");

	tcase_add_test(t, test_worker);
	tcase_add_test(t, test_workers);
	tcase_add_test(t, test_other_messages);
	suite_add_tcase(s, t);
	return s;
}
