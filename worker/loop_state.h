/*
 * loop_state - what the owner thread of one guest knows while it serves
 *
 * Only data. What the uffd delivers (messages), what the supervisor says (orders) and what
 * becomes of faults (answer) change it; the turn that calls them is the loop's.
 */
#ifndef UFFDD_LOOP_STATE_H
#define UFFDD_LOOP_STATE_H

#include "common/handshake.h"
#include "common/life.h"
#include "worker/fault_set.h"
#include "worker/guest.h"
#include "worker/job_state.h"
#include "worker/lease.h"
#include "worker/prefetch.h"
#include "worker/survey.h"
#include "worker/wait.h"

/* What wakes it, in its wait. */
enum { WAKES_UFFD, WAKES_VMM, WAKES_LINK, WAKES_WARM, WAKES_PROOF, WAKES_WINDOW };

struct loop_wakes {
	struct wait wait;    /* owned */
	int proof;           /* owned timerfd: install_verify() is due */
	bool verify_due;     /* it runs */
	int window;          /* owned timerfd: the time to record is over */
	unsigned link_epoch; /* of the channel that is waited for */
};

/* Absent pages can no longer be supplied. */
struct loop_failure {
	bool on;
	enum spec_failure policy; /* what they get then */
	struct err err;
};

/* Of what is an event only once, or rarely. */
struct loop_told {
	unsigned limits;   /* a bit for each enum pagemap_limit */
	uint64_t short_us; /* when the last shortage of memory was told of; 0: none was */
};

struct loop {
	struct job *job;        /* borrowed */
	struct guest *guest;    /* borrowed */
	int vmm;                /* borrowed pidfd of the peer; -1: ended before */
	struct handshake *said; /* borrowed: its message, until CONNECTED was sent; or NULL */
	struct loop_wakes wakes;
	struct readahead *readahead; /* owned */

	struct fault_set faults;
	uint64_t backoff_us; /* while faults are deferred */
	struct prefetch prefetch;
	struct lease lease;   /* to prefetch */
	struct life life;     /* of the VMM, once its peer has ended */
	bool held;            /* prefetch held by the API */
	bool paused;          /* around a snapshot of the running VM */
	struct survey survey; /* before PAUSED is sent */
	bool window_over;     /* of the recording */
	struct loop_failure failure;
	struct loop_told told;

	bool completed; /* COMPLETE was sent */
	enum spec_complete when_complete;
	bool stopping;     /* the supervisor wants the guest to do without us */
	uint64_t alone_us; /* then it is looked again whether the guest can be left */
	bool gone;         /* the VMM ended */
};

/* As the job's spec and assignment want it. */
int loop_init(struct loop *l, struct job *j, struct guest *guest, int vmm, struct err *err);
/* False: a read is under way, and only the end of the process is left; see readahead_free(). */
bool loop_fini(struct loop *l);

#endif
