/*
 * chanscene - for fuzz_chan: a restore of a tenant in any state, its worker, and what a worker may
 * have in hand
 *
 * Store and loop stay from input to input; restore, pool and channel are new for each. The worker,
 * the VMM (of the restore's tenant) and a bystander (of another tenant) are processes that only
 * stay. Only the first two may be killed: pidfd_send_signal() is ours.
 */
#ifndef UFFDD_TESTS_CHANSCENE_H
#define UFFDD_TESTS_CHANSCENE_H

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/proc.h"
#include "daemon/conversation.h"
#include "daemon/log.h"
#include "daemon/vmm.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fds.h"
#include "tests/support/restorekit.h"
#include "tests/support/vmmside.h"

#define TENANT_UID 64242 /* of the restore's caller and of its VMM */
#define OTHER_UID 64243
#define SIZE (10 * PAGE_4K - 1) /* of the snapshot */
#define SPAN (10 * PAGE_4K)
#define CLIENTS_MAX 8

/* A process that stays until it is killed, without our descriptors. */
struct stayer {
	pid_t pid; /* 0: none */
	uid_t uid;
	int pidfd;
	bool killed; /* by us: ends soon */
};

/* What a worker may pass on. */
enum thing {
	THING_UFFD,
	THING_UFFD_OF_DEAD,
	THING_VMM,
	THING_OTHER,
	THING_SELF,
	THING_INIT,
	THING_WORKER,
	THING_DEAD,
	THING_EVENT,
	THING_LISTENING,
	THING_PIPE,
	THING_SEALED,
	THING_NULL,
	THING_COUNT
};

static struct restorekit k;
static struct stayer worker = {.uid = 0}, vmm = {.uid = TENANT_UID}, other = {.uid = OTHER_UID};
static int things[THING_COUNT];
static int chan = -1; /* the worker's end */
static unsigned answers;
static int clients[CLIENTS_MAX];
static size_t nclients;
static uint64_t peer_cookie; /* of the connection that the worker heard of last */
static uint64_t later_ns;    /* the clock goes so much too fast */

/* ---- what the supervisor does to the machine ---- */

/* Only the monotonic clock: libFuzzer looks at the other one. */
int clock_gettime(clockid_t which, struct timespec *ret)
{
	long rc = syscall(SYS_clock_gettime, which, ret);
	uint64_t ns;

	if (rc || which != CLOCK_MONOTONIC)
		return (int)rc;
	ns = (uint64_t)ret->tv_nsec + later_ns;
	ret->tv_sec += (time_t)(ns / 1000000000);
	ret->tv_nsec = (long)(ns % 1000000000);
	return 0;
}

