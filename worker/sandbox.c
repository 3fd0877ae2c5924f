#include "worker/sandbox.h"

#include <config.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "worker/landlock.h"

/* Sanitizers make system calls, and open files, of their own. */
#ifdef BUILD_SANITIZED
#define FILTERED false
#else
#define FILTERED true
#endif

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

/* ---- filters ---- */

static int add_call(scmp_filter_ctx ctx, uint32_t action, const struct call *c)
{
	struct scmp_arg_cmp when[CALL_ARGS];
	unsigned n = 0;

	for (; n < CALL_ARGS && c->when[n].mask; n++)
		when[n] = (struct scmp_arg_cmp){c->when[n].arg, SCMP_CMP_MASKED_EQ, c->when[n].mask,
						c->when[n].value};
	return seccomp_rule_add_array(ctx, action, c->nr, n, when);
}

static int add_calls(scmp_filter_ctx ctx, uint32_t action, const struct calls *calls)
{
	int rc = 0;

	for (size_t i = 0; i < calls->n && rc == 0; i++)
		rc = add_call(ctx, action, &calls->v[i]);
	return rc;
}

static int add_lists(scmp_filter_ctx ctx, uint32_t action, const struct calls *const *lists)
{
	int rc = 0;

	for (; *lists && rc == 0; lists++)
		rc = add_calls(ctx, action, *lists);
	return rc;
}

/*
 * Threads of this process, but no new process: glibc tries clone3() first, whose flags a filter
 * cannot see. Signals to this process alone, for abort().
 */
static int add_own(scmp_filter_ctx ctx)
{
	const struct call thread = CALL_IF(clone, 0, CLONE_THREAD, CLONE_THREAD);
	const struct call clone3 = CALL(clone3);
	const struct call self = CALL_IF(tgkill, 0, CALL_INT, (uint32_t)getpid());
	int rc = add_call(ctx, SCMP_ACT_ALLOW, &thread);

	if (rc == 0)
		rc = add_call(ctx, SCMP_ACT_ERRNO(ENOSYS), &clone3);
	return rc ? rc : add_call(ctx, SCMP_ACT_ALLOW, &self);
}

/* NULL: no memory. */
static scmp_filter_ctx filter_new(uint32_t otherwise)
{
	scmp_filter_ctx ctx = seccomp_init(otherwise);

	if (ctx) {
		seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
		seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
		/* Of the fault path. Calls without a condition need not be looked for at all. */
		seccomp_syscall_priority(ctx, SCMP_SYS(ioctl), UINT8_MAX);
	}
	return ctx;
}

/* @rc: of the rules, a negative errno. Releases @ctx. */
static int filter_load(scmp_filter_ctx ctx, int rc, struct err *err)
{
	if (rc == 0 && ctx)
		rc = seccomp_load(ctx);
	if (!ctx)
		rc = -ENOMEM;
	seccomp_release(ctx);
	errno = -rc;
	return rc ? err_sys(err, "install the system call filter") : 0;
}

static int allow(const struct sandbox_calls *calls, struct err *err)
{
	scmp_filter_ctx ctx = filter_new(SCMP_ACT_ERRNO(EPERM));
	int rc = ctx ? add_lists(ctx, SCMP_ACT_ALLOW, calls->serving) : 0;

	if (ctx && rc == 0)
		rc = add_own(ctx);
	if (ctx && rc == 0)
		rc = add_lists(ctx, SCMP_ACT_ALLOW, calls->loading);
	if (ctx && rc == 0)
		rc = add_lists(ctx, SCMP_ACT_ALLOW, calls->opening);
	if (ctx && rc == 0)
		rc = add_calls(ctx, SCMP_ACT_ALLOW, calls->removing);
	return filter_load(ctx, rc, err);
}

/* Does the later phase's @have allow all that @c allows? */
static bool covers(const struct call *have, const struct call *c)
{
	if (have->nr != c->nr)
		return false;
	for (unsigned i = 0; i < CALL_ARGS; i++)
		if (have->when[i].mask &&
		    (have->when[i].arg != c->when[i].arg || have->when[i].mask != c->when[i].mask ||
		     have->when[i].value != c->when[i].value))
			return false;
	return true;
}

