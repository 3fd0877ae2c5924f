/*
 * job_state - the one restore a worker lives for: how far it is, and what is held of it
 *
 *   idle ──ASSIGN──► loading ──READY──► waiting ──CONNECTED──► serving
 *                       │                  │                      ▲
 *                       │                  └─ a bad message ─► refused
 *                       └── to take over: READY, then serving at once
 *
 * The table of orders.c says what the supervisor may say in each phase, the table of report.c what
 * a new supervisor is told in each phase.
 */
#ifndef UFFDD_JOB_STATE_H
#define UFFDD_JOB_STATE_H

#include "common/pagemap.h"
#include "common/spec.h"
#include "worker/working_set.h"
#include "worker/supervisor_link.h"
#include "worker/source.h"

/*
 * Descriptors besides the snapshot's files: connections with all they may pass, and the worker's
 * own.
 */
#define JOB_OTHER_FDS 128
#define JOB_FDS_MAX (SPEC_LAYERS_MAX + 1 + JOB_OTHER_FDS)

enum job_phase {
	JOB_IDLE,    /* nothing assigned yet */
	JOB_LOADING, /* the snapshot; no message is read meanwhile */
	JOB_WAITING, /* for the VMM */
	JOB_SERVING, /* the guest */
	JOB_REFUSED, /* the VMM's handshake was bad: only its end is awaited */
	JOB_PHASE_COUNT
};

struct peers;
struct peer;
struct loop;

/* What a new supervisor is told of a VMM with a bad handshake. */
struct refusal {
	struct peer *vmm; /* borrowed */
	struct err err;
	bool kill; /* on_failure wants the VMM killed */
};

struct job {
	struct supervisor_link link; /* owned */
	enum job_phase phase;
	bool stop;  /* the supervisor asked to stop, and no guest is served */
	bool known; /* the restore is in the store: KNOWN was received */
	struct chan_assign assign;
	struct spec spec;   /* owned; prefetch as it is now */
	struct roots roots; /* owned; beneath which its files are */
	bool prefetch_held;
	int request;        /* owned: the text of spec, for a supervisor that has lost it */
	int map_fd;         /* owned */
	struct pagemap map; /* owned until the guest takes it */
	struct source *src; /* owned */
	struct working_set working_set; /* owned */
	int listen_fd;                  /* owned until handshake_wait() takes it */
	int uffd, vmm;    /* owned, when taking over; else -1; vmm also -1 if the peer has ended */
	int holder;       /* owned: channel to the holder; -1: no holder keeps the files */
	int holder_given; /* owned: descriptor that came with assign.holder; -1: none, or used */
	uint64_t fds_max; /* limit of descriptors of this process */
	/* Borrowed; each is set in its phase, and NULL in the other phases. */
	struct peers *peers;     /* JOB_WAITING */
	struct loop *loop;       /* JOB_SERVING */
	struct refusal *refusal; /* JOB_REFUSED */
};

/* Takes @chan over, and @holder of holder_start(). */
void job_init(struct job *j, int chan, int holder);
/* Releases all that is held, unlinks the socket and ends the holder. */
void job_fini(struct job *j);

/* Ends JOB_IDLE: keeps the assignment and takes its descriptors out of @fds. */
void job_assign(struct job *j, const struct chan_assign *assign, int fds[CHAN_FDS_MAX]);
/* Unlinks the socket's path, if this worker has to. Safe to repeat. */
void job_unlink_socket(struct job *j);

#endif
