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
#include "worker/link.h"
#include "worker/source.h"

struct job {
	struct link link;
	struct chan_assign assign;
	struct spec spec;     /* owned; prefetch as it is now */
	bool prefetch_held;
	int map_fd;           /* owned */
	struct pagemap map;   /* owned until the guest takes it */
	struct source *src;   /* owned */
	struct habit habit;   /* owned */
	int listen_fd;        /* owned until the lobby takes it */
	int uffd, vmm;        /* owned, to take over; else -1; vmm also when its peer has ended */
};

/*
 * job_run - say hello on @chan (owned from here on), wait for an assignment, do it
 *
 * Returns when there is nothing left to do: the VMM ended, the guest was
 * released, or nobody came.
 */
void job_run(int chan);

/* For lobby and serve. */
struct listener_peer;
/* @vmm: the one whose message was wrong, or NULL. */
void job_say_failed(struct job *j, const struct err *why, bool kill,
		    const struct listener_peer *vmm);
/*
 * BACK, and the snapshot's files: what every new supervisor must get first.
 * @npeers: connections that the caller sends after it
 */
void job_say_back(struct job *j, int listen_fd, size_t npeers);
/* The socket's path is free again. */
void job_unlink_socket(struct job *j);

#endif
