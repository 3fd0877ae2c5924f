/* test_pool_idle - workers that end, lie or hang up before they are handed out, and the zygote's end */
#include "daemon/pool.h"

#include <sys/prctl.h>
#include <sys/socket.h>

#include "tests/support/poolkit.h"

/* This test as a worker program; the variable says what kind of worker. */
#define MYSELF "/proc/self/exe"
#define ROLE "UFFDD_TEST_WORKER"
#define HAS_HUNG_UP "hung up"
#define REFILL_US 1000000

/* ---- idle ones that end ---- */

static bool is_one_short(void *arg)
{
	(void)arg;
	turn();
	return pool_wanting(pool) == 2 + (ZYGOTE ? 0 : 2);
}

/* A dead worker is reaped and replaced, but not at once: a bad program must not make us spin. */
START_TEST(test_idle_dies)
{
	struct worker *w;
	uint64_t since;
	int before;
	pid_t pid;

	fill();
	before = fds_count(getpid());
	since = now_us();
	pid = kill_child(CHAN_WORKER);
	ck_assert_msg(harness_wait(is_one_short, NULL, HARNESS_MS), "it wants %zu",
		      pool_wanting(pool));
	ck_assert(!exists(pid));
	ck_assert_int_eq(fds_count(getpid()), before - 2);
	/* Handing a worker out does not bring the time forward. */
	w = take();
	turn();
	turn();
	ck_assert(pool_wanting(pool) == 4 + (ZYGOTE ? 0 : 2) || now_us() - since >= REFILL_US);
	fill();
	await_workers(SIZE + 1);
	ck_assert_int_eq(fds_count(getpid()), before + 2);
	ck_assert_uint_eq(heard.exits, 0);
	worker_abandon(w, "t");
}
END_TEST

/* The loop has not heard of the death yet. */
START_TEST(test_dead_is_not_handed_out)
{
	struct worker *w[SIZE];
	pid_t dead;

	fill();
	dead = kill_child(CHAN_WORKER);
	for (int i = 0; i < SIZE; i++) {
		w[i] = take();
		ck_assert_int_ne(w[i]->pid, dead);
		ck_assert(!proc_ended(w[i]->pidfd));
	}
	fill();
	ck_assert(!exists(dead));
	await_workers(2 * SIZE);
	ck_assert_uint_eq(heard.exits, 0);
	abandon(w, SIZE);
}
END_TEST

static bool has_another(void *arg)
{
	const pid_t *former = arg;

	turn();
	return pool_wanting(pool) == 0 && !exists(*former);
}

/* The loop reaps the zygote; the next worker comes out of another one. */
START_TEST(test_zygote_dies)
{
	struct worker *w;
	pid_t former;

	if (!ZYGOTE)
		return;
	fill();
	former = kill_child(CHAN_ZYGOTE);
	turn();
	ck_assert(!exists(former));
	ck_assert_uint_eq(pool_wanting(pool), 2);
	w = take();
	ck_assert(harness_wait(has_another, &former, HARNESS_MS));
	ck_assert_int_ne(child_named(CHAN_ZYGOTE), former);
	ck_assert_int_eq(harness_count_children(getpid()), 1 + SIZE + 1);
	worker_abandon(w, "t");
}
END_TEST

/* ---- idle ones that do what none should: this program in the place of the worker's ---- */

static void speak(enum chan_type type)
{
	struct chan_msg msg = {0};
	struct err err;

	snprintf(msg.hello.release, sizeof(msg.hello.release), "a test");
	if (chan_send(CHAN_FD, type, &msg, NULL, 0, &err))
		_exit(1);
}

/* Ends with its channel, or is killed. */
static void be_worker(const char *role)
{
	char byte;

	prctl(PR_SET_NAME, CHAN_WORKER);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (strcmp(role, "dies") == 0)
		_exit(3);
	speak(CHAN_HELLO);
	if (strcmp(role, "speaks") == 0)
		speak(CHAN_READY);
	if (strcmp(role, "greets twice") == 0)
		speak(CHAN_HELLO);
	if (strcmp(role, "garbage") == 0)
		send(CHAN_FD, "x", 1, MSG_NOSIGNAL);
	if (strcmp(role, "hangs up") == 0) {
		shutdown(CHAN_FD, SHUT_RDWR);
		prctl(PR_SET_NAME, HAS_HUNG_UP);
	}
	while (strcmp(role, "honest") != 0)
		pause();
	while (recv(CHAN_FD, &byte, 1, 0) > 0)
		;
	_exit(0);
}

