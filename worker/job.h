/*
 * job - the one restore a worker lives for, from assignment to its end
 *
 *   idle ──ASSIGN──► loading ──READY──► waiting (lobby) ──CONNECTED──► serving ──► done
 *              │        │                  │                             │ ▲
 *              │        └────── FAILED ────┴─────────────────────────────┘ │
 *              └── to take over: loading, then serving at once ────────────┘
 */
#ifndef UFFDD_JOB_H
#define UFFDD_JOB_H

#include "common/pagemap.h"
#include "worker/habit.h"
#include "worker/holder.h"
#include "worker/link.h"
#include "worker/source.h"

/* Beside the snapshot's files: connections with all that they may hand over, and our own. */
#define JOB_OTHER_FDS 128
#define JOB_FDS_MAX (SPEC_LAYERS_MAX + 1 + JOB_OTHER_FDS)

struct job {
	struct link link;
	struct chan_assign assign;
	struct spec spec;     /* owned; prefetch as it is now */
	bool prefetch_held;
	int request;          /* owned: the text of spec, for a supervisor that has lost it */
	int map_fd;           /* owned */
	struct pagemap map;   /* owned until the guest takes it */
	struct source *src;   /* owned */
	struct habit habit;   /* owned */
	int listen_fd;        /* owned until the lobby takes it */
	int uffd, vmm;        /* owned, to take over; else -1; vmm also when its peer has ended */
	int holder;           /* owned: channel to who keeps the files; -1: nobody does */
	uint64_t fds_max;     /* that this process may have */
};

/*
 * job_run - say hello on @chan, wait for an assignment, do it
 * @holder: of holder_start(); both are owned from here on
 *
 * Returns when there is nothing left to do: the VMM ended, the guest was
 * released, or nobody came.
 */
void job_run(int chan, int holder);

/* For lobby and serve. */
struct listener_peer;
/* @vmm: the one whose message was wrong, or NULL. */
void job_say_failed(struct job *j, const struct err *why, bool kill,
		    const struct listener_peer *vmm);
/*
 * BACK, and PROOF: what every new supervisor must get first.
 * @listen_fd: or -1. @npeers: connections that the caller sends after it
 * @vmm: pidfd of the VMM that the page map knows, or -1
 */
void job_say_back(struct job *j, int listen_fd, size_t npeers, int vmm);
/* The socket's path is free again. */
void job_unlink_socket(struct job *j);

#endif
