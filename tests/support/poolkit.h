/*
 * poolkit - what the tests of the pool share: a pool of real workers, and an owner for those that
 * are handed out
 */
#ifndef UFFDD_TESTS_POOLKIT_H
#define UFFDD_TESTS_POOLKIT_H

#include <config.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "common/proc.h"
#include "daemon/pool.h"
#include "daemon/timer.h"
#include "tests/support/fds.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define PROGRAM TEST_BUILD "/worker/uffdd-worker"
#define SIZE 3

/* Sanitizers do without a zygote. */
#ifdef BUILD_SANITIZED
#define ZYGOTE false
#else
#define ZYGOTE true
#endif

static struct event_base *base;
static struct pool *pool;

/* What the owner of the workers was told. */
static struct {
	unsigned messages, exits;
	char how[64];
} heard;

static inline void on_message(void *arg, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	ck_assert_ptr_eq(arg, &heard);
	heard.messages++;
}

static inline void on_lie(void *arg, const char *how)
{
	(void)arg;
	ck_abort_msg("%s", how);
}

static inline void on_exit_of(void *arg, const char *how)
{
	ck_assert_ptr_eq(arg, &heard);
	heard.exits++;
	snprintf(heard.how, sizeof(heard.how), "%s", how);
}

static inline bool on_cut(void *arg, int *pidfd)
{
	(void)arg;
	(void)pidfd;
	return false;
}

static const struct worker_hooks hooks = {on_message, on_lie, on_exit_of, on_cut};

static inline void open_pool(const char *program, size_t size)
{
	struct err err = {.msg = ""};

	base = timer_base_new();
	ck_assert_msg(pool_new(base, program, size, &pool, &err) == 0, "%s", err.msg);
}

static inline void begin(void)
{
	open_pool(PROGRAM, SIZE);
}

static inline bool is_childless(void *arg)
{
	(void)arg;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return harness_count_children(getpid()) == 0;
}

static inline void end(void)
{
	pool_free(pool);
	pool = NULL;
	ck_assert_msg(harness_wait(is_childless, NULL, HARNESS_MS), "a process lives");
	event_base_free(base);
}

static inline void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static inline bool is_full(void *arg)
{
	(void)arg;
	turn();
	return pool_wanting(pool) == (ZYGOTE ? 0 : 2);
}

static inline void fill(void)
{
	ck_assert_msg(harness_wait(is_full, NULL, HARNESS_MS), "it wants %zu", pool_wanting(pool));
}

static inline bool has_greeted(void *arg)
{
	const struct worker *w = arg;

	turn();
	return w->greeted;
}

static inline struct worker *take(void)
{
	struct worker *w = NULL;
	struct err err = {.msg = ""};

	ck_assert_msg(pool_take(pool, &hooks, &heard, &w, &err) == 0, "%s", err.msg);
	ck_assert(w->hooks == &hooks && w->arg == &heard && w->pool == pool);
	ck_assert(proc_start_time(w->pid) == w->start && w->start);
	return w;
}

static inline void abandon(struct worker *const *w, size_t n)
{
	for (size_t i = 0; i < n; i++)
		worker_abandon(w[i], "t");
}

static inline bool has_ended(void *arg)
{
	const struct worker *w = arg;

	return proc_ended(w->pidfd);
}

static inline void kill_unseen(const struct worker *w)
{
	ck_assert_int_eq(kill(w->pid, SIGKILL), 0);
	ck_assert(harness_wait(has_ended, (void *)(uintptr_t)w, HARNESS_MS));
}

static inline bool was_told_of_exit(void *arg)
{
	const unsigned *n = arg;

	turn();
	return heard.exits == *n;
}

static inline void await_exits(unsigned n)
{
	ck_assert_msg(harness_wait(was_told_of_exit, &n, HARNESS_MS), "%u exits, not %u",
		      heard.exits, n);
}

/* ---- children, by their names ---- */

static inline bool is_named(pid_t pid, const char *want)
{
	char path[64], name[64] = "";
	cleanup_file FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (!f || !fgets(name, sizeof(name), f))
		return false;
	name[strcspn(name, "\n")] = '\0';
	return strcmp(name, want) == 0;
}

static inline pid_t find_child(const char *name)
{
	char path[64];
	cleanup_file FILE *f = NULL;
	int pid;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)getpid(), (int)getpid());
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	while (fscanf(f, "%d", &pid) == 1)
		if (is_named(pid, name))
			return pid;
	return 0;
}

static inline bool has_child(void *arg)
{
	return find_child(arg) > 0;
}

static inline pid_t child_named(const char *name)
{
	ck_assert_msg(harness_wait(has_child, (void *)(uintptr_t)name, HARNESS_MS),
		      "no child is a %s", name);
	return find_child(name);
}

static inline bool has_workers(void *arg)
{
	const int *n = arg;

	return harness_count_workers(getpid()) == *n;
}

/* A worker has its name soon after it was forked. */
static inline void await_workers(int n)
{
	ck_assert_msg(harness_wait(has_workers, &n, HARNESS_MS), "%d workers, not %d",
		      harness_count_workers(getpid()), n);
}

static inline pid_t kill_child(const char *name)
{
	struct err err = {.msg = ""};
	pid_t pid = child_named(name);
	struct worker gone;

	ck_assert_msg(proc_pidfd(pid, &gone.pidfd, &err) == 0, "%s", err.msg);
	gone.pid = pid;
	kill_unseen(&gone);
	close(gone.pidfd);
	return pid;
}

static inline bool exists(pid_t pid)
{
	return kill(pid, 0) == 0 || errno != ESRCH;
}

#endif
