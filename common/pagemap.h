/*
 * pagemap - the state of every guest page of one restore, in shared memory
 *
 * One file per restore on tmpfs. The worker maps it and is its only writer (one
 * thread); the supervisor only ever reads it with pread, so that nothing a
 * worker does to the file can hurt it. It outlives the worker: a successor goes
 * on from it.
 *
 *   0      struct pagemap_head    geometry, VMM; the magic is written last
 *   4096   struct regions         from the handshake
 *   8192   struct pagemap_stats   counters
 *   12288  struct uf_inbox        what was read from the uffd and not yet acted upon
 *   20480  two bits per page, 32 pages to a u64, page 0 in the lowest bits
 *
 * The head only grows at its end, and a file begins as zeros: each release reads the maps
 * of the one before and of the one after, and the version stays.
 *
 * A page is regions.page_bytes long; page i is snapshot offset i * page_bytes.
 *
 *   state    | meaning                                   | a fault on it gets
 *   absent   | never installed                           | its snapshot bytes
 *   present  | installed from the snapshot               | zero; EEXIST: wake
 *   removed  | given back by the guest, absent           | zero, becomes zeroed
 *   zeroed   | installed as zero after a removal         | like present
 */
#ifndef UFFDD_PAGEMAP_H
#define UFFDD_PAGEMAP_H

#include <sys/types.h>
#include <uuid/uuid.h>

#include "common/region.h"
#include "common/uffd.h"

#define PAGEMAP_MAGIC 0x70616d6464666675ull /* "uffddmap" */
#define PAGEMAP_VERSION 1
#define PAGEMAP_REGIONS_OFF 4096
#define PAGEMAP_STATS_OFF 8192
#define PAGEMAP_INBOX_OFF 12288
#define PAGEMAP_BITS_OFF 20480

/*        state          name */
/* clang-format off */
#define PAGE_STATES(X)           \
	X(PAGE_ABSENT,  "absent")  \
	X(PAGE_PRESENT, "present") \
	X(PAGE_REMOVED, "removed") \
	X(PAGE_ZEROED,  "zeroed")
/* clang-format on */

enum page_state {
#define X(state, name) state,
	PAGE_STATES(X)
#undef X
		PAGE_STATE_COUNT
};
extern const char *const page_state_names[PAGE_STATE_COUNT];

/*        limit            why prefetch takes no more for now, and the cure */
/* clang-format off */
#define PAGEMAP_LIMITS(X)                                                                    \
	X(LIMIT_NONE,     NULL)                                                              \
	X(LIMIT_MEMORY,   "a memory cgroup of the VMM has too little room left: raise its "  \
			  "limit, or lower prefetch_margin_bytes")                           \
	X(LIMIT_HUGETLB,  "a hugetlb cgroup of the VMM has too little room left: raise its " \
			  "limit, or lower prefetch_margin_bytes")                           \
	X(LIMIT_POOL,     "too few huge pages of the host are free: raise vm.nr_hugepages, " \
			  "or lower prefetch_margin_bytes")                                  \
	X(LIMIT_RESIDENT, "the guest has what max_resident_bytes allows: raise it")
/* clang-format on */

enum pagemap_limit {
#define X(limit, text) limit,
	PAGEMAP_LIMITS(X)
#undef X
		LIMIT_COUNT
};
extern const char *const pagemap_limit_texts[LIMIT_COUNT];

struct pagemap_head {
	uint64_t magic;
	uint32_t version;
	uint32_t connected; /* 1 once regions and vmm are valid */
	uint64_t span_bytes;
	uint32_t vmm_pid, vmm_uid, vmm_gid;
	uint32_t releasing;     /* 1 once the guest needs nobody and regions are unregistered */
	uint64_t source_hash;   /* of what it is served from, for release 0.1 (worker/identity.h) */
	uint32_t prefetch_done; /* 1: it has nothing left to do, as things are */
	uint32_t prefetch_limit; /* enum pagemap_limit */
	uint32_t complete; /* 1: no page that is absent holds snapshot data; never turns back */
	uint32_t short_of; /* enum pagemap_short: what threads of the guest wait for, now */
	uint32_t exact;    /* enum pagemap_exact */
	uint32_t pad;
	uuid_t source_id;  /* the name of the same; null: release 0.1 made the map */
	uint64_t answered; /* 1 + the page last installed for a fault: its state may lag; 0: none */
};

enum pagemap_short { PAGEMAP_SHORT_OF_NOTHING, PAGEMAP_SHORT_OF_MEMORY, PAGEMAP_SHORT_OF_HUGE };

/* Have page states been compared with what the kernel says, so that a diff may be made of them? */
enum pagemap_exact {
	PAGEMAP_INEXACT,
	PAGEMAP_EXACT,
	PAGEMAP_UNASKED, /* the VMM's pagemap could not be had, or read */
	PAGEMAP_FOREIGN, /* it is not of the memory that is served */
};

