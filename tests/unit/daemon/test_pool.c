/* test_pool - workers that stand ready: started, handed out, and ended with the pool */
#include "daemon/pool.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>

#include "tests/support/poolkit.h"

/* ---- new ---- */

START_TEST(test_no_program)
{
	struct pool *none = (struct pool *)base;
	int before = fds_count(getpid());
	struct err err = {.msg = ""};

	ck_assert_int_eq(pool_new(base, "/nonexistent", SIZE, &none, &err), -1);
	ck_assert_int_eq(err.code, ERR_PATH);
	ck_assert_ptr_nonnull(strstr(err.msg, "/nonexistent"));
	ck_assert_ptr_eq(none, (struct pool *)base);
	ck_assert_int_eq(fds_count(getpid()), before);
	pool_free(NULL);
}
END_TEST

/* Workers start from the loop. The pool wants channel and pidfd of each, and of the zygote. */
START_TEST(test_fills_up)
{
	int before = fds_count(getpid());
	size_t wanting = pool_wanting(pool);

	ck_assert_int_eq(harness_count_children(getpid()), 0);
	ck_assert_uint_eq(wanting, 2 * SIZE + 2);
	fill();
	await_workers(SIZE);
	ck_assert_int_eq(harness_count_children(getpid()), SIZE + ZYGOTE);
	ck_assert_int_eq(fds_count(getpid()), before + 2 * SIZE + 2 * ZYGOTE);
	turn();
	await_workers(SIZE);
}
END_TEST

/* ---- hand out ---- */

START_TEST(test_take)
{
	struct worker *w[SIZE];

	fill();
	for (int i = 0; i < SIZE; i++) {
		w[i] = take();
		ck_assert_uint_eq(pool_wanting(pool), (ZYGOTE ? 0 : 2) + 2 * ((size_t)i + 1));
	}
	/* These were there. */
	await_workers(SIZE);
	ck_assert(w[0] != w[1] && w[1] != w[2] && w[0] != w[2]);
	ck_assert(harness_wait(has_greeted, w[0], HARNESS_MS));
	ck_assert_str_eq(w[0]->release, PACKAGE_VERSION);
	ck_assert(!w[0]->replays && !w[0]->closed && !w[0]->silenced);
	ck_assert_uint_eq(heard.messages, 0);
	/* Others take their places. */
	fill();
	await_workers(2 * SIZE);
	abandon(w, SIZE);
}
END_TEST

/* A worker is got also where the loop has had no turn to fill the pool. */
START_TEST(test_take_from_an_empty_pool)
{
	struct worker *w = take();

	await_workers(1);
	ck_assert_uint_eq(pool_wanting(pool), 2 * SIZE + (ZYGOTE ? 0 : 2));
	fill();
	await_workers(1 + SIZE);
	worker_abandon(w, "t");
}
END_TEST

static uint64_t started_now(void)
{
	pid_t pid = fork();
	uint64_t start;

	if (pid == 0)
		for (;;)
			pause();
	start = proc_start_time(pid);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	return start;
}

static bool is_later(void *arg)
{
	const uint64_t *start = arg;

	return started_now() > *start;
}

/* The worker that has stood ready longest is handed out first. */
START_TEST(test_order)
{
	struct worker *w[SIZE + 1];
	uint64_t start;

	fill();
	w[0] = take();
	start = started_now();
	ck_assert(harness_wait(is_later, &start, HARNESS_MS));
	fill();
	w[1] = take();
	w[2] = take();
	ck_assert_uint_le(w[1]->start, start);
	ck_assert_uint_le(w[2]->start, start);
	w[3] = take();
	ck_assert_uint_gt(w[3]->start, start);
	abandon(w, SIZE + 1);
}
END_TEST

