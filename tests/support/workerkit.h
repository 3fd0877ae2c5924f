/*
 * workerkit - for tests of a restore's rooms: real workers, heard by the test in the place of
 * conversation.c
 */
#ifndef UFFDD_TESTS_WORKERKIT_H
#define UFFDD_TESTS_WORKERKIT_H

#include "common/proc.h"
#include "tests/fakes/snapshot/snapgen.h"
#include "tests/support/restorekit.h"

#define WORKERKIT_PROGRAM TEST_BUILD "/worker/uffdd-worker"
#define WORKERKIT_BYTES (16 * PAGE_4K)

/* What a worker said last, of READY and FAILED, and how often one has ended. */
static struct {
	struct chan_msg msg; /* type CHAN_NONE: nothing yet */
	int fd;              /* owned */
	unsigned ends;
} heard = {.fd = -1};

static inline void workerkit_message(void *arg, const struct chan_msg *msg, int *fds)
{
	(void)arg;
	if (msg->type != CHAN_READY && msg->type != CHAN_FAILED)
		return;
	heard.msg = *msg;
	close_fd(&heard.fd);
	heard.fd = steal_fd(&fds[0]);
}

static inline void workerkit_lied(void *arg, const char *how)
{
	(void)arg;
	ck_abort_msg("%s", how);
}

static inline void workerkit_exited(void *arg, const char *how)
{
	struct restore *r = arg;

	(void)how;
	r->worker = NULL;
	heard.ends++;
}

static inline bool workerkit_cut(void *arg, int *pidfd)
{
	(void)arg;
	(void)pidfd;
	return false;
}

static const struct worker_hooks workerkit_hooks = {workerkit_message, workerkit_lied,
						    workerkit_exited, workerkit_cut};

static inline void workerkit_open(struct restorekit *k)
{
	struct err err = {.msg = ""};

	ck_assert_msg(pool_new(k->host.base, WORKERKIT_PROGRAM, 0, &k->host.pool, &err) == 0, "%s",
		      err.msg);
	k->host.worker_hooks = &workerkit_hooks;
}

/* Where every request of the kit says that it is. */
static inline void workerkit_snapshot(const struct restorekit *k)
{
	struct snapgen_opts opts = snapgen_defaults;
	cleanup_free char *path = NULL;
	struct err err = {.msg = ""};

	opts.size_bytes = WORKERKIT_BYTES;
	opts.image = false;
	ck_assert_int_gt(asprintf(&path, "%s/snapshot", k->dir), 0);
	ck_assert_msg(snapgen_write(&opts, path, &err) == 0, "%s", err.msg);
}

static inline void workerkit_turn(const struct restorekit *k)
{
	event_base_loop(k->host.base, EVLOOP_NONBLOCK);
}

static inline bool workerkit_has_spoken(void *arg)
{
	workerkit_turn(arg);
	return heard.msg.type != CHAN_NONE;
}

/* The event loop turns until the worker has said what it has loaded, or why not. */
static inline enum chan_type workerkit_hear(struct restorekit *k)
{
	ck_assert_msg(harness_wait(workerkit_has_spoken, k, HARNESS_MS), "the worker says nothing");
	return (enum chan_type)heard.msg.type;
}

static inline bool workerkit_has_ended(void *arg)
{
	workerkit_turn(arg);
	return heard.ends > 0;
}

static inline bool workerkit_has_none(void *arg)
{
	workerkit_turn(arg);
	return harness_count_workers(getpid()) == 0;
}

/* All of them have ended, and are reaped; the test has no other children. */
static inline void workerkit_await_none(struct restorekit *k)
{
	ck_assert_msg(harness_wait(workerkit_has_none, k, HARNESS_MS), "a worker lives");
}

static inline void workerkit_close(struct restorekit *k)
{
	if (k->r && k->r->worker) {
		worker_abandon(k->r->worker, "t");
		k->r->worker = NULL;
	}
	workerkit_await_none(k);
	pool_free(k->host.pool);
	k->host.pool = NULL;
	close_fd(&heard.fd);
}

#endif
