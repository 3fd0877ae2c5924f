#include "worker/syscalls.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "worker/files.h"
#include "worker/guest.h"
#include "worker/loop.h"
#include "worker/peers.h"
#include "worker/readahead.h"
#include "worker/residency.h"
#include "worker/roots.h"
#include "worker/supervisor_link.h"
#include "worker/working_set.h"

#define SOCK_TYPE_MASK 0xf

/* ---- what every phase needs ---- */

/* clang-format off */
static const struct call libc[] = {
	CALL(brk), CALL(munmap), CALL(mremap), CALL(madvise),
	/* Memory that was written to is never executed. */
	CALL_IF(mmap, 2, PROT_EXEC, 0), CALL_IF(mprotect, 2, PROT_EXEC, 0),
	CALL(futex), CALL(set_robust_list), CALL(rseq), CALL(gettid), CALL(getpid),
	CALL(rt_sigprocmask), CALL(rt_sigaction), CALL(rt_sigreturn), CALL(restart_syscall),
	CALL(clock_gettime), CALL(close), CALL(read), CALL(write), CALL(fstat), CALL(newfstatat),
	CALL(exit), CALL(exit_group),
};
/* clang-format on */
static const struct calls libc_calls = CALLS(libc);

/* ---- opening: load.c, common/sock.c and sandbox.c itself ---- */

/* clang-format off */
static const struct call binding[] = {
	{SCMP_SYS(socket), {{0, CALL_INT, AF_UNIX}, {1, SOCK_TYPE_MASK, SOCK_STREAM}}},
	{SCMP_SYS(socket), {{0, CALL_INT, AF_UNIX}, {1, SOCK_TYPE_MASK, SOCK_DGRAM}}},
	CALL(bind), CALL(listen), CALL(lstat), CALL(fchmod), CALL(chmod), CALL(fchmodat),
	CALL(fchownat),
};
/* clang-format on */
static const struct calls binding_calls = CALLS(binding);

/* clang-format off */
static const struct call becoming[] = {
	CALL(setgroups), CALL(setresgid), CALL(setresuid), CALL(capset),
	CALL_IF(prctl, 0, CALL_INT, PR_SET_DUMPABLE),
	CALL(landlock_create_ruleset), CALL(landlock_add_rule), CALL(landlock_restrict_self),
};
/* clang-format on */
static const struct calls becoming_calls = CALLS(becoming);

/* The socket's path. Taken away from workers that have none to remove. */
/* clang-format off */
static const struct call removing[] = {
	CALL(unlink), CALL(unlinkat),
};
/* clang-format on */
static const struct calls removing_calls = CALLS(removing);

/* ---- loading: the page map's file is made, and sandbox_finish() called ---- */

/* clang-format off */
static const struct call loading[] = {
	CALL(ftruncate), CALL(fallocate), CALL(fstatfs), CALL(geteuid), CALL(seccomp),
	CALL_IF(prlimit64, 0, CALL_INT, 0),
};
/* clang-format on */
static const struct calls loading_calls = CALLS(loading);

/* ---- the phases ---- */

/* clang-format off */
static const struct calls *const opening_lists[] = {
	&files_calls, &roots_calls, &binding_calls, &becoming_calls, NULL,
};
static const struct calls *const loading_lists[] = {
	&loading_calls, NULL,
};
static const struct calls *const serving_lists[] = {
	&guest_calls, &libc_calls, &loop_calls, &residency_calls, &readahead_calls,
	&supervisor_link_calls, &peers_calls, &working_set_calls, NULL,
};
/* clang-format on */

const struct sandbox_calls syscalls_worker = {
	.opening = opening_lists,
	.loading = loading_lists,
	.serving = serving_lists,
	.removing = &removing_calls,
};
