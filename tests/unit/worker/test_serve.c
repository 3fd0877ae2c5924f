/* test_serve - which VMMs are served, how that ends, and what becomes of one that is refused */
#include "worker/serve.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/support/jobkit.h"
#include "worker/refusal.h"

/* Types, in the order in which they were said. */
static void check_said(struct scene *s, const enum chan_type *types, size_t n)
{
	struct chan_msg msg;
	size_t nfds;

	for (size_t i = 0; i < n; i++) {
		enum chan_type type = hear(s->sup, &msg, &nfds);

		ck_assert_msg(type == types[i], "%zu: %s, not %s", i, chan_type_name(type),
			      chan_type_name(types[i]));
	}
	ck_assert_int_eq(hear(s->sup, &msg, &nfds), CHAN_NONE);
}

/* As the wait for the handshake hands it over. */
static void make_peer(struct scene *s, struct peer *ret, int uffd)
{
	int pair[2];
	struct err err;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	close(pair[1]);
	*ret = (struct peer){.who = {.pid = getpid(), .uid = getuid()}};
	ck_assert_int_eq(handshake_init(&ret->hs, pair[0], &err), 0);
	ret->hs.fds[0] = uffd;
	ret->hs.nfds = 1;
	ret->pidfd = fcntl(s->vmm, F_DUPFD_CLOEXEC, 0);
}

/* ---- a new VMM whose message is wrong ---- */

static void beyond_the_snapshot(struct scene *s)
{
	s->regions.v[0].offset = JOBKIT_BYTES;
}

static void not_registered(struct scene *s)
{
	struct err err;

	ck_assert_int_eq(uffd_unregister(s->uffd, s->regions.v[0].base, JOBKIT_BYTES), UF_DONE);
	ck_assert_int_eq(uffd_register(s->uffd, s->regions.v[0].base, JOBKIT_BYTES / 2, &err), 0);
}

static void nowhere(struct scene *s)
{
	ck_assert_int_eq(munmap(s->memory, JOBKIT_BYTES), 0);
	s->memory = NULL;
}

static const struct {
	void (*prepare)(struct scene *s);
	const char *why;
} wrong[] = {
	{beyond_the_snapshot, "snapshot"},
	{not_registered, "is not registered"},
	{nowhere, ""},
};

START_TEST(test_wrong)
{
	struct peer vmm;
	struct scene s;
	struct err err;

	scene_open(&s);
	give_memory(&s);
	wrong[_i].prepare(&s);
	make_peer(&s, &vmm, s.uffd);
	s.job.phase = JOB_WAITING;
	ck_assert_int_eq(serve_vmm(&s.job, &vmm, &s.regions, &err), -1);
	ck_assert_int_eq(err.code, ERR_PEER);
	ck_assert_msg(strstr(err.msg, wrong[_i].why) != NULL, "%s", err.msg);
	ck_assert_int_ne(s.job.phase, JOB_SERVING);
	ck_assert_msg(vmm.hs.fds[0] >= 0, "its uffd must stay open");
	ck_assert_uint_eq(s.job.map.head->connected, 0);
	check_said(&s, NULL, 0);
	peer_fini(&vmm);
	scene_close(&s);
}
END_TEST

/* ---- a predecessor's guest ---- */

/* He was leaving it to the kernel: what is absent then needs nobody. */
START_TEST(test_released)
{
	static const enum chan_type said[] = {CHAN_RELEASED};
	struct scene s;
	struct err err;

	scene_open(&s);
	give_memory(&s);
	pagemap_connect(&s.job.map, &s.regions, 1, 2, 3);
	s.job.map.head->releasing = 1;
	s.job.uffd = s.uffd;
	s.job.vmm = fcntl(s.vmm, F_DUPFD_CLOEXEC, 0);
	ck_assert_int_eq(serve_on(&s.job, &err), 0);
	check_said(&s, said, ARRAY_LEN(said));
	ck_assert_ptr_null(s.job.loop);
	/* The kernel gives zeros by itself now: else this would hang. */
	for (size_t i = 0; i < JOBKIT_BYTES; i += PAGE_4K)
		ck_assert_int_eq(s.memory[i], 0);
	scene_close(&s);
}
END_TEST

/* A VMM of its own process, which makes its uffd there and waits to be killed. */
static pid_t start_vmm(struct scene *s, int *ret_uffd)
{
	int said[2];
	pid_t pid;

	ck_assert_int_eq(pipe2(said, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		give_memory(s);
		if (write(said[1], s, sizeof(*s)) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	close(said[1]);
	for (size_t n = 0; n < sizeof(*s);) {
		ssize_t got = read(said[0], (char *)s + n, sizeof(*s) - n);

		ck_assert_int_gt(got, 0);
		n += (size_t)got;
	}
	close(said[0]);
	close_fd(&s->vmm);
	s->vmm = (int)syscall(SYS_pidfd_open, pid, 0);
	*ret_uffd = (int)syscall(SYS_pidfd_getfd, s->vmm, s->uffd, 0);
	ck_assert_int_ge(*ret_uffd, 0);
	s->memory = NULL; /* not ours */
	return pid;
}

static void end_vmm(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(test_gone)
{
	static const enum chan_type said[] = {CHAN_GONE};
	struct scene s;
	struct err err;
	pid_t pid;

	scene_open(&s);
	pid = start_vmm(&s, &s.job.uffd);
	pagemap_connect(&s.job.map, &s.regions, 1, 2, 3);
	s.job.vmm = fcntl(s.vmm, F_DUPFD_CLOEXEC, 0);
	end_vmm(pid);
	ck_assert_int_eq(serve_on(&s.job, &err), 0);
	ck_assert_int_eq(s.job.phase, JOB_SERVING);
	check_said(&s, said, ARRAY_LEN(said));
	ck_assert_str_eq(s.job.link.reconnect_path, "");
	scene_close(&s);
}
END_TEST

/* ---- one that is refused ---- */

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

Suite *test_suite(void)
{
	Suite *s = suite_create("serve");
	TCase *t = tcase_create("guests");

	tcase_add_loop_test(t, test_wrong, 0, ARRAY_LEN(wrong));
	tcase_add_test(t, test_released);
	tcase_add_test(t, test_gone);
	suite_add_tcase(s, t);
	t = tcase_create("refused");
	tcase_add_loop_test(t, test_refused_and_stopped, 0, FAILURE_COUNT);
	tcase_add_test(t, test_refused_and_gone);
	suite_add_tcase(s, t);
	return s;
}
