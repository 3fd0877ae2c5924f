/*
 * loop_state - what the owner thread of one guest knows while it serves
 *
 * Only data. Messages of the uffd (messages), orders of the supervisor (orders) and answers to
 * faults (answer) change the data; the loop calls them in turn.
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

/* What wakes the owner thread: the places in loop_wakes.wait. */
enum { WAKES_UFFD, WAKES_VMM, WAKES_LINK, WAKES_WARM, WAKES_VERIFY, WAKES_WINDOW };

struct loop_wakes {
	struct wait wait;    /* owned */
	int verify;          /* owned timerfd: install_verify() is due */
	bool verify_due;     /* the timer proof is running */
	int window;          /* owned timerfd: the recording's window is over */
	unsigned link_epoch; /* supervisor_link.epoch of the channel in wait */
};

/* Absent pages can no longer be supplied. */
struct loop_failure {
	bool on;
	enum spec_failure policy; /* what a thread gets that touches an absent page */
	struct err err;
};

/* What was sent as a note already: such notes are sent once, or rarely. */
struct loop_told {
	unsigned limits;   /* one bit for each enum pagemap_limit */
	uint64_t short_us; /* when a shortage of memory was last sent, now_us(); 0: never */
};

struct loop {
	struct job *job;        /* borrowed */
	struct guest *guest;    /* borrowed */
	int vmm;                /* borrowed pidfd of the peer; -1: the peer has ended */
	struct handshake *said; /* borrowed, until CONNECTED is sent; or NULL */
	struct loop_wakes wakes;
	struct readahead *readahead; /* owned */

	struct fault_set faults;
	uint64_t backoff_us; /* pause between tries while faults are deferred */
	struct prefetch prefetch;
	struct lease lease;   /* to prefetch */
	struct life life;     /* of the VMM, once its peer has ended */
	bool held;            /* the API holds prefetch */
	bool paused;          /* paused for a snapshot of the running VM */
	struct survey survey; /* runs before PAUSED is sent */
	bool window_over;     /* the window of the recording */
	struct loop_failure failure;
	struct loop_told told;

	bool completed; /* COMPLETE was sent */
	enum spec_complete when_complete;
	bool stopping;     /* the supervisor wants the guest to live without a worker */
	uint64_t alone_us; /* when to check again whether the guest can be released, now_us() */
	bool gone;         /* the VMM has ended */
};

/*
 * As the job's spec and assignment say. @guest and @vmm are borrowed; @vmm is -1 if the peer has
 * ended. Returns 0, or -1 with ERR_SYSTEM; then loop_fini() was called.
 */
int loop_init(struct loop *l, struct job *j, struct guest *guest, int vmm, struct err *err);
/* False: a read of the disk is still under way, only the process can end; see readahead_free(). */
bool loop_fini(struct loop *l);

#endif
