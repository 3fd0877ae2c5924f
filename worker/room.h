/*
 * room - may prefetch take more of what its guest, and others, will need?
 *
 * Prefetch is optional, but the memory it takes can end a process: the OOM killer looks for a
 * victim in the whole cgroup, and the last huge page goes to whichever process faults next. So
 * prefetch looks at how much memory is left, takes a small part of it, and looks again.
 *
 *                    less than a step is left
 *        open ──────────────────────────────────► limited ─┐
 *         ▲ │ taken, or 100 ms: look                │  ▲   │ less than four are: look again,
 *         │ └───┐                                   │  └───┘ in 20 ms … 1 s
 *         └─────┴────── four steps are left ────────┘
 *
 * A restore's own max_resident_bytes is used up to the last page, and prefetch goes on as soon as a
 * page of it is free. Decisions take times and readings as arguments, and never wait.
 */
#ifndef UFFDD_ROOM_H
#define UFFDD_ROOM_H

#include "common/cgroup.h"
#include "common/chan.h"
#include "common/pagemap.h"

#define ROOM_STEP ((uint64_t)1 << 20)
/*
 * Other workers look at the same memory: each takes one part of it, or a step, before it looks
 * again.
 */
#define ROOM_PARTS 32
#define ROOM_AGAIN 4 /* steps that must be left before prefetch goes on */
#define ROOM_LOOK_US ((uint64_t)100 * 1000)
#define ROOM_PAUSE_MIN_US ((uint64_t)20 * 1000)
#define ROOM_PAUSE_MAX_US ((uint64_t)1000 * 1000)

/* All zero: no limit is known, and the first look is due. */
struct room {
	struct cgroup_files files[CGROUP_KIND_COUNT]; /* owned */
	bool told;                                    /* a supervisor has sent the files */
	uint64_t margin_bytes;                        /* left for other processes, and for demand */
	uint64_t max_resident_bytes;                  /* 0: no bound */

	enum pagemap_limit limit; /* LIMIT_NONE: open */
	uint64_t left_bytes;      /* open: bytes that may be taken before the next look */
	uint64_t looked_us;
	uint64_t again_us,
		pause_us; /* limited: when to look next in now_us(), and the pause before it */
};

struct room_reading {
	uint64_t shared_bytes;     /* left of what other processes use, too */
	enum pagemap_limit shared; /* which limit has the least left */
	uint64_t own_bytes;        /* left of max_resident_bytes */
};

void room_fini(struct room *r);
/* CHAN_CGROUPS: takes the files out of @fds. */
void room_receive(struct room *r, const struct chan_cgroups *told, int fds[CHAN_FDS_MAX]);
/* Sets the bound (0: none); also lifts a limit until the next look. */
void room_bound(struct room *r, uint64_t max_resident_bytes);

/* Reads the files. @resident_bytes: what the guest has in memory. */
struct room_reading room_read(const struct room *r, uint64_t page_bytes, uint64_t resident_bytes);
/* Is room_read() due? */
bool room_due(const struct room *r, uint64_t page_bytes, uint64_t now);
/* Opens or limits the room by a reading. */
void room_look(struct room *r, const struct room_reading *reading, uint64_t page_bytes,
	       uint64_t now);
/* The kernel had no memory, whatever the files say: limited until @until_us, then look again. */
void room_close(struct room *r, enum pagemap_limit why, uint64_t until_us);

/* Could the guest get @bytes of huge pages without a worker? Only as far as can be told now. */
bool room_suffices(const struct room *r, uint64_t bytes);

/* May another page be taken before the next look? */
bool room_allows(const struct room *r, uint64_t page_bytes);
void room_take(struct room *r, uint64_t bytes);
/* Microseconds until the next look: 0 while the room is open. */
uint64_t room_wait_us(const struct room *r, uint64_t now);

#endif
