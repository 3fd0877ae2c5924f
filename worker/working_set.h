/*
 * working_set - what guests of this snapshot touch first: replayed, watched, passed on
 *
 *   the store's set (WSET_GIVEN) ───┐                      ┌──► prefetch: replay
 *   the caller's (working_set.path) ┴─► one set, if whole ─┤
 *                                                          └──► merge ──► WSET_MADE
 *                                                                 ▲
 *   the guest's first touches ────────────────────► record ───────┘
 *
 * A set that is damaged, or of another snapshot, is reported (note working-set-ignored) and
 * ignored: the restore goes on. Nothing here can fail a restore, and no page's bytes depend on it.
 */
#ifndef UFFDD_WORKING_SET_H
#define UFFDD_WORKING_SET_H

#include "worker/layer.h"
#include "worker/roots.h"
#include "worker/supervisor_link.h"
#include "worker/prefetch.h"
#include "worker/touch_log.h"
#include "worker/calls.h"

struct working_set {
	struct supervisor_link *link; /* borrowed */
	struct wset_key key;
	uint64_t span_bytes;
	uint64_t window_us;  /* 0: do not record */
	uint64_t file_bytes; /* the largest file that the store takes */
	/* Given sets, until there is a guest; all zero: none. */
	struct wset path;      /* the caller's */
	struct wset stored[2]; /* recorded with pages of 4 KiB, of 2 MiB */
	struct wset set;       /* all given sets merged, for the guest's page size */
	struct layer file;     /* owned; the caller's set between open and read; else fd -1 */
	struct err ignored;    /* why the caller's set is not used; msg "": it is used, or none */
	struct prefetch *prefetch; /* borrowed; NULL before there is a guest */
	struct touch_log touch_log;
	int made;    /* owned; memfd of the recorded set until it is sent, or -1 */
	bool unsent; /* WSET_MADE is due: there was no supervisor */
};

/* @link is borrowed. */
void working_set_init(struct working_set *h, struct supervisor_link *link);
void working_set_fini(struct working_set *h);

/*
 * Opens @path with this process's rights, beneath @roots; NULL: none. A fault is kept for
 * working_set_read().
 */
void working_set_open(struct working_set *h, const struct roots *roots, const char *path);
/* Reads what was opened; key and span_bytes are set. A fault is reported by the next function. */
void working_set_read(struct working_set *h);
/* Reports the fault of the caller's set, once the supervisor expects notes. */
void working_set_send_notes(struct working_set *h);
/* WSET_GIVEN: takes the sets out of @fds. Valid before and while the guest is served. */
void working_set_receive(struct working_set *h, int fds[CHAN_FDS_MAX]);

/*
 * There is a guest. @prefetch is borrowed. @record: the guest is new, not taken over. Also gives
 * prefetch the set.
 */
void working_set_begin(struct working_set *h, struct prefetch *prefetch, uint64_t page_bytes,
		       bool record, uint64_t now);
/* Call after a step of prefetch that began at @now. */
void working_set_stepped(struct working_set *h, uint64_t now);
/*
 * working_set_end - end the recording: merge it, and send the new set
 * @map: as it is now
 *
 * Takes some milliseconds for a large set. Does nothing without a recording; sends WSET_MADE
 * without a set if the guest touched nothing.
 */
void working_set_end(struct working_set *h, const struct pagemap *map, uint64_t now);
/* Ends the recording without a set: pages could not be supplied, so it would be wrong. */
void working_set_drop(struct working_set *h);
/* Sends a new supervisor the WSET_MADE that the last one did not get. */
void working_set_replay(struct working_set *h);

/* What these functions need of the kernel (calls.h). */
extern const struct calls working_set_calls;

#endif
