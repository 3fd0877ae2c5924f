/* test_sandbox - what a worker can no longer do, and what it still can: in a process of its own */
#include <config.h>

#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "tests/support/harness.h"
#include "tests/support/runner.h"

#ifdef BUILD_SANITIZED
#define FILTERED false
#else
#define FILTERED true
#endif

#define SOMEBODY 65534 /* uid and gid */

enum stage { FREE, BEGUN, FINISHED, HOLDING, STAGES };
static const char *const stage_names[STAGES] = {"free", "begun", "finished", "holding"};

static int enter(enum stage stage, struct err *err)
{
	switch (stage) {
	case BEGUN:
		return sandbox_begin(err);
	case FINISHED:
		return sandbox_begin(err) || sandbox_finish(err) ? -1 : 0;
	case HOLDING:
		return sandbox_holder(err);
	default:
		return 0;
	}
}

/* What the child found out comes as its exit code: 0 if nothing stands in the way, else errno. */
static int try(enum stage stage, int (*deed)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct err err;

		if (enter(stage, &err))
			_exit(255);
		errno = 0;
		_exit(deed() < 0 ? errno : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "%s: signal %d", stage_names[stage], WTERMSIG(status));
	ck_assert_msg(WEXITSTATUS(status) != 255, "%s: not entered", stage_names[stage]);
	return WEXITSTATUS(status);
}

/* ---- system calls ---- */

static int open_file(void)
{
	return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}

static int make_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int listen_at_it(void)
{
	return listen(-1, 1) < 0 && errno == EBADF ? 0 : -1;
}

static int run_program(void)
{
	execl("/proc/self/exe", "x", "--nothing", NULL);
	return -1;
}

static int fork_child(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid;
}

static void *nothing(void *arg)
{
	return arg;
}

static int start_thread(void)
{
	pthread_t id;
	int sys = pthread_create(&id, NULL, nothing, NULL);

	errno = sys;
	return sys ? -1 : pthread_join(id, NULL);
}

static int trace(void)
{
	return (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static int become_root(void)
{
	return setuid(0);
}

static int make_directory(void)
{
	return mkdir("/proc/self/nothing", 0700) < 0 && errno == ENOENT ? 0 : -1;
}

static int make_namespace(void)
{
	return (int)syscall(SYS_unshare, 0);
}

static int make_userfaultfd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);

	return fd >= 0 || errno != EPERM ? 0 : -1;
}

static int kill_somebody(void)
{
	return kill(getpid(), 0);
}

static int map_memory(void)
{
	void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || madvise(p, 1 << 20, MADV_DONTDUMP))
		return -1;
	memset(p, 1, 1 << 20);
	return munmap(p, 1 << 20);
}

/* As the loop does while it sleeps. */
static int sleep_a_little(void)
{
	struct epoll_event e = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC), event = eventfd(1, EFD_CLOEXEC);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	struct itimerspec soon = {.it_value.tv_nsec = 1};
	struct pollfd p = {.fd = timer, .events = POLLIN};
	struct timespec moment = {.tv_nsec = 1000};

	if (epoll < 0 || event < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, event, &e) ||
	    epoll_wait(epoll, &e, 1, -1) != 1)
		return -1;
	if (timer < 0 || timerfd_settime(timer, 0, &soon, NULL) || ppoll(&p, 1, &moment, NULL) < 0)
		return -1;
	return poll(&p, 1, 0);
}

/* A working set, and its bytes. */
static int make_memfd(void)
{
	int fd = memfd_create("set", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char byte;
	struct stat st;

	if (fd < 0 || write(fd, "x", 1) != 1 || fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) ||
	    fstat(fd, &st))
		return -1;
	return pread(fd, &byte, 1, 0) == 1 && lseek(fd, 0, SEEK_END) == 1 ? close(fd) : -1;
}

/* To the next supervisor, with descriptors beside. */
static int send_message(void)
{
	struct pollfd p = {.fd = 0, .events = 0};
	struct msghdr hdr = {.msg_iovlen = 0};

	if (sendmsg(-1, &hdr, 0) == 0 || errno != EBADF || recvmsg(-1, &hdr, 0) == 0 ||
	    errno != EBADF)
		return -1;
	return poll(&p, 1, 0);
}

static int watch_vmm(void)
{
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	return fd < 0 ? -1 : (int)syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0);
}

