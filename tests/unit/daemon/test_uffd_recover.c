/* uffd_recover: the right userfaultfd out of a VMM, or out of its message */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "tests/support/fds.h"
#include "tests/support/uffdkit.h"

#define NOBODY 65534

/* What a VMM may hold, in the order of its descriptors. */
enum holds {
	NONE,
	OURS,    /* has both regions */
	OTHER,   /* for other memory, and somebody reads it blocking */
	HALF,    /* has the first region only */
	UNUSED,  /* has nothing */
	EVENTFD, /* another kind of anonymous descriptor */
	EVENTS,  /* as OURS, and wants to hear of removals */
};

/* What a VMM did to its memory; @uffd: its last descriptor, @other: its first. */
typedef void (*act_fn)(char *mem, int other, int uffd);
static void unmap_first(char *mem, int other, int uffd);
static void unmap_all(char *mem, int other, int uffd);
static void unmap_all_but_one(char *mem, int other, int uffd);
static void replace_first(char *mem, int other, int uffd);
static void replace_all(char *mem, int other, int uffd);
static void give_to_other(char *mem, int other, int uffd);
static void give_end_to_other(char *mem, int other, int uffd);
static void remove_one(char *mem, int other, int uffd);
static void replace_and_remove(char *mem, int other, int uffd);
static void leave_singles_and_remove(char *mem, int other, int uffd);

#define ALL (PAGE(5) - 1)

#define PENDING 17 /* of the cases: a removal is under way */

/* clang-format off */
static const struct fetch_case {
	const char *what;
	enum holds holds[5];
	bool found;
	act_fn act;       /* NULL: nothing */
	unsigned removed; /* PAGE() of those that the page map knows to be given back */
	unsigned touch;   /* the page that is looked at then */
	bool replaced;    /* page 0 is no longer of the guest */
	bool no_memory;   /* and that is why */
} cases[] = {
	{"one", {OURS}, true},
	{"the first", {OURS, OTHER, UNUSED}, true},
	{"between others", {UNUSED, EVENTFD, OURS, OTHER}, true},
	{"the last", {EVENTFD, OTHER, UNUSED, OTHER, OURS}, true},
	{"none", {EVENTFD}, false},
	{"others only", {OTHER, UNUSED, OTHER}, false},
	/* All that can be told: the rest may have been replaced. */
	{"half of it", {HALF, OTHER}, true},
	{"first pages unmapped", {OTHER, OURS}, true, unmap_first, PAGE(0) | PAGE(3), 1},
	{"first pages unmapped, unseen", {OTHER, OURS}, true, unmap_first, 0, 1},
	{"one page left", {UNUSED, OURS}, true, unmap_all_but_one, 0, 4},
	{"replaced, unseen", {UNUSED, OURS}, true, replace_first, 0, 2, true},
	{"replaced as a whole, unseen", {UNUSED, OURS}, false, replace_all, 0, 0, true},
	{"replaced for another, unseen", {OTHER, OURS}, false, give_to_other},
	{"replaced for another", {OTHER, OURS}, true, give_to_other, PAGE(0), 1},
	{"the end given back and reused", {OTHER, OURS}, true, give_end_to_other, PAGE(1) | PAGE(2)},
	{"given back as a whole", {OTHER, OURS}, true, NULL, ALL},
	{"and some of it reused", {OTHER, OURS}, false, give_to_other, ALL},
	{"a removal is under way", {OTHER, EVENTS}, true, remove_one},
	{"and all was given back", {OTHER, EVENTS}, true, remove_one, ALL},
	{"and others are asked first", {OTHER, UNUSED, EVENTS}, true, remove_one},
	{"and single pages are left", {OTHER, EVENTS}, true, leave_singles_and_remove, 0, 4},
	{"and some was replaced", {UNUSED, EVENTS}, true, replace_and_remove, 0, 3, true},
	{"unmapped as a whole, unseen", {UNUSED, OTHER}, false, unmap_all, .no_memory = true},
};
/* clang-format on */

