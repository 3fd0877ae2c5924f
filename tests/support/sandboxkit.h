/*
 * sandboxkit - what the tests of the sandbox share: a process in any phase of a worker, or of a
 * holder, as root and as another user
 */
#ifndef UFFDD_TESTS_SANDBOXKIT_H
#define UFFDD_TESTS_SANDBOXKIT_H

#include <check.h>
#include <config.h>
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "worker/holder.h"
#include "worker/syscalls.h"

#ifdef BUILD_SANITIZED
#define FILTERED false
#else
#define FILTERED true
#endif

#define SOMEBODY 65534 /* uid and gid */

/*
 * The phases of a worker by the functions that it calls itself, and of a holder. A worker that
 * has bound its socket may remove that.
 */
enum stage { FREE, BEGUN, CLOSED, FINISHED, REMOVES, HOLDING, STAGES };
static const char *const stage_names[STAGES] = {
	"free", "begun", "closed", "finished", "finished, with a socket", "holding",
};

/* Who the caller is. */
enum who { ROOT, ANOTHER, WHO };
static const char *const who_names[WHO] = {"root", "another uid"};

static const gid_t groups[] = {1000, 2000, 3000};

static inline int close_sandbox(enum stage stage, struct err *err)
{
	const struct sandbox_rest rest = {.removable = stage == REMOVES ? "/tmp" : NULL,
					  .file_bytes = 1 << 20};

	return sandbox_close(&syscalls_worker, &rest, err);
}

static inline int enter(enum stage stage, enum who who, struct err *err)
{
	bool worker = stage != FREE && stage != HOLDING;

	if (worker && sandbox_begin(&syscalls_worker, err))
		return -1;
	if (who == ANOTHER && sandbox_become(SOMEBODY, SOMEBODY, groups, ARRAY_LEN(groups), err))
		return -1;
	if (stage == HOLDING)
		return sandbox_holder(&holder_calls, err);
	if (stage >= CLOSED && close_sandbox(stage, err))
		return -1;
	return stage >= FINISHED ? sandbox_finish(&syscalls_worker, 4096, err) : 0;
}

/* What the child found out comes as its exit code: 0 if nothing stands in the way, else errno. */
static inline int try(enum stage stage, enum who who, int (*deed)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct err err;

		if (enter(stage, who, &err)) {
			fprintf(stderr, "# %s\n", err.msg);
			_exit(255);
		}
		errno = 0;
		_exit(deed() < 0 ? errno : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "%s: signal %d", stage_names[stage], WTERMSIG(status));
	ck_assert_msg(WEXITSTATUS(status) != 255, "%s: not entered", stage_names[stage]);
	return WEXITSTATUS(status);
}

#endif
