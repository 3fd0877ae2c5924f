/*
 * loop - the owner thread of one guest
 *
 *   ┌─► read everything pending on the uffd
 *   │     removals are applied at once, faults join the set
 *   │   answer the faults; what a removal defers stays in the set, and so does what
 *   │     is on the disk: other threads read it, this one never waits for it
 *   │   nobody waits, and we hold a lease: one step of prefetch
 *   └── sleep until the uffd, the supervisor, the VMM's pidfd, the disk or a time says so
 *
 * The kernel delivers faults before events, so the order of messages is not the
 * order of causes: all of them are read before any is answered.
 */
#ifndef UFFDD_LOOP_H
#define UFFDD_LOOP_H

#include "common/chan.h"
#include "common/life.h"
#include "worker/faults.h"
#include "worker/guest.h"
#include "worker/habit.h"
#include "worker/lease.h"
#include "worker/prefetch.h"
#include "worker/survey.h"
#include "worker/wait.h"

enum loop_end {
	LOOP_GONE,     /* the VMM ended */
	LOOP_RELEASED, /* the guest needs nobody any more */
};

/* What wakes it, in its wait. */
enum { WAKES_UFFD, WAKES_VMM, WAKES_LINK, WAKES_WARM, WAKES_PROOF, WAKES_WINDOW };

struct loop {
	struct guest *guest;       /* borrowed */
	struct link *link;         /* borrowed */
	struct habit *habit;       /* borrowed */
	int vmm;                   /* borrowed pidfd of the peer; -1: ended before */
	enum spec_complete when_complete;
	enum spec_failure on_failure;

	struct wait wait;          /* owned */
	int proof;                 /* owned timerfd: install_prove() is due */
	int window;                /* owned timerfd: the time to record is over */
	unsigned link_epoch;       /* of the channel that is waited for */
	struct warm *warm;         /* owned */

	struct faults faults;
	struct prefetch prefetch;
	struct lease lease;        /* to prefetch */
	struct life life;          /* of the VMM, once its peer has ended */
	bool held;                 /* prefetch held by the API */
	bool paused;               /* around a snapshot of the running VM */
	struct survey survey;      /* before PAUSED is sent */
	bool completed;            /* COMPLETE was sent */
	bool stopping;             /* the supervisor wants the guest to do without us */
	uint64_t alone_us;         /* then it is looked again whether the guest can be left */
	bool failed;               /* absent pages can no longer be supplied */
	bool proof_due;            /* its timer runs */
	bool window_over;
	unsigned limits_told;      /* a bit for each enum pagemap_limit that was an event */
	bool gone;
	uint64_t backoff_us;       /* while faults are deferred */
	uint64_t short_told_us;    /* when the last shortage of memory was told of; 0: none was */
	struct err err;            /* of the failure */
};

/* @spec gives what is wanted of prefetch, and the two policies. */
int loop_init(struct loop *l, struct guest *guest, struct link *link, struct habit *habit,
	      int vmm, const struct spec *spec, struct err *err);
/* False: a read is under way, and only the end of the process is left; see warm_free(). */
bool loop_fini(struct loop *l);
enum loop_end loop_run(struct loop *l);

#endif