static int hold(enum holds what, char *mem)
{
	const uint64_t base = (uintptr_t)mem;
	struct err err;
	int fd = -1;

	if (what == EVENTFD)
		return eventfd(0, EFD_CLOEXEC);
	if (uffd_open(what == EVENTS ? UF_FEATURE_REMOVE : 0, &fd, &err))
		_exit(1);
	if (((what == OURS || what == EVENTS) && (uffd_register(fd, base, 3 * P, &err) ||
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

static void *map_at(char *addr, uint64_t len)
{
	void *p = mmap(addr, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		       -1, 0);

	if (p == MAP_FAILED)
		_exit(4);
	return p;
}

static void unmap_first(char *mem, int other, int uffd)
{
	(void)other;
	(void)uffd;
	munmap(mem, P);
	munmap(mem + 5 * P, P);
}

static void unmap_all(char *mem, int other, int uffd)
{
	(void)other;
	(void)uffd;
	munmap(mem, PAGES * P);
}

static void unmap_all_but_one(char *mem, int other, int uffd)
{
	(void)other;
	(void)uffd;
	munmap(mem, 3 * P);
	munmap(mem + 5 * P, P);
}

static void replace_first(char *mem, int other, int uffd)
{
	(void)other;
	(void)uffd;
	map_at(mem, 2 * P);
}

static void replace_all(char *mem, int other, int uffd)
{
	(void)other;
	(void)uffd;
	map_at(mem, PAGES * P);
}

static void give_to_other(char *mem, int other, int uffd)
{
	struct err err;

	(void)uffd;
	map_at(mem, P);
	if (uffd_register(other, (uintptr_t)mem, P, &err))
		_exit(5);
}

static void give_end_to_other(char *mem, int other, int uffd)
{
	give_to_other(mem + P, other, uffd);
	give_to_other(mem + 2 * P, other, uffd);
}

static void *remove_page(void *page)
{
	madvise(page, P, MADV_DONTNEED);
	return NULL;
}

/* It waits until somebody reads it. */
static void remove_one(char *mem, int other, int uffd)
{
	struct pollfd p = {.fd = uffd, .events = POLLIN};
	pthread_t id;

	(void)other;
	if (pthread_create(&id, NULL, remove_page, mem + 2 * P) || poll(&p, 1, -1) != 1)
		_exit(6);
}

static void replace_and_remove(char *mem, int other, int uffd)
{
	replace_first(mem, other, uffd);
	remove_one(mem, other, uffd);
}

static void leave_singles_and_remove(char *mem, int other, int uffd)
{
	munmap(mem, 2 * P);
	munmap(mem + 5 * P, P);
	remove_one(mem, other, uffd);
}

/* Address of a snapshot page in @mem. */
static volatile char *page_in(char *mem, unsigned page)
{
	return mem + (page < 3 ? page : page + 2) * P;
}

/* Says where its memory is, then answers: '0' what is in page 0, …, 'b' how many are blocking. */
static void be_vmm(const void *arg, int in, int out)
{
	const struct fetch_case *c = arg;
	char *mem = mmap(NULL, PAGES * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
	int fds[ARRAY_LEN(c->holds)];
	size_t n = 0;
	char asked;

	for (; n < ARRAY_LEN(fds) && c->holds[n]; n++)
		fds[n] = hold(c->holds[n], mem);
	if (c->act)
		c->act(mem, fds[0], fds[n - 1]);
	say(out, (uintptr_t)mem);
	while (read(in, &asked, 1) == 1) {
		uint64_t blocking = 0;

		for (size_t i = 0; i < n; i++)
			blocking += c->holds[i] == OTHER && !(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
		say(out,
		    asked == 'b' ? blocking : (uint64_t)*page_in(mem, (unsigned)(asked - '0')));
	}
}

static void start(struct vmm *v, const struct fetch_case *c)
{
	vmm_start(v, be_vmm, c, c->removed);
}

static uint64_t count_others(const struct fetch_case *c)
{
	uint64_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(c->holds); i++)
		n += c->holds[i] == OTHER;
	return n;
}

/* It hears of the VMM's faults, and can answer them. */
static void check_it_serves(const struct vmm *v, int uffd, unsigned page)
{
	const struct region *r = &v->regions.v[page >= 3];
	static char bytes[P] __attribute__((aligned(P)));
	struct uf_msg fault;
	uint64_t done;

	ask(v, (char)('0' + page));
	fault = read_fault(uffd);
	ck_assert_int_eq(fault.event, UF_FAULT);
	ck_assert_uint_eq(fault.start, r->base + page * P - r->offset);
	memset(bytes, 'k', P);
	while (uffd_copy(uffd, fault.start, bytes, P, &done) == UF_AGAIN)
		;
	ck_assert_uint_eq(done, P);
	ck_assert_uint_eq(hear(v), 'k');
}

START_TEST(finds_the_right_one)
{
	const struct fetch_case *c = &cases[_i];
	int uffd = -1, before = fds_count(getpid());
	struct err err;
	struct vmm v;
	int rc;

	start(&v, c);
	rc = fetch(&v, &uffd, &err);
	if (c->found) {
		ck_assert_msg(rc == 0, "%s: %s", c->what, err.msg);
		ck_assert_int_eq(fcntl(uffd, F_GETFD), FD_CLOEXEC);
		ck_assert(fcntl(uffd, F_GETFL) & O_NONBLOCK);
		if (c->holds[0] != HALF)
			check_it_serves(&v, uffd, c->touch);
		close(uffd);
	} else {
		ck_assert_msg(rc == -1 && uffd == -1, "%s: found", c->what);
		ck_assert_int_eq(err.code, ERR_SYSTEM);
		ck_assert_msg(strstr(err.msg, c->no_memory ? "no memory" : "holds no userfaultfd"),
			      "%s: %s", c->what, err.msg);
		ck_assert_int_eq(err.sys, c->no_memory ? ESRCH : 0);
	}
	/* What took the place of guest memory is left alone. */
	if (c->replaced) {
		ask(&v, '0');
		ck_assert_uint_eq(hear(&v), 0);
	}
	ask(&v, 'b');
	ck_assert_msg(hear(&v) == count_others(c), "%s: others were made non-blocking", c->what);
	vmm_end(&v);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* ---- out of a message ---- */

static void send_fds(int sock, const int *fds, size_t n)
{
	struct err err;

	ck_assert_int_eq(handshake_send(sock, "[text", fds, n, &err), 0);
}

START_TEST(out_of_its_message)
{
	struct pollfd p = {.events = POLLIN};
	int uffd = -1, got = -1, other, pair[2], before;
	struct err err;
	struct vmm v;

	start(&v, &cases[_i]);
	before = fds_count(getpid());
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(uffd_recover_sent(pair[0], v.map_fd, &v.view, &got, &err), -1);
	ck_assert_int_eq(uffd_open(0, &other, &err), 0);
	/* Not a userfaultfd; one of somebody else. */
	send_fds(pair[1], &v.map_fd, 1);
	ck_assert_int_eq(uffd_recover_sent(pair[0], v.map_fd, &v.view, &got, &err), -1);
	close(pair[0]);
	close(pair[1]);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	send_fds(pair[1], &other, 1);
	ck_assert_int_eq(uffd_recover_sent(pair[0], v.map_fd, &v.view, &got, &err), -1);
	close(pair[0]);
	close(pair[1]);
	/* Ours, in the second part, and another one behind it. */
	ck_assert_msg(fetch(&v, &uffd, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	send_fds(pair[1], NULL, 0);
	send_fds(pair[1], (int[]){uffd, other}, 2);
	close(uffd);
	for (int i = 0; i < 2; i++) {
		ck_assert_msg(uffd_recover_sent(pair[0], v.map_fd, &v.view, &got, &err) == 0, "%s",
			      err.msg);
		ck_assert_int_eq(fcntl(got, F_GETFD), FD_CLOEXEC);
		p.fd = pair[0];
		ck_assert_int_eq(poll(&p, 1, 0), 1);
		if (i)
			check_it_serves(&v, got, cases[_i].touch);
		close(got);
	}
	close(other);
	close(pair[0]);
	close(pair[1]);
	ck_assert_int_eq(fds_count(getpid()), before);
	vmm_end(&v);
}
END_TEST

START_TEST(of_a_dead_one)
{
	int uffd = -1, status;
	struct err err;
	struct vmm v;

	start(&v, &cases[0]);
	ck_assert_int_eq(kill(v.pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(v.pid, &status, 0), v.pid);
	ck_assert_int_eq(fetch(&v, &uffd, &err), -1);
	ck_assert_int_eq(uffd, -1);
	ck_assert_msg(strstr(err.msg, "look into the VMM"), "%s", err.msg);
	close(v.ask);
	close(v.hear);
	close(v.pidfd);
	pagemap_close(&v.map);
	close(v.map_fd);
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
	start(&v, &cases[0]);
	pid = fork();
	if (pid == 0) {
		int uffd = -1;
		struct err err;

		if (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
			_exit(2);
		if (fetch(&v, &uffd, &err) == 0 || uffd != -1)
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
	tcase_add_loop_test(tc, finds_the_right_one, 0, ARRAY_LEN(cases));
	tcase_add_loop_test(tc, out_of_its_message, 0, 1);
	tcase_add_loop_test(tc, out_of_its_message, PENDING, PENDING + 1);
	tcase_add_test(tc, of_a_dead_one);
	tcase_add_test(tc, denied);
	suite_add_tcase(s, tc);
	return s;
}
