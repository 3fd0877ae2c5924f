/* fetch: the right userfaultfd out of another process */
#include "daemon/uffd_recover.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/handshake.h"
#include "common/proc.h"
#include "common/uffd.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"
#include "tests/support/vmmside.h"

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

#define PAGE(n) (1u << (n))
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

struct vmm {
	pid_t pid;
	int pidfd, ask, hear; /* owned */
	struct regions regions;
	int map_fd;         /* owned: its page map */
	struct pagemap map; /* owned */
	struct pagemap_view view;
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
	if (c->act)
		c->act(mem, fds[0], fds[n - 1]);
	say(out, (uintptr_t)mem);
	while (read(in, &ask, 1) == 1) {
		uint64_t blocking = 0;

		for (size_t i = 0; i < n; i++)
			blocking += c->holds[i] == OTHER && !(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
		say(out, ask == 'b' ? blocking : (uint64_t)*page_in(mem, (unsigned)(ask - '0')));
	}
	_exit(0);
}

static uint64_t hear(const struct vmm *v)
{
	struct pollfd p = {.fd = v->hear, .events = POLLIN};
	uint64_t word = 0;

	ck_assert_msg(poll(&p, 1, harness_scale_ms(HARNESS_MS)) == 1, "the VMM hangs");
	ck_assert_int_eq(read(v->hear, &word, WORD), WORD);
	return word;
}

static void ask(const struct vmm *v, char what)
{
	ck_assert_int_eq(write(v->ask, &what, 1), 1);
}

static void make_map(struct vmm *v, unsigned removed)
{
	struct err err;

	v->map_fd = memfd_create("map", MFD_CLOEXEC);
	ck_assert_int_eq(pagemap_create(v->map_fd, 5 * P, &v->map, &err), 0);
	pagemap_connect(&v->map, &v->regions, (uint32_t)v->pid, 0, 0);
	for (unsigned page = 0; page < 5; page++)
		if (removed & PAGE(page))
			pagemap_set(&v->map, page, 1, PAGE_REMOVED);
	ck_assert_int_eq(pagemap_view(v->map_fd, &v->view, &err), 0);
}

static int fetch(struct vmm *v, int *ret_uffd, struct err *err)
{
	return uffd_recover_uffd(v->pidfd, v->pid, v->map_fd, &v->view, ret_uffd, err);
}

static void be_protecting(int in, int out) __attribute__((noreturn));

/* @c: NULL for the one that protects. */
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
		if (!c)
			be_protecting(in[0], out[1]);
		be_vmm(c, in[0], out[1]);
	}
	close(in[0]);
	close(out[1]);
	v->ask = in[1];
	v->hear = out[0];
	ck_assert_int_eq(proc_pidfd(v->pid, &v->pidfd, &err), 0);
	base = hear(v);
	v->regions = (struct regions){P, 2, 0, {{base, 3 * P, 0}, {base + 5 * P, 2 * P, 3 * P}}};
	make_map(v, c ? c->removed : 0);
}

static void vmm_end(struct vmm *v)
{
	int status;

	close_fd(&v->ask);
	ck_assert_int_eq(waitpid(v->pid, &status, 0), v->pid);
	ck_assert_int_eq(status, 0);
	close_fd(&v->hear);
	close_fd(&v->pidfd);
	pagemap_close(&v->map);
	close_fd(&v->map_fd);
}

static uint64_t count_others(const struct fetch_case *c)
{
	uint64_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(c->holds); i++)
		n += c->holds[i] == OTHER;
	return n;
}

/* A fault that comes, with whatever else there is to read. */
static struct uf_msg read_fault(int uffd)
{
	struct pollfd p = {.fd = uffd, .events = POLLIN};
	struct uf_msg msgs[4], fault = {.event = UF_UNKNOWN};
	static struct uf_inbox box;
	struct err err;
	int n;

	while (fault.event == UF_UNKNOWN) {
		ck_assert_msg(poll(&p, 1, harness_scale_ms(HARNESS_MS)) == 1, "it hears nothing");
		n = uffd_read(uffd, &box, msgs, ARRAY_LEN(msgs), &err);
		for (int i = 0; i < n; i++)
			if (msgs[i].event != UF_REMOVE)
				fault = msgs[i];
	}
	while (uffd_read(uffd, &box, msgs, ARRAY_LEN(msgs), &err) > 0)
		;
	return fault;
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
	int uffd = -1, before = harness_count_fds(getpid());
	struct err err;
	struct vmm v;
	int rc;

	vmm_start(&v, c);
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
	ck_assert_int_eq(harness_count_fds(getpid()), before);
}
END_TEST

/* ---- write protection ---- */

static void protect(int uffd, uint64_t start, uint64_t len)
{
	struct uffdio_writeprotect wp = {.range = {start, len},
					 .mode = UFFDIO_WRITEPROTECT_MODE_WP};

	if (ioctl(uffd, UFFDIO_WRITEPROTECT, &wp))
		_exit(7);
}

/* A VMM may have asked for more than missing pages: page 1 is there, and protected. */
static void be_protecting(int in, int out)
{
	char *mem = mmap(NULL, PAGES * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
	struct uffdio_register r = {
		.range = {(uintptr_t)mem, PAGES * P},
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
	};
	struct err err;
	uint64_t done;
	char ask;
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (uffd_open(0, &fd, &err) || ioctl(fd, UFFDIO_REGISTER, &r) ||
	    uffd_zero(fd, r.range.start + P, P, &done))
		_exit(2);
	protect(fd, r.range.start + P, P);
	say(out, (uintptr_t)mem);
	while (read(in, &ask, 1) == 1) {
		mem[P] = ask;
		/* Also what comes later can be protected. */
		protect(fd, r.range.start + P, P);
		say(out, (uint64_t)mem[P]);
	}
	_exit(0);
}

START_TEST(write_protection_stays)
{
	int uffd = -1;
	struct uf_msg m;
	struct err err;
	struct vmm v;

	vmm_start(&v, NULL);
	ck_assert_msg(fetch(&v, &uffd, &err) == 0, "%s", err.msg);
	for (char c = 'x'; c <= 'z'; c++) {
		ask(&v, c);
		m = read_fault(uffd);
		ck_assert_int_eq(m.event, UF_FAULT_WP);
		ck_assert_uint_eq(m.start, v.regions.v[0].base + P);
		ck_assert_int_eq(uffd_unprotect(uffd, m.start, P), UF_DONE);
		ck_assert_uint_eq(hear(&v), (uint64_t)c);
	}
	close(uffd);
	vmm_end(&v);
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

	vmm_start(&v, &cases[_i]);
	before = harness_count_fds(getpid());
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
	ck_assert_int_eq(harness_count_fds(getpid()), before);
	vmm_end(&v);
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
	vmm_start(&v, &cases[0]);
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
	tcase_add_test(tc, write_protection_stays);
	tcase_add_loop_test(tc, out_of_its_message, 0, 1);
	tcase_add_loop_test(tc, out_of_its_message, PENDING, PENDING + 1);
	tcase_add_test(tc, of_a_dead_one);
	tcase_add_test(tc, denied);
	suite_add_tcase(s, tc);
	return s;
}
