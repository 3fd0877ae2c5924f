/* fetch: the right userfaultfd out of another process */
#include "daemon/fetch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "common/proc.h"
#include "common/uffd.h"
#include "tests/harness.h"
#include "tests/runner.h"

#define P PAGE_4K
#define PAGES 10
#define NOBODY 65534
#define WORD 8

/* What a VMM may hold, in the order of its descriptors. */
enum holds {
	NONE,
	OURS,    /* has both regions */
	OTHER,   /* for other memory, and somebody reads it blocking */
	HALF,    /* has the first region only */
	UNUSED,  /* has nothing */
	EVENTFD, /* another kind of anonymous descriptor */
};

static const struct fetch_case {
	const char *what;
	enum holds holds[5];
	bool found;
} cases[] = {
	{"one", {OURS}, true},
	{"the first", {OURS, OTHER, UNUSED}, true},
	{"between others", {UNUSED, EVENTFD, OURS, OTHER}, true},
	{"the last", {EVENTFD, OTHER, UNUSED, OTHER, OURS}, true},
	{"none", {EVENTFD}, false},
	{"others only", {OTHER, UNUSED, OTHER}, false},
	{"half of it", {HALF, OTHER}, false},
};

struct vmm {
	pid_t pid;
	int pidfd, ask, hear; /* owned */
	struct regions regions;
};

static void say(int fd, uint64_t word)
{
	if (write(fd, &word, WORD) != WORD)
		_exit(3);
}

static int hold(enum holds what, char *mem)
{
	const uint64_t base = (uintptr_t)mem;
	struct err err;
	int fd = -1;

	if (what == EVENTFD)
		return eventfd(0, EFD_CLOEXEC);
	if (uffd_open(0, &fd, &err))
		_exit(1);
	if ((what == OURS && (uffd_register(fd, base, 3 * P, &err) ||
			      uffd_register(fd, base + 5 * P, 2 * P, &err))) ||
	    (what == HALF && uffd_register(fd, base, 3 * P, &err)))
		_exit(2);
	if (what == OTHER) {
		char *more = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
				  0);

		if (uffd_register(fd, (uintptr_t)more, P, &err) ||
		    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK))
			_exit(2);
	}
	return fd;
}