static int read_files(void)
{
	char byte;
	unsigned char there;
	void *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct iovec iov = {&byte, 1};

	if (p == MAP_FAILED || mincore(p, 4096, &there))
		return -1;
	if (preadv2(-1, &iov, 1, 0, RWF_NOWAIT) == 0 || errno != EBADF)
		return -1;
	return posix_fadvise(-1, 0, 0, POSIX_FADV_WILLNEED) == EBADF ? 0 : -1;
}

static int unlink_socket(void)
{
	return unlink("/nonexistent/socket") < 0 && errno == ENOENT ? 0 : -1;
}

static int shrink_file(void)
{
	return ftruncate(-1, 0) < 0 && errno == EBADF ? 0 : -1;
}

#define MAY(stage) (1u << (stage))
#define ALL (MAY(FREE) | MAY(BEGUN) | MAY(FINISHED) | MAY(HOLDING))
#define SERVES (MAY(FREE) | MAY(BEGUN) | MAY(FINISHED))

static const struct {
	const char *what;
	int (*deed)(void);
	unsigned may; /* in these stages; in the others it is not permitted */
} deeds[] = {
	{"message", send_message, ALL},
	{"listen", listen_at_it, MAY(FREE) | MAY(HOLDING)},
	{"memory", map_memory, SERVES},
	{"sleep", sleep_a_little, SERVES},
	{"memfd", make_memfd, SERVES},
	{"vmm", watch_vmm, SERVES},
	{"residency", read_files, SERVES},
	{"thread", start_thread, SERVES},
	{"socket", make_socket, SERVES},
	{"unlink", unlink_socket, SERVES},
	{"open", open_file, MAY(FREE) | MAY(BEGUN)},
	{"truncate", shrink_file, MAY(FREE) | MAY(BEGUN)},
	{"fork", fork_child, MAY(FREE)},
	{"exec", run_program, 0},
	{"trace", trace, MAY(FREE)},
	{"setuid", become_root, MAY(FREE)},
	{"mkdir", make_directory, MAY(FREE)},
	{"unshare", make_namespace, MAY(FREE)},
	{"userfaultfd", make_userfaultfd, MAY(FREE)},
	{"kill", kill_somebody, MAY(FREE)},
};

START_TEST(test_deed)
{
	for (int stage = FREE; stage < STAGES; stage++) {
		int sys;

		/* That it can be done at all must not depend on who runs the test. */
		if (!FILTERED || (stage == FREE && (geteuid() || !deeds[_i].may)))
			continue;
		sys = try((enum stage)stage, deeds[_i].deed);
		ck_assert_msg(sys == (deeds[_i].may & MAY(stage) ? 0 : EPERM), "%s, %s: %s",
			      deeds[_i].what, stage_names[stage], sys ? strerror(sys) : "done");
	}
}
END_TEST

/* System calls of another architecture have other numbers: the filter ends who makes one. */
#ifdef __x86_64__
static int call_as_i386(enum stage stage)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		long getpid_i386 = 20;
		struct err err;

		if (enter(stage, &err))
			_exit(255);
		__asm__ volatile("int $0x80"
				 : "+a"(getpid_i386)
				 :
				 : "memory", "r8", "r9", "r10", "r11");
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

START_TEST(test_other_architecture)
{
	if (!FILTERED || call_as_i386(FREE))
		return;
	ck_assert_int_eq(call_as_i386((enum stage)_i), SIGSYS);
}
END_TEST
#endif

/* ---- what is given up besides ---- */

/* A number of /proc/PID/status, in hexadecimal; read from outside, for inside nothing opens. */
static unsigned long long status_of(pid_t pid, const char *name)
{
	unsigned long long value = UINT64_MAX;
	char path[64], line[256];
	cleanup_file FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, name, strlen(name)) == 0)
			sscanf(line + strlen(name), ":%llx", &value);
	ck_assert_msg(value != UINT64_MAX, "no %s", name);
	return value;
}

/* It is in that stage when this returns, and lives until it is killed. */
static pid_t start_in(enum stage stage)
{
	int said[2];
	char byte = 0;
	pid_t pid;

	ck_assert_int_eq(pipe2(said, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		struct pollfd p = {.fd = -1};
		struct err err;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		if (enter(stage, &err))
			_exit(255);
		/* A holder may not even write; its end of the pipe says it. */
		close(said[1]);
		poll(&p, 1, -1);
		_exit(0);
	}
	close(said[1]);
	ck_assert_int_eq(read(said[0], &byte, 1), 0);
	close(said[0]);
	return pid;
}

static void end(pid_t pid)
{
	int status;

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status), "it had ended: %d", status);
}