static bool is_on(const struct calls *const *lists, const struct call *c)
{
	for (; *lists; lists++)
		for (size_t i = 0; i < (*lists)->n; i++)
			if (covers(&(*lists)->v[i], c))
				return true;
	return false;
}

/* Refuses the calls of the phase that is over, but for those that a later phase needs as well. */
static int refuse(scmp_filter_ctx ctx, const struct calls *const *over,
		  const struct calls *const *loading, const struct calls *const *serving)
{
	int rc = 0;

	for (; *over; over++)
		for (size_t i = 0; i < (*over)->n && rc == 0; i++) {
			const struct call *c = &(*over)->v[i];

			if (!is_on(serving, c) && !(loading && is_on(loading, c)))
				rc = add_call(ctx, SCMP_ACT_ERRNO(EPERM), c);
		}
	return rc;
}

/* ---- what goes with them ---- */

/* Core files and tracers would see guest memory. */
static int hide(struct err *err)
{
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return err_sys(err, "forbid core files");
	return 0;
}

static int limit(int what, uint64_t most, struct err *err)
{
	const struct rlimit l = {most, most};

	if (setrlimit((__rlimit_resource_t)what, &l))
		return err_sys(err, "give up a resource (%d)", what);
	return 0;
}

static int begin(struct err *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_sys(err, "give up new privileges");
	return hide(err) || limit(RLIMIT_CORE, 0, err) || limit(RLIMIT_MEMLOCK, 0, err) ||
			       limit(RLIMIT_MSGQUEUE, 0, err) || limit(RLIMIT_RTPRIO, 0, err)
		       ? -1
		       : 0;
}

static int drop_capabilities(struct err *err)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct nothing[2] = {{0}};

	if (syscall(SYS_capset, &head, nothing))
		return err_sys(err, "give up capabilities");
	return 0;
}

/* ---- the phases ---- */

int sandbox_begin(const struct sandbox_calls *calls, struct err *err)
{
	if (begin(err))
		return -1;
	return FILTERED ? allow(calls, err) : 0;
}

static int refuse_opening(const struct sandbox_calls *calls, bool removing, struct err *err)
{
	scmp_filter_ctx ctx = filter_new(SCMP_ACT_ALLOW);
	int rc = ctx ? refuse(ctx, calls->opening, calls->loading, calls->serving) : 0;

	if (ctx && rc == 0 && !removing)
		rc = add_calls(ctx, SCMP_ACT_ERRNO(EPERM), calls->removing);
	return filter_load(ctx, rc, err);
}

int sandbox_close(const struct sandbox_calls *calls, const struct sandbox_rest *rest,
		  struct err *err)
{
	if (FILTERED && landlock_enter(rest->removable, err))
		return -1;
	if (rest->file_bytes && limit(RLIMIT_FSIZE, rest->file_bytes, err))
		return -1;
	if (rest->leave && sandbox_become(rest->uid, rest->gid, NULL, 0, err))
		return -1;
	/* The kernel may have made the process dumpable when its uid changed. */
	if (drop_capabilities(err) || hide(err))
		return -1;
	return FILTERED ? refuse_opening(calls, rest->removable != NULL, err) : 0;
}

int sandbox_finish(const struct sandbox_calls *calls, uint64_t file_bytes, struct err *err)
{
	scmp_filter_ctx ctx;
	int rc;

	if (limit(RLIMIT_FSIZE, file_bytes, err))
		return -1;
	if (!FILTERED)
		return 0;
	ctx = filter_new(SCMP_ACT_ALLOW);
	rc = ctx ? refuse(ctx, calls->loading, NULL, calls->serving) : 0;
	return filter_load(ctx, rc, err);
}

int sandbox_holder(const struct calls *calls, struct err *err)
{
	scmp_filter_ctx ctx;
	int rc;

	if (begin(err) || (FILTERED && landlock_enter(NULL, err)) || limit(RLIMIT_FSIZE, 0, err) ||
	    limit(RLIMIT_NPROC, 0, err) || drop_capabilities(err))
		return -1;
	if (!FILTERED)
		return 0;
	ctx = filter_new(SCMP_ACT_ERRNO(EPERM));
	rc = ctx ? add_calls(ctx, SCMP_ACT_ALLOW, calls) : 0;
	return filter_load(ctx, rc, err);
}
