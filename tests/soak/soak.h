/*
 * soak - restores that go on while workers, the supervisor and VMMs are killed at random
 *
 *   soak.c            the course of things: the beginning, the end, the one line
 *   soak_kill.c       who dies, when, and how
 *   soak_snapshots.c  what is restored
 *   soak_slot.c       one restore after another, each with a stand-in VMM
 *   soak_cage.c       a memory cgroup for some of them
 *
 * One thread kills and runs the daemon; each slot is a thread of its own. Not for
 * Check: what must not happen is told on stderr and counted, and the rest goes on.
 */
#ifndef UFFDD_TESTS_SOAK_H
#define UFFDD_TESTS_SOAK_H

#include <pthread.h>

#include "tests/support/hugepool.h"
#include "tests/support/rig.h"

#define SOAK_SLOTS_MAX 64

struct soak_snapshot {
	char *body;     /* owned: the request's "snapshot", as JSON */
	char *image;    /* owned path: what guest memory must hold */
	uint64_t bytes; /* of guest memory */
};

#define SOAK_SNAPSHOTS_MAX 16
#define SOAK_CAGED_MAX 3 /* more of them could need more than there is */

struct soak;

struct soak_slot {
	struct soak *soak; /* borrowed */
	unsigned index, round;
	uint64_t rng;
	pthread_t thread;
	char id[PROTO_ID_MAX + 1];
	pid_t vmm;   /* under the soak's lock; not yet waited for; 0: none */
	bool killed; /* the VMM, by us; under the same lock */
};

enum soak_count {
	SOAK_RESTORES, /* that came to their end */
	SOAK_KILLED_WORKERS,
	SOAK_KILLED_SUPERVISORS,
	SOAK_KILLED_BOTH,
	SOAK_KILLED_VMMS,
	SOAK_TAKEOVERS,
	SOAK_PAGES,
	SOAK_WRONG,
	SOAK_HUNG,
	SOAK_LEFTOVERS,
	SOAK_RETRIED, /* creations that met a killed worker and were asked for again */
	/*
	 * Handshakes that died with the last one who knew of them: a worker that was killed
	 * while no supervisor was there (the next one found it dead). A VMM says it only once,
	 * so its restore goes on waiting and fails, visibly, by its connect_timeout. Counted,
	 * not a problem; where a supervisor was alive, it is one.
	 */
	SOAK_LOST,
	SOAK_CAGED,    /* restores whose VMM had less memory than its guest */
	SOAK_STARVED,  /* restores that failed since there were no huge pages for too long */
	SOAK_PROBLEMS, /* everything that must not happen */
	SOAK_COUNTS
};

struct soak {
	struct rig d;
	uint64_t until_us;
	struct soak_snapshot snapshots[SOAK_SNAPSHOTS_MAX];
	size_t nsnapshots;
	struct soak_slot slots[SOAK_SLOTS_MAX];
	size_t nslots;
	struct hugepool pool; /* for fewer guests than come */
	bool has_pool;
	bool has_cage;
	_Atomic int caged;    /* VMMs in it */
	pthread_mutex_t lock; /* while a stand-in is forked, and of what slots say they are for */
	_Atomic uint64_t counts[SOAK_COUNTS];
};

void soak_count(struct soak *s, enum soak_count what, uint64_t n);
uint64_t soak_random(uint64_t *rng, uint64_t below);
/* One line, at least, on stderr, with the time; counted. */
void soak_problem(struct soak *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for what is only of interest to whoever looks for the cause: into <dir>/kills. */
void soak_note(struct soak *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Waits for dead children that no slot waits for. Takes the lock. Returns those still alive. */
size_t soak_reap(struct soak *s);

/* soak_kill.c */

/* Until s->until_us; afterwards a supervisor is there. */
void soak_kill(struct soak *s, uint64_t seed);

/* soak_snapshots.c */

/* The last one is larger than the cage. */
int soak_snapshots_make(struct soak *s, struct err *err);
void soak_snapshots_free(struct soak *s);

/* soak_cage.c */

/* False: there can be none here. */
bool soak_cage_open(void);
/* The calling thread, and what it forks, until it leaves. */
bool soak_cage_enter(void);
void soak_cage_leave(void);
void soak_cage_close(struct soak *s);

/* soak_slot.c: thread main */

void *soak_slot_run(void *arg);

#endif
