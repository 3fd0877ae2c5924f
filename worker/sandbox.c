#include "worker/sandbox.h"

#include <config.h>
#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

int sandbox_become(uid_t uid, gid_t gid, const gid_t *groups, size_t ngroups, struct err *err)
{
	if (setgroups(ngroups, groups))
		return err_sys(err, "take on the caller's %zu groups", ngroups);
	if (setresgid(gid, gid, gid))
		return err_sys(err, "become gid %u", (unsigned)gid);
	if (setresuid(uid, uid, uid))
		return err_sys(err, "become uid %u", (unsigned)uid);
	return 0;
}

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "sandbox.c: say which AUDIT_ARCH this machine is"
#endif

/* Sanitizers need system calls of their own. */
#ifdef BUILD_SANITIZED
#define FILTERED false
#else
#define FILTERED true
#endif

/* Serving a guest, and what libc needs for it. */
/* clang-format off */
static const int serving[] = {
	SYS_read, SYS_write, SYS_recvmsg, SYS_sendmsg, SYS_ppoll, SYS_ioctl, SYS_pread64,
	SYS_mmap, SYS_munmap, SYS_mremap, SYS_madvise, SYS_mprotect, SYS_brk, SYS_fstat,
	SYS_lseek, SYS_close, SYS_fcntl, SYS_accept4, SYS_getsockopt, SYS_pidfd_open,
	SYS_pidfd_send_signal, SYS_clock_gettime, SYS_futex, SYS_getpid, SYS_gettid, SYS_tgkill,
	SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigreturn, SYS_restart_syscall,
	SYS_exit, SYS_exit_group, SYS_getrandom, SYS_unlinkat,
	SYS_memfd_create, /* for a working set */
	SYS_socket, SYS_connect, /* to the next supervisor */
	SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_timerfd_create, SYS_timerfd_settime,
	SYS_eventfd2, SYS_setsockopt, SYS_preadv2, SYS_mincore, SYS_fadvise64,
	SYS_set_robust_list, SYS_rseq, /* of a new thread */
#ifdef SYS_epoll_wait
	SYS_epoll_wait,
#endif
#ifdef SYS_poll
	SYS_poll,
#endif
#ifdef SYS_unlink
	SYS_unlink,
#endif
#ifdef SYS_newfstatat
	SYS_newfstatat,
#endif
};
/* clang-format on */

/* Loading a snapshot, and calling sandbox_finish(). */
/* clang-format off */
static const int loading[] = {
	SYS_openat, SYS_ftruncate, SYS_fallocate, SYS_statx, SYS_fstatfs, SYS_geteuid, SYS_capset,
	SYS_prctl, SYS_seccomp,
#ifdef SYS_open
	SYS_open,
#endif
#ifdef SYS_readlink
	SYS_readlink,
#endif
};
/* clang-format on */

/* Keeping files (holder.c). */
/* clang-format off */
static const int keeping[] = {
	SYS_recvmsg, SYS_sendmsg, SYS_ppoll, SYS_accept4, SYS_listen, SYS_close,
	SYS_clock_gettime, SYS_exit, SYS_exit_group, SYS_rt_sigreturn, SYS_restart_syscall,
#ifdef SYS_poll
	SYS_poll,
#endif
};
/* clang-format on */

struct calls {
	const int *v;
	size_t n;
};
#define CALLS(list)                   \
	{                             \
		list, ARRAY_LEN(list) \
	}

/*
 * Allows threads of this process, but no new process. glibc tries clone3() first, whose flags a
 * filter cannot see.
 */
static const struct sock_filter threads[] = {
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
};

#define HEAD_MAX (4 + ARRAY_LEN(threads))
#define FILTER_MAX (HEAD_MAX + ARRAY_LEN(serving) + ARRAY_LEN(loading) + 2)

static void jump_to_allow(struct sock_filter *f, size_t *n, int call, size_t allow_at)
{
	f[*n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call,
					     (uint8_t)(allow_at - *n - 1), 0);
	(*n)++;
}

static void add_calls(struct sock_filter *f, size_t *n, const struct calls *calls, size_t allow_at)
{
	for (size_t i = 0; i < calls->n; i++)
		jump_to_allow(f, n, calls->v[i], allow_at);
}

/* A call that is not listed fails with EPERM, as if the kernel did not allow it. */
static int filter(bool with_threads, const struct calls *a, const struct calls *b, struct err *err)
{
	struct sock_filter f[FILTER_MAX];
	size_t nthreads = with_threads ? ARRAY_LEN(threads) : 0;
	size_t allow_at = 4 + nthreads + a->n + b->n + 1, n = 0;
	struct sock_fprog prog = {.filter = f};

	_Static_assert(FILTER_MAX < 250, "jumps are 8 bits wide");
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					      offsetof(struct seccomp_data, arch));
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					      offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < nthreads; i++)
		f[n++] = threads[i];
	add_calls(f, &n, a, allow_at);
	add_calls(f, &n, b, allow_at);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prog.len = (unsigned short)n;
	if (FILTERED && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		return err_sys(err, "install the system call filter");
	return 0;
}

static const struct calls none, when_serving = CALLS(serving), when_loading = CALLS(loading),
				when_keeping = CALLS(keeping);

/* Core files and tracers would see guest memory. */
static int hide(struct err *err)
{
	const struct rlimit no_core = {0, 0};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_sys(err, "give up new privileges");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || setrlimit(RLIMIT_CORE, &no_core))
		return err_sys(err, "forbid core files");
	return 0;
}

static int drop_capabilities(struct err *err)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct nothing[2] = {{0}};

	if (syscall(SYS_capset, &head, nothing))
		return err_sys(err, "give up capabilities");
	return 0;
}

int sandbox_begin(struct err *err)
{
	return hide(err) ? -1 : filter(true, &when_serving, &when_loading, err);
}

int sandbox_finish(struct err *err)
{
	return drop_capabilities(err) ? -1 : filter(true, &when_serving, &none, err);
}

int sandbox_holder(struct err *err)
{
	return hide(err) || drop_capabilities(err) ? -1 : filter(false, &when_keeping, &none, err);
}
