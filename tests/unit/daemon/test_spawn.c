/* spawn: workers out of the zygote, or without it; the real program */
#include <config.h>

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/chan.h"
#include "daemon/spawn.h"
#include "tests/support/fds.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define PROGRAM TEST_BUILD "/worker/uffdd-worker"

/* Sanitizers do without a zygote. */
#ifdef BUILD_SANITIZED
#define ZYGOTE false
#else
#define ZYGOTE true
#endif

static struct spawn spawn;

static void setup(void)
{
	struct err err;

	ck_assert_msg(spawn_open(PROGRAM, &spawn, &err) == 0, "%s", err.msg);
}

struct child {
	pid_t pid;
	int pidfd, chan;
};

static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, harness_scale_ms(HARNESS_MS)) == 1;
}

/* A worker that says hello, is our child, and has nothing but its channel. */
static struct child start(void)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;
	struct child c;
	struct err err;

	ck_assert_msg(spawn_worker(&spawn, &c.pid, &c.pidfd, &c.chan, &err) == 0, "%s", err.msg);
	ck_assert(is_readable(c.chan));
	ck_assert_int_eq(chan_recv(c.chan, &msg, fds, &err), CHAN_GOT);
	ck_assert_int_eq(msg.type, CHAN_HELLO);
	ck_assert_uint_eq(msg.hello.pid, (uint32_t)c.pid);
	/* stdin, stdout, stderr, its channels to us and to its holder */
	ck_assert_int_eq(fds_count(c.pid), 5);
	return c;
}

/* It leaves when its channel closes; we are the one who is told how. */
static void end(struct child *c)
{
	char how[64];

	close_fd(&c->chan);
	ck_assert(is_readable(c->pidfd));
	ck_assert(spawn_reap(c->pidfd, how, sizeof(how)));
	ck_assert_str_eq(how, "exit 0");
	close_fd(&c->pidfd);
}

static void check_name(pid_t pid, const char *want)
{
	char path[64], args[64] = "", name[64] = "";
	cleanup_file FILE *f = NULL, *comm = NULL;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	f = fopen(path, "re");
	ck_assert(f && fgets(args, sizeof(args), f));
	ck_assert_str_eq(args, want);
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	comm = fopen(path, "re");
	ck_assert(comm && fgets(name, sizeof(name), comm));
	name[strcspn(name, "\n")] = '\0';
	ck_assert_str_eq(name, want);
}

START_TEST(test_many_of_one_zygote)
{
	struct child c[8];

	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		c[i] = start();
	ck_assert_int_eq(harness_count_children(getpid()), (int)ARRAY_LEN(c) + ZYGOTE);
	ck_assert_int_eq(harness_count_workers(getpid()), (int)ARRAY_LEN(c));
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		check_name(c[i].pid, CHAN_WORKER);
	spawn_close(&spawn);
	/* They do not need it any more. */
	ck_assert_int_eq(harness_count_children(getpid()), (int)ARRAY_LEN(c));
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		end(&c[i]);
	ck_assert_int_eq(harness_count_children(getpid()), 0);
}
END_TEST

/* Where the program, its stack and its libraries begin. */
struct layout {
	unsigned long program, stack, libc;
};

static struct layout layout_of(pid_t pid)
{
	struct layout l = {0};
	char path[64], line[512];
	cleanup_file FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long from = strtoul(line, NULL, 16);

		/* What a sanitizer maps before it lies where it always does. */
		if (!l.program && strstr(line, CHAN_WORKER))
			l.program = from;
		if (strstr(line, "[stack]"))
			l.stack = from;
		if (!l.libc && strstr(line, "/libc.so"))
			l.libc = from;
	}
	return l;
}

static bool is_randomized(void)
{
	cleanup_file FILE *f = fopen("/proc/sys/kernel/randomize_va_space", "re");
	int how = 0;

	return f && fscanf(f, "%d", &how) == 1 && how == 2 &&
	       !(personality(0xffffffff) & ADDR_NO_RANDOMIZE);
}

/* No worker's addresses say anything about another's. */
START_TEST(test_addresses)
{
	struct layout l[4];
	struct child c[ARRAY_LEN(l)];

	if (!is_randomized()) {
		fputs("# addresses are not random here: skipped\n", stderr);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		c[i] = start();
		l[i] = layout_of(c[i].pid);
		ck_assert(l[i].program && l[i].stack && l[i].libc);
		for (size_t k = 0; k < i; k++)
			ck_assert(l[k].program != l[i].program && l[k].stack != l[i].stack &&
				  l[k].libc != l[i].libc);
	}
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		end(&c[i]);
	spawn_close(&spawn);
}
END_TEST

/* Dead, or stopped: a worker comes all the same, and then another zygote. */
START_TEST(test_zygote_dies)
{
	static const int signals[] = {SIGKILL, SIGSTOP};
	struct child first, second, third;
	int zygote;

	if (!ZYGOTE)
		return;
	first = start();
	zygote = spawn.zygote;
	ck_assert_int_ge(zygote, 0);
	ck_assert_int_eq(syscall(SYS_pidfd_send_signal, spawn.zygote_pidfd, signals[_i], NULL, 0),
			 0);
	second = start();
	check_name(second.pid, CHAN_WORKER);
	ck_assert_int_eq(spawn.zygote, -1);
	third = start();
	ck_assert_int_ge(spawn.zygote, 0);
	ck_assert_int_eq(harness_count_children(getpid()), 4);
	end(&first);
	end(&second);
	end(&third);
	spawn_close(&spawn);
	ck_assert_int_eq(harness_count_children(getpid()), 0);
}
END_TEST

START_TEST(test_how_it_ended)
{
	struct child c = start();
	char how[64];

	ck_assert(!spawn_reap(c.pidfd, how, sizeof(how)));
	ck_assert_int_eq(kill(c.pid, SIGKILL), 0);
	ck_assert(is_readable(c.pidfd));
	ck_assert(spawn_reap(c.pidfd, how, sizeof(how)));
	ck_assert_str_eq(how, "signal 9 (Killed)");
	close(c.chan);
	close(c.pidfd);
	spawn_close(&spawn);
}
END_TEST

START_TEST(test_no_program)
{
	struct spawn s;
	struct err err;

	ck_assert_int_eq(spawn_open("/nonexistent", &s, &err), -1);
	ck_assert_int_eq(err.code, ERR_PATH);
	ck_assert_ptr_nonnull(strstr(err.msg, "--worker"));
}
END_TEST

/* Its first look says nothing: one that is known may just have ended. */
START_TEST(a_child_that_nobody_knows)
{
	struct spawn s = {0};
	siginfo_t si = {0};
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
	spawn_reap_unknown(&s);
	ck_assert_int_eq(kill(pid, 0), 0);
	spawn_reap_unknown(&s);
	ck_assert_int_eq(kill(pid, 0), -1);
	spawn_reap_unknown(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("spawn");
	TCase *t = tcase_create("children");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, test_many_of_one_zygote);
	tcase_add_test(t, test_addresses);
	tcase_add_loop_test(t, test_zygote_dies, 0, 2);
	tcase_add_test(t, test_how_it_ended);
	tcase_add_test(t, test_no_program);
	tcase_add_test(t, a_child_that_nobody_knows);
	suite_add_tcase(s, t);
	return s;
}
