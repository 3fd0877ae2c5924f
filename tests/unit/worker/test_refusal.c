/* test_refusal - a VMM whose message was wrong: what is told of it, and until when it is outlived */
#include "worker/refusal.h"

#include <poll.h>
#include <pthread.h>

#include "tests/support/peerkit.h"

static void check_refusal(struct scene *s, bool kill)
{
	struct chan_msg msg;
	size_t nfds;

	ck_assert_int_eq(s->job.phase, JOB_REFUSED);
	ck_assert_ptr_null(s->job.refusal);
	ck_assert_int_eq(hear(s->sup, &msg, &nfds), CHAN_FAILED);
	ck_assert_uint_eq(nfds, 1);
	ck_assert_uint_eq(msg.failed.kill, kill);
	ck_assert_uint_eq(msg.failed.vmm_pid, (uint32_t)getpid());
	ck_assert_msg(strstr(msg.failed.msg, "the VMM (pid ") && strstr(msg.failed.msg, "no good"),
		      "%s", msg.failed.msg);
	ck_assert_int_eq(hear(s->sup, &msg, &nfds), CHAN_NONE);
}

/* It goes on, but the supervisor wants the end; what else he says does not matter. */
START_TEST(test_refused_and_stopped)
{
	const enum spec_failure policies[] = {FAILURE_KILL, FAILURE_POISON, FAILURE_HOLD};
	struct chan_msg msg = {0};
	struct peer vmm;
	struct scene s;
	struct err err;

	scene_open(&s);
	give_memory(&s);
	make_peer(&s, &vmm, s.uffd);
	s.job.spec.on_failure = policies[_i];
	say(&s, CHAN_PAUSE, &msg, NULL, 0);
	say(&s, CHAN_STOP, &msg, NULL, 0);
	err_set(&err, ERR_PEER, "no good");
	refusal_outlive(&s.job, &vmm, &err);
	check_refusal(&s, policies[_i] == FAILURE_KILL);
	ck_assert_msg(vmm.hs.fds[0] >= 0, "its uffd must stay open");
	peer_fini(&vmm);
	scene_close(&s);
}
END_TEST

START_TEST(test_refused_and_gone)
{
	struct peer vmm;
	struct scene s;
	struct err err;
	int uffd;
	pid_t pid;

	scene_open(&s);
	pid = start_vmm(&s, &uffd);
	make_peer(&s, &vmm, uffd);
	end_vmm(pid);
	err_set(&err, ERR_PEER, "no good");
	refusal_outlive(&s.job, &vmm, &err);
	check_refusal(&s, true);
	peer_fini(&vmm);
	scene_close(&s);
}
END_TEST

/* The process that connected has ended, and its pidfd cannot be had: the uffd is asked. */
START_TEST(test_without_a_pidfd)
{
	struct chan_msg msg;
	struct peer vmm;
	struct scene s;
	struct err err;
	size_t nfds;
	int uffd;
	pid_t pid;

	scene_open(&s);
	pid = start_vmm(&s, &uffd);
	make_peer(&s, &vmm, uffd);
	close_fd(&vmm.pidfd);
	end_vmm(pid);
	err_set(&err, ERR_PEER, "no good");
	refusal_outlive(&s.job, &vmm, &err);
	ck_assert_int_eq(hear(s.sup, &msg, &nfds), CHAN_FAILED);
	ck_assert_uint_eq(nfds, 0);
	ck_assert_uint_eq(msg.failed.code, ERR_PEER);
	peer_fini(&vmm);
	scene_close(&s);
}
END_TEST

struct outliving {
	struct scene *s;
	struct peer vmm;
	struct err err;
	int done[2]; /* a pipe: closed by the thread when it is over */
	pthread_t id;
};

static void *outlive(void *arg)
{
	struct outliving *o = arg;

	refusal_outlive(&o->s->job, &o->vmm, &o->err);
	close_fd(&o->done[1]);
	return NULL;
}

static bool is_over(const struct outliving *o, int timeout_ms)
{
	struct pollfd p = {.fd = o->done[0]};

	return poll(&p, 1, timeout_ms) == 1;
}

/* The one that connected ends, the VMM does not: its missing pages must not become zeros. */
START_TEST(test_outlives_the_peer)
{
	struct outliving o = {.err = {.code = ERR_PEER, .msg = "no good"}};
	pid_t helper = fork(), pid;
	struct chan_msg msg = {0};
	struct scene s;
	size_t nfds;
	int uffd;

	if (helper == 0)
		_exit(0);
	scene_open(&s);
	pid = start_vmm(&s, &uffd);
	o.s = &s;
	make_peer(&s, &o.vmm, uffd);
	close_fd(&o.vmm.pidfd);
	o.vmm.pidfd = (int)syscall(SYS_pidfd_open, helper, 0);
	ck_assert_int_ge(o.vmm.pidfd, 0);
	ck_assert_int_eq(pipe2(o.done, O_CLOEXEC), 0);
	ck_assert_int_eq(pthread_create(&o.id, NULL, outlive, &o), 0);
	ck_assert_int_eq(poll(&(struct pollfd){.fd = s.sup, .events = POLLIN}, 1,
			      harness_scale_ms(HARNESS_MS)),
			 1);
	ck_assert_int_eq(hear(s.sup, &msg, &nfds), CHAN_FAILED);
	ck_assert_int_eq(waitpid(helper, NULL, 0), helper);
	/* An order is read, so it has looked at the peer since. */
	say(&s, CHAN_KNOWN, &msg, NULL, 0);
	ck_assert_int_eq(poll(&(struct pollfd){.fd = s.holder, .events = POLLIN}, 1,
			      harness_scale_ms(HARNESS_MS)),
			 1);
	ck_assert_msg(!is_over(&o, 0), "the VMM lives");
	end_vmm(pid);
	ck_assert_msg(is_over(&o, harness_scale_ms(HARNESS_MS)), "the VMM has ended");
	pthread_join(o.id, NULL);
	peer_fini(&o.vmm);
	close(o.done[0]);
	scene_close(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("refusal");
	TCase *t = tcase_create("refused");

	tcase_add_loop_test(t, test_refused_and_stopped, 0, FAILURE_COUNT);
	tcase_add_test(t, test_refused_and_gone);
	tcase_add_test(t, test_without_a_pidfd);
	tcase_add_test(t, test_outlives_the_peer);
	suite_add_tcase(s, t);
	return s;
}
