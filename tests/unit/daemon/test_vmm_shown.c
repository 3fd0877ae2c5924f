/* test_vmm_shown - which process may be the VMM: what the kernel must say of it; as root */
#include "daemon/vmm.h"

#include "common/proc.h"
#include "common/uffd.h"
#include "tests/support/guestkit.h"

#define CALLER 4001
#define OTHER 4002
#define THIRD 4003
#define PEER_UID 4004

static struct restorekit k;
static struct guestkit guest, peer; /* whose memory it is; and who has nothing of it */

static void begin(void)
{
	restorekit_open(&k, "");
	guestkit_start(&guest);
	guestkit_start(&peer);
	guestkit_tell(&peer, GUEST_CLOSE);
	guestkit_serve(&guest, &k);
}

static void end(void)
{
	guestkit_end(&guest);
	guestkit_end(&peer);
	restorekit_close(&k);
}

/* A process with these user ids, which has connected to the restore's socket, as root, or not. */
static pid_t start_as(uid_t real, uid_t effective, uid_t saved, bool connects)
{
	int pair[2], sock;
	struct err err;
	char byte;
	pid_t pid;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		if ((connects && sock_connect(k.r->spec.socket_path, SOCK_STREAM, &sock, &err)) ||
		    setresuid(real, effective, saved) || prctl(PR_SET_PDEATHSIG, SIGKILL) ||
		    write(pair[1], "!", 1) != 1)
			_exit(2);
		for (;;)
			pause();
	}
	close(pair[1]);
	ck_assert_int_eq(read(pair[0], &byte, 1), 1);
	close(pair[0]);
	return pid;
}

static bool is_let_in(void *arg)
{
	(void)arg;
	event_base_loop(k.host.base, EVLOOP_NONBLOCK);
	return k.r->hold.acceptor.n > 0;
}

/* clang-format off */
static const struct {
	const char *what;
	uid_t caller, real, effective, saved;
	uid_t own;        /* whom the supervisor runs as */
	uid_t peer_uid;   /* who may come */
	bool connects, may;
	bool apart; /* root's worker is not root */
	int pid_off;
} candidates[] = {
	{"the caller's", CALLER, CALLER, CALLER, CALLER, .may = true},
	{"by its real uid", CALLER, CALLER, OTHER, OTHER, .may = true},
	{"by its saved uid", CALLER, OTHER, OTHER, CALLER, .may = true},
	{"by its effective uid", CALLER, OTHER, CALLER, OTHER},
	{"another's", CALLER, OTHER, OTHER, OTHER},
	{"root's", CALLER},
	{"for root", 0, OTHER, OTHER, OTHER, .may = true},
	{"for root, by another's word", 0, OTHER, OTHER, OTHER, .apart = true},
	{"for root and root's, by another's word", 0, .apart = true},
	{"for root, known to the acceptor", 0, OTHER, OTHER, OTHER, .apart = true, .connects = true,
	 .may = true},
	{"the caller's, while root's worker is not root", CALLER, CALLER, CALLER, CALLER,
	 .apart = true, .may = true},
	{"for root, another pid", 0, OTHER, OTHER, OTHER, .pid_off = 1},
	{"the caller's, another pid", CALLER, CALLER, CALLER, CALLER, .pid_off = 1},
	{"for ourselves", CALLER, OTHER, OTHER, OTHER, .own = CALLER, .may = true},
	{"for another than ourselves", CALLER, OTHER, OTHER, OTHER, .own = THIRD},
	{"known to the acceptor", CALLER, OTHER, OTHER, OTHER, .connects = true, .may = true},
	{"the wrong peer", CALLER, OTHER, OTHER, OTHER, .peer_uid = PEER_UID, .connects = true},
};
/* clang-format on */

static void listen_for_peers(void)
{
	struct err err = {.msg = ""};
	int fd = -1;

	ck_assert_int_eq(unlink(k.r->spec.socket_path), 0);
	ck_assert_msg(sock_listen(k.r->spec.socket_path, SOCK_STREAM, sock_mode(0600), &fd, &err) ==
			      0,
		      "%s", err.msg);
	acceptor_open(&k.r->hold.acceptor, &fd, 0, true);
}

