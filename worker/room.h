/*
 * room - may prefetch take more of what its guest, and others, will need?
 *
 * Prefetch is optional, and what it takes can be somebody's end: the OOM killer looks
 * for one in the whole cgroup, and the last huge page belongs to whoever faults next. So it
 * looks at what is left, takes a small part of that, and looks again.
 *
 *                    less than a step is left
 *        open ──────────────────────────────────► limited ─┐
 *         ▲ │ taken, or 100 ms: look                │  ▲   │ less than four are: look again,
 *         │ └───┐                                   │  └───┘ in 20 ms … 1 s
 *         └─────┴────── four steps are left ────────┘
 *
 * What a restore's own max_resident_bytes leaves is used up to the last page, and more of
 * it is enough again. It decides with times and readings as arguments, and holds up nobody.
 */
#ifndef UFFDD_ROOM_H
#define UFFDD_ROOM_H

#include "common/cgroup.h"
#include "common/chan.h"
#include "common/pagemap.h"

#define ROOM_STEP ((uint64_t)1 << 20)
/* Others look at the same room: each takes one part of it, or a step, before it looks again. */
#define ROOM_PARTS 32
#define ROOM_AGAIN 4 /* steps that are left before it goes on */
#define ROOM_LOOK_US ((uint64_t)100 * 1000)
#define ROOM_PAUSE_MIN_US ((uint64_t)20 * 1000)
#define ROOM_PAUSE_MAX_US ((uint64_t)1000 * 1000)

/* All zero: nothing limits it, but that must be looked at first. */
struct room {
	struct cgroup_files files[CGROUP_KIND_COUNT]; /* owned */
	bool told;                                    /* by a supervisor what they are */
	uint64_t margin_bytes;                        /* stays for others, and for demand */
	uint64_t max_resident_bytes;                  /* 0: no bound */

	enum pagemap_limit limit; /* LIMIT_NONE: open */
	uint64_t left_bytes;      /* open: to be taken before it is looked at again */
	uint64_t looked_us;
	uint64_t again_us, pause_us; /* limited: when to look, and after that */
};

struct room_reading {
	uint64_t shared_bytes;     /* left of what others take from, too */
	enum pagemap_limit shared; /* and what that is, where it is least */
	uint64_t own_bytes;        /* left of what was asked for */
};

void room_fini(struct room *r);
/* CHAN_CGROUPS: takes what it needs out of @fds. */
void room_receive(struct room *r, const struct chan_cgroups *told, int fds[CHAN_FDS_MAX]);
/* Another bound, or another wish: whatever was short, look at it anew. */
void room_bound(struct room *r, uint64_t max_resident_bytes);

/* Reads the files. @resident_bytes: what the guest has now */
struct room_reading room_read(const struct room *r, uint64_t page_bytes, uint64_t resident_bytes);
/* Is it time for that? */
bool room_due(const struct room *r, uint64_t page_bytes, uint64_t now);
/* What a reading means. */
void room_look(struct room *r, const struct room_reading *reading, uint64_t page_bytes,
	       uint64_t now);
/* The kernel gave nothing, whatever a reading would say: limited, until it is looked at again. */
void room_close(struct room *r, enum pagemap_limit why, uint64_t until_us);

/* Could the guest get so many bytes of huge pages by itself? As far as can be told now. */
bool room_suffices(const struct room *r, uint64_t bytes);

/* Another page, before it is looked at again? */
bool room_allows(const struct room *r, uint64_t page_bytes);
void room_take(struct room *r, uint64_t bytes);
/* Microseconds until it may be there again: 0 while it is open. */
uint64_t room_wait_us(const struct room *r, uint64_t now);

#endif
