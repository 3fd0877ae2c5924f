/*
 * wset - which pages guests of a snapshot touch first, learnt over its restores
 *
 * A working set is a list of runs, sorted by page, disjoint. Every page has
 *
 *   score  1  a candidate: seen once, not replayed until it is seen again
 *          2  a member, replayed
 *          3  a member that was needed again
 *   group  0..7: how long after connect it was first needed: < 16 ms, then times 4
 *
 * Recordings change the set by this table. A page that was installed before the guest could touch
 * it tells nothing. So that members can be dropped at all, each restore leaves a sample of them
 * (wset_sampled) to the guest.
 *
 *   a page                        | of the first recording | new | candidate | member
 *   was needed                    | 2                      | 1   | 2         | 3
 *   was not needed in its time    |                        |     | dropped   | one less
 *   cannot be told                |                        |     | stays     | stays
 *
 * Pure values: no I/O, no clock. Memory is linear in the runs.
 */
#ifndef UFFDD_WSET_H
#define UFFDD_WSET_H

#include "common/base.h"
#include "common/err.h"

#define WSET_SPAN_MAX ((uint64_t)1 << 44) /* bytes; 2^32 pages of 4 KiB */
#define WSET_CANDIDATE 1
#define WSET_MEMBER 2
#define WSET_SCORE_MAX 3
#define WSET_GROUPS 8
#define WSET_SAMPLE 32 /* one member in so many is left to the guest */

/* Which snapshot a working set belongs to. */
struct wset_key {
	uint32_t kind;   /* enum wset_kind */
	uint32_t pad;    /* 0 */
	uint8_t id[16];  /* WSET_BUILD: build id of the header; WSET_FILES: name of the files */
	uint64_t number; /* bytes of memory; WSET_HASH: a hash of the files */
};
enum wset_kind {
	WSET_BUILD = 1, /* the same on every host */
	WSET_HASH = 2,  /* valid on this host only; of release 0.1: still read, no longer made */
	WSET_FILES = 3, /* valid on this host only */
	WSET_KIND_COUNT
};

#define WSET_KEY_LEN 50 /* bytes of the key's text, without NUL; safe as a file name */
void wset_key_text(const struct wset_key *key, char ret[static WSET_KEY_LEN + 1]);
bool wset_key_equal(const struct wset_key *a, const struct wset_key *b);

struct wset_run {
	uint32_t page, pages; /* pages > 0 */
	uint8_t score, group;
};

/* All zero: no set. */
struct wset {
	struct wset_key key;
	uint64_t page_bytes; /* 4096 or 2 MiB */
	uint64_t span_bytes; /* bytes of the snapshot, a multiple of 4096 */
	uint32_t restores;   /* number of recordings merged into the set */
	struct wset_run *v;  /* owned */
	size_t n, cap;
	uint64_t pages; /* sum over all runs */
};

/* Frees the runs and zeroes the set. */
void wset_fini(struct wset *s);
/* Number of pages of a snapshot; the last page may be cut. */
uint64_t wset_span_pages(uint64_t span_bytes, uint64_t page_bytes);
/*
 * Appends a run behind the last run, or joins the two. The caller keeps order and bounds. -1 with
 * ERR_SYSTEM: no memory.
 */
int wset_add(struct wset *s, const struct wset_run *run, struct err *err);

/* ---- groups ---- */

/* The group of a time in microseconds. */
unsigned wset_group(uint64_t us_after_connect);
/* End of a group in microseconds, exclusive; UINT64_MAX for the last group. */
uint64_t wset_group_end_us(unsigned group);

/* Order of replay: group by group, pages ascending inside a group. All zero: the beginning. */
struct wset_cursor {
	size_t i;
	unsigned group;
};
/* The next run of members; false at the end. A whole walk is O(8 runs). */
bool wset_next(const struct wset *s, struct wset_cursor *c, struct wset_run *ret);

/* Is the page left to the guest this time? @seed: the restore's; 0: no page is. */
bool wset_sampled(uint64_t page, uint64_t seed);

/* ---- sets from sets: *ret is new and the caller's, untouched on failure; -1: ERR_SYSTEM ---- */

/* The set for pages of another size: a page gets the best score and group of its parts. */
int wset_convert(const struct wset *s, uint64_t page_bytes, struct wset *ret, struct err *err);
/* The pages of both sets, of the same snapshot and page size; better score, smaller group. */
int wset_union(const struct wset *a, const struct wset *b, struct wset *ret, struct err *err);

/* A page that a recording saw the guest touch. */
struct wset_touch {
	uint32_t page;
	uint32_t group;
};
struct wset_recording {
	const struct wset_touch *touched; /* sorted by page, each page once */
	size_t n;
	/*
	 * Called for each page of the old set that was not touched: would the guest have touched
	 * it by now, had it needed it?
	 */
	bool (*unneeded)(void *arg, uint64_t page, unsigned score, unsigned group);
	void *arg;
};
/*
 * wset_merge - a recording changes the set
 * @old: has the recording's key, span and page size; restores 0: this is the first recording
 */
int wset_merge(const struct wset *old, const struct wset_recording *recording, struct wset *ret,
	       struct err *err);

/* Keeps only runs of at least score @score, and of the first @groups groups. */
void wset_keep(struct wset *s, unsigned score, unsigned groups);

#endif