/*        field                 meaning, for docs/api.md */
/* clang-format off */
#define PAGEMAP_COUNTERS(X)                                                          \
	X(faults,               "MISSING faults read, each thread's own")              \
	X(faults_written,       "of these, by a write")                                \
	X(faults_served,        "pages installed for a fault")                         \
	X(faults_zero,          "of these, as zero after a removal")                   \
	X(faults_present,       "faults on a page that was there already (woken)")     \
	X(faults_deferred,      "install attempts put off while a removal was under way") \
	X(faults_left,          "faults on a range that left the userfaultfd")         \
	X(wakes_overflow,       "times all regions were woken because too many threads faulted") \
	X(events_remove,        "REMOVE events")                                       \
	X(events_unmap,         "UNMAP events")                                        \
	X(events_remap,         "REMAP events")                                        \
	X(events_fork,          "FORK events")                                         \
	X(installed_bytes,      "installed from snapshot data")                        \
	X(zero_installed_bytes, "installed as zero")                                   \
	X(prefetch_bytes,       "pages prefetch has dealt with, in bytes")             \
	X(source_errors,        "installs that failed because of the source")          \
	X(refused_peers,        "connections turned away from the UFFD socket")      \
	X(states_corrected,     "page states that the kernel knew better")
/* clang-format on */

struct pagemap_stats {
	uint64_t pages[PAGE_STATE_COUNT]; /* how many pages are in each state */
#define X(field, meaning) uint64_t field;
	PAGEMAP_COUNTERS(X)
#undef X
};

struct pagemap {
	struct pagemap_head *head; /* the whole mapping begins here */
	struct regions *regions;
	struct pagemap_stats *stats;
	struct uf_inbox *inbox;
	uint64_t *bits;
	size_t map_bytes;
	uint64_t npages;       /* 0 until pagemap_connect() */
	uint64_t absent_zeros; /* of the absent pages: need nothing of the snapshot; guest.c's */
};

/*
 * pagemap_create - size the (empty) file for a snapshot and map it
 * Room is for 4 KiB pages, reserved whole, so that a full tmpfs is ERR_NOSPACE
 * here instead of a SIGBUS later. @fd stays the caller's.
 */
int pagemap_create(int fd, uint64_t span_bytes, struct pagemap *ret, struct err *err);
/*
 * pagemap_open - go on from the map of a predecessor that is gone
 *
 * Its counts of pages are taken anew: it may have died between a page and its
 * count. ERR_STATE if no VMM had connected, ERR_SYSTEM if it is not a page map.
 */
int pagemap_open(int fd, struct pagemap *ret, struct err *err);
/* Record the VMM; only pages inside regions are counted, all as absent. */
void pagemap_connect(struct pagemap *pm, const struct regions *regions, uint32_t pid, uint32_t uid,
		     uint32_t gid);
void pagemap_close(struct pagemap *pm);

enum page_state pagemap_get(const struct pagemap *pm, uint64_t page);
/* Sets @n pages from @page on, all inside regions, and keeps stats->pages right. */
void pagemap_set(struct pagemap *pm, uint64_t page, uint64_t n, enum page_state state);
/*
 * The next run of absent pages in [page, end), at most @max long.
 * Returns its length, 0 if there is none; *ret_page is where it starts (or end).
 */
uint64_t pagemap_absent_run(const struct pagemap *pm, uint64_t page, uint64_t end, uint64_t max,
			    uint64_t *ret_page);

/* How many pages the guest has. */
static inline uint64_t pagemap_resident(const struct pagemap *pm)
{
	return pm->stats->pages[PAGE_PRESENT] + pm->stats->pages[PAGE_ZEROED];
}

/* Nothing will be needed from the snapshot any more. */
static inline bool pagemap_complete(const struct pagemap *pm)
{
	return pm->npages && pm->stats->pages[PAGE_ABSENT] == pm->absent_zeros;
}

/* The reader's side: copies, taken with pread, checked before they are believed. */
struct pagemap_view {
	struct pagemap_head head;
	struct regions regions; /* all zero until connected */
	struct pagemap_stats stats;
};
int pagemap_view(int fd, struct pagemap_view *ret, struct err *err);
/* The same, as far as its worker has told, or any reader can tell. */
static inline bool pagemap_view_complete(const struct pagemap_view *v)
{
	return v->head.connected && (v->head.complete || v->stats.pages[PAGE_ABSENT] == 0);
}

struct pagemap_run {
	uint64_t offset, len; /* snapshot bytes */
	enum page_state state;
};
/*
 * pagemap_runs - page states as runs from @offset on, at most @max of them
 *
 * Only what lies inside regions. *ret_n runs are written; *ret_next is where to
 * go on, or UINT64_MAX at the end. O(pages looked at).
 */
int pagemap_runs(int fd, const struct pagemap_view *view, uint64_t offset, struct pagemap_run *runs,
		 size_t max, size_t *ret_n, uint64_t *ret_next, struct err *err);

#endif