/* No descriptors, no worker; and it is tried again. */
START_TEST(test_cannot_start)
{
	struct worker *none = NULL;
	struct rlimit limit = harness_limit_fds(0);
	struct err err = {.msg = ""};
	int before;

	turn();
	setrlimit(RLIMIT_NOFILE, &limit);
	before = fds_count(getpid());
	ck_assert_int_eq(harness_count_children(getpid()), 0);
	limit = harness_limit_fds(0);
	ck_assert_int_eq(pool_take(pool, &hooks, &heard, &none, &err), -1);
	setrlimit(RLIMIT_NOFILE, &limit);
	ck_assert_ptr_null(none);
	ck_assert_int_ne(err.code, 0);
	ck_assert_int_eq(fds_count(getpid()), before);
	fill();
}
END_TEST

/* ---- end ---- */

static bool is_alone(void *arg)
{
	(void)arg;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return harness_count_children(getpid()) == 1;
}

/* Idle ones end by themselves, and so does the zygote; a guest is served on. */
START_TEST(test_free)
{
	int before = fds_count(getpid());
	struct worker *w;
	struct err err;
	int pidfd;

	fill();
	w = take();
	ck_assert_int_eq(proc_pidfd(w->pid, &pidfd, &err), 0);
	pool_free(steal_ptr(&pool));
	ck_assert(harness_wait(is_alone, NULL, HARNESS_MS));
	ck_assert(!proc_ended(pidfd));
	worker_leave(w);
	close(pidfd);
	ck_assert_int_eq(fds_count(getpid()), before - 1);
	ck_assert_uint_eq(heard.exits, 0);
}
END_TEST

static bool none_abandoned(void *arg)
{
	(void)arg;
	turn();
	return pool_abandoned(pool, NULL) == 0;
}

/* For whom they had been, until they are reaped; one that simply has no owner is nobody's. */
START_TEST(test_abandoned_are_counted)
{
	ck_assert_uint_eq(pool_abandoned(pool, NULL), 0);
	ck_assert_uint_eq(pool_abandoned(NULL, NULL), 0);
	worker_abandon(take(), "t");
	worker_abandon(take(), "t");
	worker_abandon(take(), "u");
	ck_assert_uint_eq(pool_abandoned(pool, "t"), 2);
	ck_assert_uint_eq(pool_abandoned(pool, "u"), 1);
	ck_assert_uint_eq(pool_abandoned(pool, "v"), 0);
	ck_assert_uint_eq(pool_abandoned(pool, NULL), 3);
	ck_assert(harness_wait(none_abandoned, NULL, HARNESS_MS));
}
END_TEST

/* Those without an owner that are not reaped yet. */
START_TEST(test_free_abandoned)
{
	int before;

	before = fds_count(getpid());
	worker_abandon(take(), "t");
	worker_abandon(take(), "t");
	pool_free(steal_ptr(&pool));
	/* The program's. */
	ck_assert_int_eq(fds_count(getpid()), before - 1);
}
END_TEST

/* A child that no module knows is reaped. How a worker ends is still told to its owner. */
START_TEST(test_tidy)
{
	struct worker *w;
	siginfo_t si = {0};
	pid_t pid;

	fill();
	w = take();
	pid = fork();
	if (pid == 0)
		_exit(0);
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
	pool_tidy(pool);
	ck_assert(exists(pid));
	pool_tidy(pool);
	ck_assert(!exists(pid));
	pool_tidy(pool);
	ck_assert_int_eq(kill(w->pid, SIGKILL), 0);
	await_exits(1);
	ck_assert_str_eq(heard.how, "signal 9 (Killed)");
}
END_TEST

/* ---- workers of a former daemon ---- */

/* Starts no workers by itself. */
static void begin_empty(void)
{
	open_pool(PROGRAM, 0);
}