START_TEST(test_may_be)
{
	int pidfd = -1;
	struct err err;
	bool may;
	pid_t pid;

	restorekit_open(&k, "");
	k.host.user.apart = candidates[_i].apart;
	listen_for_peers();
	k.r->rec.caller_uid = candidates[_i].caller;
	k.r->spec.peer_uid = candidates[_i].peer_uid;
	pid = start_as(candidates[_i].real, candidates[_i].effective, candidates[_i].saved,
		       candidates[_i].connects);
	ck_assert_int_eq(proc_pidfd(pid, &pidfd, &err), 0);
	if (candidates[_i].connects)
		ck_assert_msg(harness_wait(is_let_in, NULL, HARNESS_MS), "it is not let in");
	ck_assert_int_eq(seteuid(candidates[_i].own), 0);
	may = vmm_may_be(k.r, pidfd, (uint32_t)(pid + candidates[_i].pid_off), -1);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_msg(may == candidates[_i].may, "%s", candidates[_i].what);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	/* Nobody can be harmed by what is not there. */
	ck_assert_msg(vmm_may_be(k.r, pidfd, (uint32_t)pid + 1, -1), "%s", candidates[_i].what);
	close(pidfd);
	restorekit_close(&k);
}
END_TEST

START_TEST(test_may_not_be_what_is_no_process)
{
	ck_assert_int_eq(k.r->rec.caller_uid, 0);
	ck_assert(vmm_may_be(k.r, guest.pidfd, (uint32_t)guest.pid, -1));
	ck_assert(!vmm_may_be(k.r, guest.uffd, (uint32_t)guest.pid, -1));
	ck_assert(!vmm_may_be(k.r, -1, (uint32_t)guest.pid, -1));
}
END_TEST

/* Of root's worker a process is believed that holds the guest's own uffd, but not ourselves. */
START_TEST(test_shown_by_the_uffd)
{
	int self = -1, another = -1, kept;
	struct err err;

	k.host.user.apart = true;
	ck_assert_int_eq(proc_pidfd(getpid(), &self, &err), 0);
	ck_assert_int_eq(uffd_open(0, &another, &err), 0);
	ck_assert(vmm_may_be(k.r, guest.pidfd, (uint32_t)guest.pid, guest.uffd));
	ck_assert(!vmm_may_be(k.r, guest.pidfd, (uint32_t)guest.pid, another));
	ck_assert(!vmm_may_be(k.r, guest.pidfd, (uint32_t)guest.pid, -1));
	ck_assert(!vmm_may_be(k.r, peer.pidfd, (uint32_t)peer.pid, guest.uffd));
	ck_assert(!vmm_may_be(k.r, self, (uint32_t)getpid(), guest.uffd));
	/* What is not shown is not known. */
	kept = guestkit_dup(guest.pidfd);
	ck_assert(vmm_check(k.r, &kept, (uint32_t)guest.pid, guest.uffd));
	ck_assert_int_ge(kept, 0);
	ck_assert(vmm_check(k.r, &kept, (uint32_t)guest.pid, another));
	ck_assert_int_eq(kept, -1);
	/* Of any other worker it is a lie. */
	k.r->rec.caller_uid = CALLER;
	kept = guestkit_dup(guest.pidfd);
	ck_assert(!vmm_check(k.r, &kept, (uint32_t)guest.pid, guest.uffd));
	close(kept);
	close(self);
	close(another);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("vmm_shown");
	TCase *alone = tcase_create("alone"), *tc = tcase_create("shown");

	if (geteuid() != 0) {
		printf("1..0 # SKIP other users, and looking into processes, need root\n");
		return NULL;
	}
	tcase_add_loop_test(alone, test_may_be, 0, ARRAY_LEN(candidates));
	suite_add_tcase(suite, alone);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_may_not_be_what_is_no_process);
	tcase_add_test(tc, test_shown_by_the_uffd);
	suite_add_tcase(suite, tc);
	return suite;
}
