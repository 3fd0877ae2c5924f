/* test_uffd_recover_owner - fetch: the process whose memory a userfaultfd serves, among others that hold it */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/handshake.h"
#include "common/proc.h"
#include "daemon/uffd_recover.h"
#include "tests/support/fds.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"
#include "tests/support/vmmside.h"

#define P PAGE_4K
#define PAGES 4

static char *mem; /* at this address in all of them: they are children of this process */

/* What a process does with the userfaultfd, and with the memory. */
enum part {
	VMM,         /* it is its own, and it keeps it */
	VMM_WITHOUT, /* and it closes it */
	HOLDER,      /* it has got a duplicate, and no such memory */
	HEIR,        /* a child of the VMM, with a duplicate and a copy of the memory */
	DOUBLE,      /* another VMM, with memory at the same place */
};

struct actor {
	pid_t pid;
	int pidfd, sock; /* owned */
};

static void say(int sock, int uffd)
{
	struct err err;

	if (handshake_send(sock, "!", &uffd, uffd >= 0, &err))
		_exit(3);
}

static void stay(void) __attribute__((noreturn));
static void stay(void)
{
	for (;;)
		pause();
}

/* The child speaks for it, once it has nothing any more. */
static void leave_to_heir(int sock, int uffd) __attribute__((noreturn));
static void leave_to_heir(int sock, int uffd)
{
	int left[2];
	char byte;

	if (pipe2(left, O_CLOEXEC))
		_exit(4);
	if (fork()) {
		close(uffd);
		close(left[1]);
		stay();
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(left[1]);
	(void)!read(left[0], &byte, 1);
	say(sock, uffd);
	say(sock, -1);
	stay();
}

static void act(enum part part, int sock, int given) __attribute__((noreturn));
static void act(enum part part, int sock, int given)
{
	int uffd = given;
	struct err err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (part != HOLDER) {
		if (uffd_open(0, &uffd, &err) ||
		    uffd_register(uffd, (uintptr_t)mem, PAGES * P, &err))
			_exit(2);
	} else
		munmap(mem, PAGES * P);
	if (part == HEIR)
		leave_to_heir(sock, uffd);
	say(sock, uffd);
	if (part == VMM_WITHOUT)
		close(uffd);
	say(sock, -1);
	stay();
}

static void await(int sock)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};

	ck_assert_msg(poll(&p, 1, harness_scale_ms(5000)) == 1, "a process says nothing");
}

/* @given: for a HOLDER, borrowed; else -1. Returns what is sent, owned by the caller. */
static int start(struct actor *a, enum part part, int given)
{
	struct err err;
	char words[2];
	int pair[2], uffd;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	a->pid = fork();
	if (a->pid == 0)
		act(part, pair[1], given);
	close(pair[1]);
	a->sock = pair[0];
	ck_assert_int_eq(proc_pidfd(a->pid, &a->pidfd, &err), 0);
	await(a->sock);
	uffd = handshake_first_fd(a->sock);
	for (size_t n = 0; n < sizeof(words); n++) {
		await(a->sock);
		ck_assert_int_eq(recv(a->sock, words, 1, 0), 1);
	}
	return uffd;
}

static void finish(struct actor *a)
{
	kill(a->pid, SIGKILL);
	ck_assert_int_eq(waitpid(a->pid, NULL, 0), a->pid);
	close(a->pidfd);
	close(a->sock);
}

static struct regions regions_of_all(void)
{
	return (struct regions){P, 1, 0, {{(uintptr_t)mem, PAGES * P, 0}}};
}

static void setup(void)
{
	mem = mmap(NULL, PAGES * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(mem, MAP_FAILED);
}

/* The owner first, then who else there is. */
static const struct {
	const char *what;
	enum part owner;
	bool holder, twin;
	bool found;
} casts[] = {
	{"alone", VMM, false, false, true},
	{"among others", VMM, true, true, true},
	{"without its descriptor", VMM_WITHOUT, false, false, false},
	{"without, among others", VMM_WITHOUT, true, true, false},
	{"its child has it", HEIR, false, true, false},
};

START_TEST(finds_the_owner)
{
	const struct regions r = regions_of_all();
	int before = fds_count(getpid()), uffd, pidfd, other = -1;
	struct actor owner, holder, twin;
	pid_t pid = 0;

	/* Those who are no answer come first in /proc. */
	if (casts[_i].twin)
		other = start(&twin, DOUBLE, -1);
	uffd = start(&owner, casts[_i].owner, -1);
	if (casts[_i].holder)
		close(start(&holder, HOLDER, uffd));
	ck_assert_int_ge(uffd, 0);
	pidfd = uffd_recover_owner(uffd, &r, &pid);
	ck_assert_msg((pidfd >= 0) == casts[_i].found, "%s: %d", casts[_i].what, pid);
	if (casts[_i].found)
		ck_assert_msg(pid == owner.pid, "%s: %d", casts[_i].what, pid);
	close_fd(&pidfd);
	ck_assert_msg(!uffd_recover_is_other(owner.pid, &r), "%s", casts[_i].what);
	ck_assert(!casts[_i].holder || uffd_recover_is_other(holder.pid, &r));
	finish(&owner);
	ck_assert(!uffd_recover_is_other(owner.pid, &r));
	ck_assert_int_eq(uffd_recover_owner(uffd, &r, &pid), -1);
	if (casts[_i].holder)
		finish(&holder);
	if (casts[_i].twin)
		finish(&twin);
	close_fd(&other);
	close(uffd);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* Asked of a worker, which holds it for its guest. */
START_TEST(life_by_a_worker)
{
	struct actor vmm, worker;
	int uffd = start(&vmm, VMM_WITHOUT, -1), got = start(&worker, HOLDER, uffd);

	close_fd(&got);
	close(uffd);
	ck_assert_int_eq(uffd_recover_life(worker.pidfd, worker.pid), UF_LIVES);
	/* This one has none. */
	ck_assert_int_eq(uffd_recover_life(vmm.pidfd, vmm.pid), UF_BUSY);
	finish(&vmm);
	ck_assert_int_eq(uffd_recover_life(worker.pidfd, worker.pid), UF_ENDED);
	finish(&worker);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("owner");
	TCase *tc = tcase_create("owner");

	if (geteuid() != 0) {
		printf("1..0 # SKIP looking into other processes needs root\n");
		return NULL;
	}
	tcase_add_unchecked_fixture(tc, setup, NULL);
	tcase_add_loop_test(tc, finds_the_owner, 0, ARRAY_LEN(casts));
	tcase_add_test(tc, life_by_a_worker);
	suite_add_tcase(s, tc);
	return s;
}
