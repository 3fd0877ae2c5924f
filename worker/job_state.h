/*
 * job_state - the one restore a worker lives for: how far it is, and what is held of it
 *
 *   idle ──ASSIGN──► loading ──READY──► waiting ──CONNECTED──► serving
 *                       │                  │                      ▲
 *                       │                  └─ a bad message ─► refused
 *                       └── to take over: READY, then serving at once
 *
 * What the supervisor may say in a phase is in the table of orders.c, what a new supervisor
 * is told in it in the one of report.c.
 */
#ifndef UFFDD_JOB_STATE_H
#define UFFDD_JOB_STATE_H

#include "common/pagemap.h"
#include "common/spec.h"
#include "worker/working_set.h"
#include "worker/supervisor_link.h"
#include "worker/source.h"

/* Beside the snapshot's files: connections with all that they may hand over, and our own. */
#define JOB_OTHER_FDS 128
#define JOB_FDS_MAX (SPEC_LAYERS_MAX + 1 + JOB_OTHER_FDS)

enum job_phase {
	JOB_IDLE,    /* nothing assigned yet */
	JOB_LOADING, /* the snapshot; nothing is heard meanwhile */
	JOB_WAITING, /* for the VMM */
	JOB_SERVING, /* its guest */
	JOB_REFUSED, /* the VMM's message was wrong: only its end is waited for */
	JOB_PHASE_COUNT
};

struct peers;
struct peer;
struct loop;

/* What is told of a VMM whose message was wrong. */
struct refusal {
	struct peer *vmm; /* borrowed */
	struct err err;
	bool kill; /* on_failure says so */
};

struct job {
	struct supervisor_link link; /* owned */
	enum job_phase phase;
	bool stop;  /* the supervisor wants the end, and nothing is served */
	bool known; /* the restore is in the store: KNOWN was heard */
	struct chan_assign assign;
	struct spec spec; /* owned; prefetch as it is now */
	bool prefetch_held;
	int request;        /* owned: the text of spec, for a supervisor that has lost it */
	int map_fd;         /* owned */
	struct pagemap map; /* owned until the guest takes it */
	struct source *src; /* owned */
	struct working_set working_set; /* owned */
	int listen_fd;                  /* owned until the peers are let in by it */
	int uffd, vmm;    /* owned, to take over; else -1; vmm also when its peer has ended */
	int holder;       /* owned: channel to who keeps the files; -1: nobody does */
	int holder_given; /* owned: what came with assign.holder; -1: nothing, or used */
	uint64_t fds_max; /* that this process may have */
	/* Borrowed; each is there in its phase, and NULL in any other. */
	struct peers *peers;     /* JOB_WAITING */
	struct loop *loop;       /* JOB_SERVING */
	struct refusal *refusal; /* JOB_REFUSED */
};

/* @chan, and @holder of holder_start(), are owned from here on. */
void job_init(struct job *j, int chan, int holder);
void job_fini(struct job *j);

/* Idle no longer: takes what belongs to the assignment out of @fds. */
void job_assign(struct job *j, const struct chan_assign *assign, int fds[CHAN_FDS_MAX]);
/* The socket's path is free again. */
void job_unlink_socket(struct job *j);

#endif