/* Says where its memory is, then answers: 't' what is in page 0, 'b' how many are blocking. */
static void be_vmm(const struct fetch_case *c, int in, int out) __attribute__((noreturn));
static void be_vmm(const struct fetch_case *c, int in, int out)
{
	char *mem = mmap(NULL, PAGES * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
	int fds[ARRAY_LEN(c->holds)];
	size_t n = 0;
	char ask;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (; n < ARRAY_LEN(fds) && c->holds[n]; n++)
		fds[n] = hold(c->holds[n], mem);
	say(out, (uintptr_t)mem);
	while (read(in, &ask, 1) == 1) {
		uint64_t blocking = 0;

		for (size_t i = 0; i < n; i++)
			blocking += c->holds[i] == OTHER && !(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
		say(out, ask == 't' ? (uint64_t)*(volatile char *)mem : blocking);
	}
	_exit(0);
}

static uint64_t hear(const struct vmm *v)
{
	uint64_t word = 0;

	ck_assert_int_eq(read(v->hear, &word, WORD), WORD);
	return word;
}

static void ask(const struct vmm *v, char what)
{
	ck_assert_int_eq(write(v->ask, &what, 1), 1);
}

static void vmm_start(struct vmm *v, const struct fetch_case *c)
{
	int in[2], out[2];
	struct err err;
	uint64_t base;

	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	v->pid = fork();
	if (v->pid == 0) {
		close(in[1]);
		be_vmm(c, in[0], out[1]);
	}
	close(in[0]);
	close(out[1]);
	v->ask = in[1];
	v->hear = out[0];
	ck_assert_int_eq(proc_pidfd(v->pid, &v->pidfd, &err), 0);
	base = hear(v);
	v->regions = (struct regions){P, 2, 0, {{base, 3 * P, 0}, {base + 5 * P, 2 * P, 3 * P}}};
}

static void vmm_end(struct vmm *v)
{
	int status;

	close_fd(&v->ask);
	ck_assert_int_eq(waitpid(v->pid, &status, 0), v->pid);
	ck_assert_int_eq(status, 0);
	close_fd(&v->hear);
	close_fd(&v->pidfd);
}

static uint64_t count_others(const struct fetch_case *c)
{
	uint64_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(c->holds); i++)
		n += c->holds[i] == OTHER;
	return n;
}

/* It hears of the VMM's faults, and can answer them. */
static void check_it_serves(const struct vmm *v, int uffd)
{
	static char page[P] __attribute__((aligned(P)));
	struct pollfd p = {.fd = uffd, .events = POLLIN};
	static struct uf_inbox box;
	struct uf_msg msg;
	struct err err;
	uint64_t done;

	ask(v, 't');
	ck_assert_msg(poll(&p, 1, harness_scale_ms(5000)) == 1, "it hears of no fault");
	ck_assert_int_eq(uffd_read(uffd, &box, &msg, 1, &err), 1);
	ck_assert(msg.event == UF_FAULT && msg.start == v->regions.v[0].base);
	memset(page, 'k', P);
	ck_assert_int_eq(uffd_copy(uffd, msg.start, page, P, &done), UF_DONE);
	ck_assert_uint_eq(hear(v), 'k');
}

START_TEST(finds_the_right_one)
{
	const struct fetch_case *c = &cases[_i];
	int uffd = -1, before = harness_count_fds(getpid());
	struct err err;
	struct vmm v;
	int rc;

	vmm_start(&v, c);
	rc = fetch_uffd(v.pidfd, v.pid, &v.regions, &uffd, &err);
	if (c->found) {
		ck_assert_msg(rc == 0, "%s: %s", c->what, err.msg);
		ck_assert_int_eq(fcntl(uffd, F_GETFD), FD_CLOEXEC);
		ck_assert(fcntl(uffd, F_GETFL) & O_NONBLOCK);
		check_it_serves(&v, uffd);
		close(uffd);
	} else {
		ck_assert_msg(rc == -1 && uffd == -1, "%s: found", c->what);
		ck_assert_int_eq(err.code, ERR_SYSTEM);
		ck_assert_msg(strstr(err.msg, "holds no userfaultfd"), "%s: %s", c->what, err.msg);
	}
	ask(&v, 'b');
	ck_assert_msg(hear(&v) == count_others(c), "%s: others were made non-blocking", c->what);
	vmm_end(&v);
	ck_assert_int_eq(harness_count_fds(getpid()), before);
}
END_TEST

START_TEST(of_a_dead_one)
{
	int uffd = -1, status;
	struct err err;
	struct vmm v;

	vmm_start(&v, &cases[0]);
	ck_assert_int_eq(kill(v.pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(v.pid, &status, 0), v.pid);
	ck_assert_int_eq(fetch_uffd(v.pidfd, v.pid, &v.regions, &uffd, &err), -1);
	ck_assert_int_eq(uffd, -1);
	ck_assert_msg(strstr(err.msg, "look into the VMM"), "%s", err.msg);
	close(v.ask);
	close(v.hear);
	close(v.pidfd);
}
END_TEST

/* As somebody who may not trace it. */
START_TEST(denied)
{
	struct vmm v;
	int status;
	pid_t pid;

	if (geteuid() != 0)
		return; /* needs another user */
	vmm_start(&v, &cases[0]);
	pid = fork();
	if (pid == 0) {
		int uffd = -1;
		struct err err;

		if (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
			_exit(2);
		if (fetch_uffd(v.pidfd, v.pid, &v.regions, &uffd, &err) == 0 || uffd != -1)
			_exit(3);
		if (err.code != ERR_DENIED || !strstr(err.msg, "CAP_SYS_PTRACE"))
			_exit(4);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "wait status %#x", (unsigned)status);
	vmm_end(&v);
}
END_TEST

Suite *test_suite(void)
{
	struct err err;
	TCase *tc;
	Suite *s;
	int fd;

	if (uffd_open(0, &fd, &err) < 0) {
		printf("1..0 # SKIP %s\n", err.msg);
		return NULL;
	}
	close(fd);
	s = suite_create("fetch");
	tc = tcase_create("fetch");
	tcase_set_timeout(tc, 20);
	tcase_add_loop_test(tc, finds_the_right_one, 0, ARRAY_LEN(cases));
	tcase_add_test(tc, of_a_dead_one);
	tcase_add_test(tc, denied);
	suite_add_tcase(s, tc);
	return s;
}
