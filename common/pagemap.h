/*
 * pagemap - the state of every guest page of one restore, in shared memory
 *
 * One file per restore on tmpfs. The worker maps the file and is its only writer (one thread). The
 * supervisor reads the file only with pread, so nothing that a worker writes can hurt the
 * supervisor. The file outlives the worker: a successor continues from it.
 *
 *   0      struct pagemap_head    geometry, VMM; the magic is written last
 *   4096   struct regions         from the handshake
 *   8192   struct pagemap_stats   counters
 *   12288  struct uf_inbox        messages read from the uffd and not yet acted upon
 *   20480  two bits per page, 32 pages to a u64, page 0 in the lowest bits
 *
 * The head only grows at its end, and a new file is all zeros. So each release reads the maps of
 * the releases before and after it, and the version stays.
 *
 * A page is regions.page_bytes long; page i is snapshot offset i * page_bytes.
 *
 *   state    | meaning                                   | a fault on the page gets
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
	uint32_t connected; /* 1: regions and vmm_* are valid */
	uint64_t span_bytes;
	uint32_t vmm_pid, vmm_uid, vmm_gid;
	uint32_t releasing;   /* 1: the guest needs no worker; its regions are being unregistered */
	uint64_t source_hash; /* names the snapshot, for release 0.1 (worker/identity.h) */
	uint32_t prefetch_done;  /* 1: prefetch has nothing left to do at present */
	uint32_t prefetch_limit; /* enum pagemap_limit */
	uint32_t complete;       /* 1: no absent page holds snapshot data; never goes back to 0 */
	uint32_t short_of;       /* enum pagemap_short: what faulting threads wait for now */
	uint32_t exact;          /* enum pagemap_exact */
	uint32_t pad;
	uuid_t source_id;  /* names the snapshot; null: release 0.1 made the map */
	uint64_t answered; /* 1 + the page of the last fault, whose state may lag; 0: none */
};

enum pagemap_short { PAGEMAP_SHORT_OF_NOTHING, PAGEMAP_SHORT_OF_MEMORY, PAGEMAP_SHORT_OF_HUGE };

/* Do the page states agree with the kernel, so that a diff snapshot may be made of them? */
enum pagemap_exact {
	PAGEMAP_INEXACT,
	PAGEMAP_EXACT,
	PAGEMAP_UNASKED, /* the VMM's pagemap could not be opened or read */
	PAGEMAP_FOREIGN, /* the pagemap belongs to other memory than the one served */
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
	uint64_t pages[PAGE_STATE_COUNT]; /* number of pages in each state */
#define X(field, meaning) uint64_t field;
	PAGEMAP_COUNTERS(X)
#undef X
};

struct pagemap {
	struct pagemap_head *head; /* also the start of the mapping */
	struct regions *regions;
	struct pagemap_stats *stats;
	struct uf_inbox *inbox;
	uint64_t *bits;
	size_t map_bytes;
	uint64_t npages;       /* 0 until pagemap_connect() */
	uint64_t absent_zeros; /* absent pages that need no snapshot data; kept by guest.c */
};

/* Size of the page map of so many bytes of guest memory. */
uint64_t pagemap_file_bytes(uint64_t span_bytes);
/*
 * pagemap_create - size the (empty) file for a snapshot and map it
 * @fd: stays the caller's
 * @span_bytes: bytes of the snapshot, 1 to 16 TiB
 * @ret: owned by the caller, released by pagemap_close()
 *
 * The file gets room for 4 KiB pages, reserved at once, so that a full tmpfs is ERR_NOSPACE here
 * instead of a SIGBUS later. Returns 0, or -1 with ERR_TOOBIG (span), ERR_STATE (the file is not
 * empty), ERR_NOSPACE or ERR_SYSTEM.
 */
int pagemap_create(int fd, uint64_t span_bytes, struct pagemap *ret, struct err *err);
/*
 * pagemap_open - map the page map of a dead predecessor
 * @fd: stays the caller's
 * @ret: owned by the caller, released by pagemap_close()
 *
 * Counts the pages of each state again: the predecessor may have died between setting a page and
 * counting it. Returns 0, or -1: ERR_STATE if no VMM had connected, ERR_UNREADY if the file is not
 * finished, ERR_SYSTEM if it is damaged or not a page map.
 */
int pagemap_open(int fd, struct pagemap *ret, struct err *err);
/* Records the VMM and its regions. Counts the pages inside regions, all as absent. */
void pagemap_connect(struct pagemap *pm, const struct regions *regions, uint32_t pid, uint32_t uid,
		     uint32_t gid);
void pagemap_close(struct pagemap *pm);

/* State of a page below npages. */
enum page_state pagemap_get(const struct pagemap *pm, uint64_t page);
/* Sets pages [page, page + n), all inside regions, and updates stats->pages. */
void pagemap_set(struct pagemap *pm, uint64_t page, uint64_t n, enum page_state state);
/*
 * pagemap_absent_run - the next run of absent pages in [page, end), at most @max long
 *
 * Returns the length in pages, and its first page in *ret_page; 0 if no page is absent, with
 * *ret_page at @end. @end is at most npages.
 */
uint64_t pagemap_absent_run(const struct pagemap *pm, uint64_t page, uint64_t end, uint64_t max,
			    uint64_t *ret_page);

/* Pages that the guest has in memory. */
static inline uint64_t pagemap_resident(const struct pagemap *pm)
{
	return pm->stats->pages[PAGE_PRESENT] + pm->stats->pages[PAGE_ZEROED];
}

/* True when no absent page needs snapshot data any more. */
static inline bool pagemap_complete(const struct pagemap *pm)
{
	return pm->npages && pm->stats->pages[PAGE_ABSENT] == pm->absent_zeros;
}

/* The reader's side: copies taken with pread, checked before use. */
struct pagemap_view {
	struct pagemap_head head;
	struct regions regions; /* all zero until head.connected */
	struct pagemap_stats stats;
};
/* Returns 0, or -1: ERR_UNREADY (not finished, or cut short) or ERR_SYSTEM. @fd is borrowed. */
int pagemap_view(int fd, struct pagemap_view *ret, struct err *err);
/* As pagemap_complete(): by the worker's word, or because no page is absent. */
static inline bool pagemap_view_complete(const struct pagemap_view *v)
{
	return v->head.connected && (v->head.complete || v->stats.pages[PAGE_ABSENT] == 0);
}

struct pagemap_run {
	uint64_t offset, len; /* bytes of the snapshot */
	enum page_state state;
};
struct pagemap_runs {
	struct pagemap_run *v; /* owned by the caller */
	size_t max, n;
	uint64_t next; /* where to go on, or UINT64_MAX at the end */
};
/*
 * pagemap_runs - page states as runs from @offset (bytes) on
 * @view: from pagemap_view() of the same file
 * @runs: in: v, and max, the number of runs there is room for; out: n and next, unchanged on failure
 *
 * Covers only pages inside regions. One call reads a bounded part of the file, so n may be below max
 * before the end. Returns 0, or -1 with ERR_UNREADY or ERR_SYSTEM. O(pages read).
 */
int pagemap_runs(int fd, const struct pagemap_view *view, uint64_t offset,
		 struct pagemap_runs *runs, struct err *err);

#endif
