/* test_syscalls - what a worker can no longer do, and what it still can, in each phase */
#include <config.h>

#include "worker/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "common/pagemap_scan.h"
#include "common/uffd_requests.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"
#include "tests/support/sandboxkit.h"

/* ---- system calls ---- */

static int open_file(void)
{
	return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}

static int open_beneath(void)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH};

	return (int)syscall(SYS_openat2, AT_FDCWD, ".", &how, sizeof(how));
}

/* As to the next supervisor. */
static int make_socket(void)
{
	return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* As to the control API. */
static int make_stream(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int make_datagram(void)
{
	return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static int make_raw(void)
{
	return socket(AF_UNIX, SOCK_RAW | SOCK_CLOEXEC, 0);
}

/* A kernel may do without a family. */
static int make_foreign(int family, int type)
{
	return socket(family, type | SOCK_CLOEXEC, 0) < 0 && errno == EPERM ? -1 : 0;
}

static int make_inet(void)
{
	return make_foreign(AF_INET, SOCK_SEQPACKET) | make_foreign(AF_INET, SOCK_STREAM) |
	       make_foreign(AF_INET6, SOCK_DGRAM);
}

static int make_netlink(void)
{
	return make_foreign(AF_NETLINK, SOCK_RAW);
}

static int make_vsock(void)
{
	return make_foreign(AF_VSOCK, SOCK_SEQPACKET) | make_foreign(AF_VSOCK, SOCK_STREAM);
}

static int connect_it(void)
{
	return connect(-1, NULL, 0) < 0 && errno == EBADF ? 0 : -1;
}

static int bind_it(void)
{
	return bind(-1, NULL, 0) < 0 && errno == EBADF ? 0 : -1;
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

static int become_again(void)
{
	return setresuid(geteuid(), geteuid(), geteuid());
}

static int be_dumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static int take_name(void)
{
	return prctl(PR_SET_NAME, "another");
}

/* ---- signals ---- */

static int signal_by_pid(void)
{
	return kill(getpid(), 0);
}

static int signal_other_thread(void)
{
	return (int)syscall(SYS_tgkill, 1, 1, 0) < 0 && errno == EPERM ? -1 : 0;
}

static int signal_oneself(void)
{
	return (int)syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0);
}

static int signal_by_pidfd(void)
{
	return (int)syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0) < 0 && errno == EBADF ? 0 : -1;
}

/* Whom SIGIO goes to, when a descriptor becomes readable. */
static int signal_by_descriptor(void)
{
	return fcntl(-1, F_SETOWN, 1) < 0 && errno == EBADF ? 0 : -1;
}

/* ---- ioctls ---- */

static int call_uffd(void)
{
	return ioctl(-1, UFFDIO_COPY, NULL) < 0 && errno == EBADF ? 0 : -1;
}

static int call_pagemap(void)
{
	return ioctl(-1, PAGEMAP_SCAN, NULL) < 0 && errno == EBADF ? 0 : -1;
}

static int call_terminal(void)
{
	return ioctl(-1, TIOCSTI, NULL) < 0 && errno == EBADF ? 0 : -1;
}

static int call_register(void)
{
	return ioctl(-1, UFFDIO_REGISTER, NULL) < 0 && errno == EBADF ? 0 : -1;
}

/* ---- memory ---- */

static int map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED
		       ? -1
		       : 0;
}

static int make_code(void)
{
	static char page[8192];

	return mprotect((void *)(((uintptr_t)page + 4095) & ~(uintptr_t)4095), 4096,
			PROT_READ | PROT_EXEC);
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

/* One that can be executed, or whose flags the kernel changes. */
static int make_other_memfd(void)
{
	return memfd_create("set", MFD_CLOEXEC);
}

static int watch_vmm(void)
{
	return (int)syscall(SYS_pidfd_open, getpid(), 0);
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
#define ALL (SERVES | MAY(HOLDING))
#define SERVES (LOADS | MAY(FINISHED) | MAY(REMOVES))
#define LOADS (OPENS | MAY(CLOSED))
#define OPENS (MAY(FREE) | MAY(BEGUN))

static const struct {
	const char *what;
	int (*deed)(void);
	unsigned may; /* in these stages; in the others it is not permitted */
} deeds[] = {
	{"message", send_message, ALL},
	{"listen", listen_at_it, OPENS | MAY(HOLDING)},
	{"memory", map_memory, SERVES},
	{"sleep", sleep_a_little, SERVES},
	{"memfd", make_memfd, SERVES},
	{"vmm", watch_vmm, SERVES},
	{"residency", read_files, SERVES},
	{"thread", start_thread, SERVES},
	{"socket", make_socket, SERVES},
	{"connect", connect_it, SERVES},
	{"uffd", call_uffd, SERVES},
	{"pagemap", call_pagemap, SERVES},
	{"abort", signal_oneself, SERVES},
	{"unlink", unlink_socket, OPENS | MAY(REMOVES)},
	{"truncate", shrink_file, LOADS},
	{"open", open_file, OPENS},
	{"openat2", open_beneath, OPENS},
	{"stream", make_stream, OPENS},
	{"datagram", make_datagram, OPENS},
	{"bind", bind_it, OPENS},
	{"setresuid", become_again, OPENS},
	{"dumpable", be_dumpable, OPENS},
	{"raw", make_raw, MAY(FREE)},
	{"inet", make_inet, MAY(FREE)},
	{"netlink", make_netlink, MAY(FREE)},
	{"vsock", make_vsock, MAY(FREE)},
	{"name", take_name, MAY(FREE)},
	{"kill", signal_by_pid, MAY(FREE)},
	{"tgkill", signal_other_thread, MAY(FREE)},
	{"pidfd_send_signal", signal_by_pidfd, MAY(FREE)},
	{"F_SETOWN", signal_by_descriptor, MAY(FREE)},
	{"TIOCSTI", call_terminal, MAY(FREE)},
	{"UFFDIO_REGISTER", call_register, MAY(FREE)},
	{"map code", map_code, MAY(FREE)},
	{"make code", make_code, MAY(FREE)},
	{"other memfd", make_other_memfd, MAY(FREE)},
	{"fork", fork_child, MAY(FREE)},
	{"exec", run_program, 0},
	{"trace", trace, MAY(FREE)},
	{"setuid", become_root, MAY(FREE)},
	{"mkdir", make_directory, MAY(FREE)},
	{"unshare", make_namespace, MAY(FREE)},
};

static bool is_skipped(enum stage stage, enum who who, unsigned may)
{
	if (!FILTERED || (who == ANOTHER && geteuid()))
		return true;
	/* That it can be done at all must not depend on who runs the test. */
	return stage == FREE && (geteuid() || who != ROOT || !may);
}

START_TEST(test_deed)
{
	const enum who who = (enum who)(_i % WHO);
	const int i = _i / WHO;

	for (enum stage stage = FREE; stage < STAGES; stage++) {
		int sys;

		if (is_skipped(stage, who, deeds[i].may))
			continue;
		sys = try(stage, who, deeds[i].deed);
		ck_assert_msg(sys == (deeds[i].may & MAY(stage) ? 0 : EPERM), "%s, %s, %s: %s",
			      deeds[i].what, stage_names[stage], who_names[who],
			      sys ? strerror(sys) : "done");
	}
}
END_TEST

/* Nothing that the worker does is like these, whatever the arguments. */
/* clang-format off */
static const struct {
	const char *name;
	long nr;
} never[] = {
#define NR(name) {#name, SYS_##name}
	NR(userfaultfd), NR(ptrace), NR(process_vm_readv), NR(process_vm_writev), NR(pidfd_getfd),
	NR(bpf), NR(perf_event_open), NR(io_uring_setup), NR(keyctl), NR(add_key), NR(mount),
	NR(umount2), NR(fsopen), NR(open_tree), NR(move_mount), NR(pivot_root), NR(chroot),
	NR(setns), NR(execveat), NR(personality), NR(shmget), NR(shmat), NR(pkey_mprotect),
	NR(remap_file_pages), NR(renameat2), NR(linkat), NR(symlinkat), NR(mknodat),
	NR(open_by_handle_at), NR(name_to_handle_at), NR(inotify_init1),
	NR(fanotify_init), NR(init_module), NR(finit_module), NR(kexec_load), NR(reboot),
	NR(setsid), NR(setpgid), NR(setpriority), NR(sched_setscheduler), NR(tkill),
	NR(rt_sigqueueinfo), NR(rt_tgsigqueueinfo), NR(timer_create), NR(mq_open), NR(socketpair),
	NR(sendmmsg), NR(splice), NR(vmsplice), NR(kcmp), NR(mlock), NR(quotactl), NR(swapon),
	NR(fsetxattr), NR(fchown), NR(utimensat), NR(setfsuid), NR(clone3),
};
/* clang-format on */

static long never_nr;

static int call_it(void)
{
	return (int)syscall(never_nr, -1, -1, -1, -1, -1, -1);
}

START_TEST(test_never)
{
	never_nr = never[_i].nr;
	for (enum stage stage = BEGUN; stage < STAGES && FILTERED; stage++) {
		/* glibc must believe that there is no clone3(): it tries that first. */
		bool unknown = never_nr == SYS_clone3 && stage != HOLDING;
		int sys = try(stage, ROOT, call_it);

		ck_assert_msg(sys == (unknown ? ENOSYS : EPERM), "%s, %s: %s", never[_i].name,
			      stage_names[stage], strerror(sys));
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

		if (enter(stage, ROOT, &err))
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

Suite *test_suite(void)
{
	Suite *s = suite_create("syscalls");
	TCase *t = tcase_create("syscalls");

	tcase_add_loop_test(t, test_deed, 0, WHO * (int)ARRAY_LEN(deeds));
	tcase_add_loop_test(t, test_never, 0, ARRAY_LEN(never));
#ifdef __x86_64__
	tcase_add_loop_test(t, test_other_architecture, BEGUN, STAGES);
#endif
	suite_add_tcase(s, t);
	return s;
}