START_TEST(test_capabilities)
{
	static const char *const kinds[] = {"CapInh", "CapPrm", "CapEff"};
	const bool kept = _i == FREE || _i == BEGUN;
	unsigned long long all = 0;
	pid_t pid = start_in((enum stage)_i);

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		all |= status_of(pid, kinds[i]);
	if (geteuid() == 0)
		ck_assert_msg((all != 0) == kept, "%s: %llx", stage_names[_i], all);
	ck_assert_uint_eq(status_of(pid, "NoNewPrivs"), _i == FREE ? 0 : 1);
	if (FILTERED)
		ck_assert_uint_eq(status_of(pid, "Seccomp"), _i == FREE ? 0 : 2);
	end(pid);
}
END_TEST

/* No core is left of it: guest memory would be in that. */
START_TEST(test_no_core)
{
	pid_t pid = start_in((enum stage)_i);
	struct rlimit core;

	ck_assert_int_eq(prlimit(pid, RLIMIT_CORE, NULL, &core), 0);
	if (_i != FREE)
		ck_assert_uint_eq(core.rlim_cur + core.rlim_max, 0);
	end(pid);
}
END_TEST

/* Nobody but root may look into it. */
static int is_dumpable(void)
{
	return prctl(PR_GET_DUMPABLE) ? 0 : (errno = ENODATA, -1);
}

START_TEST(test_not_dumpable)
{
	ck_assert_int_eq(try(FREE, is_dumpable), 0);
	ck_assert_int_eq(try(BEGUN, is_dumpable), ENODATA);
}
END_TEST

/* ---- who it is ---- */

static const gid_t groups[] = {1000, 2000, 3000};

static void become(int out)
{
	gid_t got[8];
	uid_t uid[3];
	gid_t gid[3];
	struct err err;
	bool right;

	if (sandbox_become(SOMEBODY, SOMEBODY - 1, groups, ARRAY_LEN(groups), &err))
		_exit(1);
	right = getresuid(&uid[0], &uid[1], &uid[2]) == 0 &&
		getresgid(&gid[0], &gid[1], &gid[2]) == 0 &&
		getgroups(8, got) == ARRAY_LEN(groups) && memcmp(got, groups, sizeof(groups)) == 0;
	for (int i = 0; i < 3; i++)
		right = right && uid[i] == SOMEBODY && gid[i] == SOMEBODY - 1;
	/* And there is no way back. */
	right = right && setuid(0) < 0 && setgid(0) < 0 && seteuid(0) < 0;
	if (write(out, &right, sizeof(right)) != sizeof(right))
		_exit(2);
	_exit(0);
}

START_TEST(test_become)
{
	bool right = false;
	int said[2];
	pid_t pid;

	if (geteuid()) {
		fputs("# only root can become somebody else: skipped\n", stderr);
		return;
	}
	ck_assert_int_eq(pipe2(said, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0)
		become(said[1]);
	close(said[1]);
	ck_assert_int_eq(read(said[0], &right, sizeof(right)), sizeof(right));
	ck_assert(right);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	close(said[0]);
}
END_TEST

static int become_another(void)
{
	struct err err;
	int rc;

	if (setresuid(SOMEBODY, SOMEBODY, SOMEBODY))
		return -1;
	rc = sandbox_become(1, 1, groups, ARRAY_LEN(groups), &err);
	if (rc == 0 || err.code != ERR_SYSTEM || !strstr(err.msg, "take on the caller's 3 groups"))
		return 0;
	errno = err.sys;
	return -1;
}

START_TEST(test_may_not_become)
{
	if (geteuid() == 0)
		ck_assert_int_eq(try(FREE, become_another), EPERM);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("sandbox");
	TCase *t = tcase_create("sandbox");

	tcase_add_loop_test(t, test_deed, 0, ARRAY_LEN(deeds));
#ifdef __x86_64__
	tcase_add_loop_test(t, test_other_architecture, BEGUN, STAGES);
#endif
	tcase_add_loop_test(t, test_capabilities, 0, STAGES);
	tcase_add_loop_test(t, test_no_core, 0, STAGES);
	tcase_add_test(t, test_not_dumpable);
	tcase_add_test(t, test_become);
	tcase_add_test(t, test_may_not_become);
	suite_add_tcase(s, t);
	return s;
}
