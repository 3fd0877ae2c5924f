/*
 * working_set - what guests of this snapshot touch first: replayed, watched, passed on
 *
 *   the store's set (WSET_GIVEN) ───┐                      ┌──► prefetch: replay
 *   the caller's (working_set.path) ┴─► one set, if whole ─┤
 *                                                          └──► merge ──► WSET_MADE
 *                                                                 ▲
 *   the guest's first touches ────────────────────► record ───────┘
 *
 * A set that is damaged, or of another snapshot, is told (note working-set-ignored)
 * and left aside: the restore goes on. Nothing here can fail a restore, and no
 * page's bytes depend on it.
 */
#ifndef UFFDD_WORKING_SET_H
#define UFFDD_WORKING_SET_H

#include "worker/supervisor_link.h"
#include "worker/prefetch.h"
#include "worker/touch_log.h"

struct working_set {
	struct supervisor_link *link; /* borrowed */
	struct wset_key key;
	uint64_t span_bytes;
	uint64_t window_us;  /* 0: nothing is to be recorded */
	uint64_t file_bytes; /* the largest set that is taken from us */
	/* Until there is a guest; all zero: none. */
	struct wset path;          /* the caller's */
	struct wset stored[2];     /* recorded with pages of 4 KiB, of 2 MiB */
	struct wset set;           /* all of it for the guest's page size */
	struct err ignored;        /* why the caller's is not used; "": nothing to tell */
	struct prefetch *prefetch; /* borrowed; NULL before there is a guest */
	struct touch_log touch_log;
	int made;    /* owned; the set that came of it, until it is sent, or -1 */
	bool unsent; /* WSET_MADE is due: there was nobody to tell */
};

void working_set_init(struct working_set *h, struct supervisor_link *link);
void working_set_fini(struct working_set *h);

/* Opens @path with the rights that we have now; NULL: none. What is wrong with it is told later. */
void working_set_open(struct working_set *h, const char *path);
/* The supervisor hears us: tell what was wrong. */
void working_set_send_notes(struct working_set *h);
/* WSET_GIVEN: takes sets out of @fds. Also while the guest is served. */
void working_set_receive(struct working_set *h, int fds[CHAN_FDS_MAX]);

/* A guest is there. @record: from its first moment, not taken over. */
void working_set_begin(struct working_set *h, struct prefetch *prefetch, uint64_t page_bytes,
		       bool record, uint64_t now);
/* After a step of prefetch that began at @now. */
void working_set_stepped(struct working_set *h, uint64_t now);
/*
 * working_set_end - the recording is over: merge it, and send what came of it
 * @map: as it is now
 *
 * Some milliseconds for a large set; nothing if there is none or nothing was touched.
 */
void working_set_end(struct working_set *h, const struct pagemap *map, uint64_t now);
/* It would tell lies (pages could not be supplied): forget it. */
void working_set_drop(struct working_set *h);
/* To a new supervisor: what the last one did not get. */
void working_set_replay(struct working_set *h);

#endif