static bool is_child(pid_t pid)
{
	siginfo_t how = {0};

	return waitid(P_PID, (id_t)pid, &how, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* Kills the worker, its successors, and the VMM only. To kill any other process is a fault. */
int pidfd_send_signal(int pidfd, int sig, siginfo_t *info, unsigned flags)
{
	uid_t real, saved;
	pid_t pid;

	if (proc_behind(pidfd, &pid, &real, &saved)) {
		errno = EBADF;
		return -1;
	}
	if (pid && (pid == other.pid || !is_child(pid)))
		fuzz_fail(__FILE__, __LINE__, "process %d of user %u is killed", (int)pid, real);
	worker.killed = worker.killed || pid == worker.pid;
	vmm.killed = vmm.killed || pid == vmm.pid;
	return (int)syscall(SYS_pidfd_send_signal, pidfd, sig, info, flags);
}

/* ---- processes ---- */

static inline void stayer_start(struct stayer *s)
{
	struct err err;
	pid_t pid;

	if (s->pid)
		return;
	/* A fork would copy the page tables of a sanitizer's shadow. */
	pid = vfork();
	FUZZ_CHECK(pid >= 0);
	if (pid == 0) {
		syscall(SYS_close_range, 0, ~0u, 0);
		if (syscall(SYS_setresgid, s->uid, s->uid, s->uid) ||
		    syscall(SYS_setresuid, s->uid, s->uid, s->uid) ||
		    prctl(PR_SET_PDEATHSIG, SIGKILL))
			_exit(1);
		execl("/bin/sleep", "sleep", "infinity", NULL);
		_exit(1);
	}
	s->pid = pid;
	s->killed = false;
	FUZZ_CHECK(proc_pidfd(pid, &s->pidfd, &err) == 0);
}

/* Its end is there for all to see, and is not yet reaped. */
static inline void stayer_end(struct stayer *s)
{
	siginfo_t how;

	kill(s->pid, SIGKILL);
	s->killed = true;
	waitid(P_PID, (id_t)s->pid, &how, WEXITED | WNOWAIT);
}

static inline void stayer_forget(struct stayer *s)
{
	if (!s->killed)
		return;
	waitpid(s->pid, NULL, 0);
	close_fd(&s->pidfd);
	s->pid = 0;
}

/* The userfaultfd of a process that has ended, and its pidfd. */
static inline void make_dead(void)
{
	int uffd, pair[2];
	struct msghdr msg = {0};
	struct err err;
	pid_t pid;

	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) == 0);
	pid = fork();
	FUZZ_CHECK(pid >= 0);
	if (pid == 0) {
		if (uffd_open(0, &uffd, &err) || handshake_send(pair[1], "x", &uffd, 1, &err))
			_exit(1);
		_exit(0);
	}
	FUZZ_CHECK(proc_pidfd(pid, &things[THING_DEAD], &err) == 0);
	waitpid(pid, NULL, 0);
	{
		union {
			char bytes[CMSG_SPACE(sizeof(int))];
			struct cmsghdr align;
		} control;
		char text[8];
		struct iovec iov = {text, sizeof(text)};

		msg = (struct msghdr){.msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = &control,
				      .msg_controllen = sizeof(control)};
		FUZZ_CHECK(recvmsg(pair[0], &msg, MSG_CMSG_CLOEXEC) > 0 && CMSG_FIRSTHDR(&msg));
		memcpy(&things[THING_UFFD_OF_DEAD], CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	}
	close(pair[0]);
	close(pair[1]);
}

/* ---- once ---- */

static inline void make_things(void)
{
	struct err err = {.msg = ""};
	int ends[2];

	memset(things, -1, sizeof(things));
	if (uffd_open(0, &things[THING_UFFD], &err))
		fuzz_fail(__FILE__, __LINE__, "%s", err.msg);
	FUZZ_CHECK(proc_pidfd(getpid(), &things[THING_SELF], &err) == 0);
	FUZZ_CHECK(proc_pidfd(1, &things[THING_INIT], &err) == 0);
	FUZZ_CHECK(pipe2(ends, O_CLOEXEC) == 0);
	things[THING_PIPE] = ends[0];
	things[THING_EVENT] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	things[THING_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	things[THING_SEALED] = memfd_create("set", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	FUZZ_CHECK(write(things[THING_SEALED], "uffdwset", 8) == 8);
	fcntl(things[THING_SEALED], F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
	make_dead();
}

static inline void remove_kit(void)
{
	wset_store_close(k.host.wset_store);
	restorekit_close(&k);
}

static inline void scene_prepare(void)
{
	struct err err = {.msg = ""};

	log_set_level(LOG_LEVEL_ERROR);
	signal(SIGPIPE, SIG_IGN);
	make_things();
	stayer_start(&other);
	restorekit_open(&k, "");
	FUZZ_CHECK(wset_store_open(k.dir, 1 << 20, 1 << 20, &k.host.wset_store, &err) == 0);
	k.host.worker_hooks = &conversation_worker_hooks;
	/* The store's files are open from then on. */
	restore_changed(k.r, "created", NULL);
	restore_free(steal_ptr(&k.r));
	atexit(remove_kit);
}

/* ---- for each input ---- */

static inline void note_answer(struct creator *c, struct restore *r, const struct err *why)
{
	(void)c;
	(void)r;
	(void)why;
	answers++;
}

static struct creator creator = {.done = note_answer};

static inline void open_channel(bool replays)
{
	struct err err = {.msg = ""};
	int ends[2], pidfd;

	FUZZ_CHECK(chan_pair(ends, &err) == 0 && proc_pidfd(worker.pid, &pidfd, &err) == 0);
	close_fd(&chan);
	chan = ends[1];
	k.r->worker = pool_adopt(k.host.pool, worker.pid, pidfd, ends[0], "a release");
	k.r->worker->replays = replays;
	worker_own(k.r->worker, &conversation_worker_hooks, k.r);
}

static inline void listen_anew(void)
{
	char path[CONF_PATH_MAX + 1];
	struct err err = {.msg = ""};

	close_fd(&things[THING_LISTENING]);
	snprintf(path, sizeof(path), "%s/s", k.dir);
	unlink(path);
	if (sock_listen(path, SOCK_STREAM, sock_mode(0600), &things[THING_LISTENING], &err))
		fuzz_fail(__FILE__, __LINE__, "%s", err.msg);
}

static inline void connect_vmm(bool huge)
{
	struct chan_connected c = {.pid = (uint32_t)vmm.pid,
				   .uid = TENANT_UID,
				   .nregions = 1,
				   .page_bytes = huge ? PAGE_2M : PAGE_4K,
				   .memory_bytes = huge ? 0 : SPAN};
	int pidfd = fcntl(vmm.pidfd, F_DUPFD_CLOEXEC, 0);

	k.r->hold.uffd = fcntl(things[THING_UFFD], F_DUPFD_CLOEXEC, 0);
	restore_connected(k.r, &c, pidfd);
	vmm_watch(k.r, &pidfd);
}

static const struct {
	enum slot_state slot;
	bool connected, unserved, failed;
} scenes[] = {
	{SLOT_CREATING, false, false, false}, {SLOT_LOADING, false, false, false},
	{SLOT_LOADING, true, true, false},    {SLOT_READY, false, false, false},
	{SLOT_READY, true, false, false},     {SLOT_READY, true, false, true},
	{SLOT_LOADING, true, false, true},
};

enum option { HUGE = 1, REPLAYS = 2, RESTARTS = 4, RECORDS = 8 };

static inline void scene_begin(unsigned which, unsigned options, unsigned policy)
{
	static const char *const policies[] = {"\"on_failure\":\"kill\"",
					       "\"on_failure\":\"poison\"",
					       "\"on_failure\":\"hold\""};
	struct err err = {.msg = ""};

	which %= ARRAY_LEN(scenes);
	answers = 0;
	stayer_start(&worker);
	stayer_start(&vmm);
	things[THING_WORKER] = worker.pidfd;
	things[THING_VMM] = vmm.pidfd;
	things[THING_OTHER] = other.pidfd;
	FUZZ_CHECK(pool_new(k.host.base, "/bin/true", 0, &k.host.pool, &err) == 0);
	k.host.conf.worker_restarts = options & RESTARTS ? 1 : 0;
	restorekit_make(&k, policies[policy % ARRAY_LEN(policies)]);
	k.r->rec.caller_uid = k.r->rec.caller_gid = TENANT_UID;
	k.r->spec.peer_uid = TENANT_UID;
	k.r->rec.size_bytes = SIZE;
	k.r->rec.recording = options & RECORDS;
	open_channel(options & REPLAYS);
	k.r->rec.worker_pid = (uint32_t)worker.pid;
	k.r->rec.worker_start = k.r->worker->start;
	listen_anew();
	k.r->slot.state = scenes[which].slot;
	if (scenes[which].slot == SLOT_CREATING) {
		TAILQ_INSERT_TAIL(&k.r->creators, &creator, link);
		creator.list = &k.r->creators;
		return;
	}
	FUZZ_CHECK(restore_created(k.r, NULL, &err) == 0);
	if (scenes[which].connected)
		connect_vmm(options & HUGE);
	if (scenes[which].unserved) {
		restore_unserved(k.r);
		restore_changed(k.r, "worker-died", NULL);
	}
	if (scenes[which].failed)
		restore_fail(k.r, "a reason");
	restore_listen(k.r, &(int){fcntl(things[THING_LISTENING], F_DUPFD_CLOEXEC, 0)},
		       options >> 4);
}

/* Successors that have ended, too. */
static inline void scene_end(void)
{
	if (k.r)
		restore_free(steal_ptr(&k.r));
	pool_free(k.host.pool);
	k.host.pool = NULL;
	while (nclients)
		close(clients[--nclients]);
	close_fd(&chan);
	close_fd(&things[THING_LISTENING]);
	stayer_forget(&worker);
	stayer_forget(&vmm);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

#endif