static void open_pool_of(const char *role)
{
	pool_free(pool);
	event_base_free(base);
	ck_assert_int_eq(setenv(ROLE, role, 1), 0);
	open_pool(MYSELF, 1);
}

static bool has_its_one(void *arg)
{
	const pid_t *but = arg;

	turn();
	return pool_wanting(pool) == 2 && !exists(*but);
}

static const char *const lies[] = {"speaks", "greets twice", "garbage"};

/* The liar is killed, and an honest worker takes its place. */
START_TEST(test_idle_lies)
{
	struct worker *w;
	pid_t liar;

	open_pool_of(lies[_i]);
	turn();
	liar = child_named(CHAN_WORKER);
	setenv(ROLE, "honest", 1);
	ck_assert_msg(harness_wait(has_its_one, &liar, HARNESS_MS), "%s: it stays", lies[_i]);
	w = take();
	ck_assert_int_ne(w->pid, liar);
	ck_assert(harness_wait(has_greeted, w, HARNESS_MS));
	ck_assert_str_eq(w->release, "a test");
	ck_assert_uint_eq(heard.messages, 0);
	worker_abandon(w, "t");
}
END_TEST

/* A worker without a channel is of no use to a restore, and is given time to end. */
START_TEST(test_idle_hangs_up)
{
	struct worker *w;
	pid_t first;

	open_pool_of("hangs up");
	turn();
	first = child_named(HAS_HUNG_UP);
	setenv(ROLE, "honest", 1);
	/* One for HELLO, and one for the end. */
	turn();
	turn();
	w = take();
	ck_assert_int_ne(w->pid, first);
	ck_assert(exists(first));
	kill(first, SIGKILL);
	worker_abandon(w, "t");
}
END_TEST

static bool is_usable(void *arg)
{
	struct err *err = arg;

	turn();
	return pool_check(pool, err) == 0;
}

static bool is_unusable(void *arg)
{
	return !is_usable(arg);
}

/* A program that cannot start is told of, until a worker stands ready again. */
START_TEST(test_program_that_dies)
{
	struct err err = {.msg = ""};

	open_pool_of("dies");
	ck_assert_int_eq(pool_check(pool, &err), 0);
	ck_assert_msg(harness_wait(is_unusable, &err, HARNESS_MS), "it is not seen");
	ck_assert_int_eq(err.code, ERR_UNREADY);
	ck_assert_str_eq(err.msg, "no worker can be started: a worker ended before it was ready: "
				  "exit 3");
	setenv(ROLE, "honest", 1);
	ck_assert_msg(harness_wait(is_usable, &err, HARNESS_MS), "%s", err.msg);
	/* Nor is the failure remembered when that worker is handed out. */
	worker_abandon(take(), "t");
	ck_assert_msg(pool_check(pool, &err) == 0, "%s", err.msg);
}
END_TEST

Suite *test_suite(void)
{
	const char *role = getenv(ROLE);
	Suite *suite;
	TCase *tc;

	/* As a worker, and not as a zygote, of which there is none then. */
	if (strcmp(program_invocation_name, CHAN_ZYGOTE) == 0)
		_exit(0);
	if (role)
		be_worker(role);
	suite = suite_create("pool idle");
	tc = runner_case(suite, "idle", begin, end);
	tcase_add_test(tc, test_idle_dies);
	tcase_add_test(tc, test_dead_is_not_handed_out);
	tcase_add_test(tc, test_zygote_dies);
	tcase_add_loop_test(tc, test_idle_lies, 0, ARRAY_LEN(lies));
	tcase_add_test(tc, test_idle_hangs_up);
	tcase_add_test(tc, test_program_that_dies);
	return suite;
}