static _Noreturn void wait_for_ever(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

static _Noreturn void wait_for(pid_t test)
{
	struct pollfd p = {.fd = pidfd_open(test, 0), .events = POLLIN};

	poll(&p, 1, -1);
	_exit(0);
}

/* A process that is no child of the pool's process, and ends with it. */
static pid_t start_elsewhere(void)
{
	pid_t pid, between, test = getpid();
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	between = fork();
	if (between == 0) {
		pid = fork();
		if (pid == 0)
			wait_for(test);
		_exit(write(ends[1], &pid, sizeof(pid)) != sizeof(pid));
	}
	ck_assert_int_eq(waitpid(between, NULL, 0), between);
	ck_assert_int_eq(read(ends[0], &pid, sizeof(pid)), sizeof(pid));
	close(ends[0]);
	close(ends[1]);
	return pid;
}

static pid_t start_former(bool child, const char *tenant)
{
	pid_t pid = child ? fork() : start_elsewhere();
	struct err err;
	int pidfd;

	if (pid == 0)
		wait_for_ever();
	ck_assert_int_eq(proc_pidfd(pid, &pidfd, &err), 0);
	pool_count_former(pool, pid, &pidfd, tenant);
	ck_assert_int_eq(pidfd, -1);
	return pid;
}

/* Until its end, whether it can be reaped here or not, and only then. */
START_TEST(test_former_are_counted)
{
	int before = fds_count(getpid());
	pid_t pid = start_former(_i, "t"), other = start_former(true, "u");

	turn();
	ck_assert_uint_eq(pool_abandoned(pool, "t"), 1);
	ck_assert_uint_eq(pool_abandoned(pool, "u"), 1);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	while (pool_abandoned(pool, "t"))
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_uint_eq(pool_abandoned(pool, "u"), 1);
	ck_assert_int_eq(kill(other, SIGKILL), 0);
	ck_assert(harness_wait(none_abandoned, NULL, HARNESS_MS));
	ck_assert(!exists(other));
	pool_free(steal_ptr(&pool));
	/* The program's. */
	ck_assert_int_eq(fds_count(getpid()), before - 1);
}
END_TEST

/* That one process, which goes on; not one that this pool had started, nor any other. */
START_TEST(test_forget_former)
{
	pid_t pid = start_former(true, "t"), other = start_former(true, "t");
	struct worker *w = take();
	int with;

	worker_abandon(w, "t");
	with = fds_count(getpid());
	pool_forget_former(pool, w->pid);
	pool_forget_former(pool, getpid());
	ck_assert_uint_eq(pool_abandoned(pool, "t"), 3);
	pool_forget_former(pool, pid);
	pool_forget_former(pool, pid);
	ck_assert_uint_eq(pool_abandoned(pool, "t"), 2);
	ck_assert_int_eq(fds_count(getpid()), with - 1);
	ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(kill(other, SIGKILL), 0);
	ck_assert(harness_wait(none_abandoned, NULL, HARNESS_MS));
}
END_TEST

/* It goes on, and nothing of it is left here. */
START_TEST(test_free_former)
{
	int before = fds_count(getpid());
	pid_t pid = start_former(true, "t");

	pool_free(steal_ptr(&pool));
	ck_assert_int_eq(fds_count(getpid()), before - 1);
	ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("pool");
	TCase *tc = runner_case(suite, "hand out", begin, end);

	tcase_add_test(tc, test_no_program);
	tcase_add_test(tc, test_fills_up);
	tcase_add_test(tc, test_take);
	tcase_add_test(tc, test_take_from_an_empty_pool);
	tcase_add_test(tc, test_order);
	tcase_add_test(tc, test_cannot_start);
	tc = runner_case(suite, "end", begin, end);
	tcase_add_test(tc, test_free);
	tcase_add_test(tc, test_abandoned_are_counted);
	tcase_add_test(tc, test_free_abandoned);
	tcase_add_test(tc, test_tidy);
	tc = runner_case(suite, "former", begin_empty, end);
	tcase_add_loop_test(tc, test_former_are_counted, 0, 2);
	tcase_add_test(tc, test_forget_former);
	tcase_add_test(tc, test_free_former);
	return suite;
}
