/*
 * record - the record of one restore, and its state machine
 *
 * Pure: no loop, no store, no clock (times are arguments). The store keeps each record whole, as
 * one row. Everything else about a restore can be found again from its record.
 *
 *              handshake                     VMM ends, or stopped
 *   waiting ---------------> serving ------------------------------> ended
 *      |  |                  |  ^  |                                   ^
 *      |  | stopped     lost |  |  | a page can no longer be supplied  |
 *      |  +------------+     v  |  v                                   |
 *      | deadline,     |  recovering --> failed                        |
 *      v bad VMM       |      |                                        |
 *    failed            +------+----------------------------------------+
 */
#ifndef UFFDD_RECORD_H
#define UFFDD_RECORD_H

#include "common/sock.h"
#include "common/spec.h"
#include "common/wset.h"

#define RESTORE_REASON_MAX 512
#define RESTORE_GROUPS_MAX 768 /* 64 group ids as text */

struct restore_record {
	/* Names what is this restore's on this host: page map, socket, holder, row. Never guessed. */
	char key[PROTO_ID_MAX + 1];
	char id[PROTO_ID_MAX + 1]; /* as the tenant says, and only one of its restores has it */
	char tenant[PROTO_ID_MAX + 1];
	enum restore_state state;
	char reason[RESTORE_REASON_MAX]; /* why the restore ended or failed; "" while live */
	uint64_t revision;               /* grows with every change */
	char boot_id[37];                /* of the host, as in /proc/sys/kernel/random/boot_id */

	char *spec; /* owned: the canonical request, JSON text; NULL: only in the row (request.h) */
	char socket_path[PROTO_SUN_MAX + 1]; /* that the VMM connects to */
	uint32_t caller_uid, caller_gid;
	char caller_groups[RESTORE_GROUPS_MAX]; /* "4 27 100": workers take these groups on */

	uint32_t vmm_pid, vmm_uid; /* 0 until connected; pid 0 also: not known */
	uint64_t vmm_start;        /* start time: with the pid, the identity of a process */
	uint32_t worker_pid, worker_restarts;
	uint64_t worker_start;

	uint64_t size_bytes, page_bytes, memory_bytes; /* page, memory: 0 until connected */
	uint64_t map_bytes, extents, files;            /* of page map and snapshot */
	bool complete, paused;
	bool released;               /* nothing but this record is left */
	enum spec_prefetch prefetch; /* as it is now, not as the request asked */
	bool prefetch_held;
	uint64_t rate_bytes_per_s, max_resident_bytes; /* as they are now; 0: no limit */

	char wset_key[WSET_KEY_LEN + 1]; /* wset_key_text() of the snapshot; "" while unknown */
	bool recording;                  /* the worker is still to send a working set */
	uint64_t wset_pages;             /* in the set that was recorded; 0: none */
	char stop_reason[16]; /* a stop is wanted: the reason of the end to come; "": no stop */
	uint64_t stop_by_us;  /* now_us() until which the VMM may end by itself; 0: no grace */

	int64_t created_ms, connected_ms, ended_ms; /* wall clock, ms; 0: not yet */
};

/*
 * Fills @r, which is all zero but for its key: state WAITING, revision 1. @spec: resolved. @caller:
 * whose rights the workers take on.
 */
void record_begin(struct restore_record *r, const char *id, const struct spec *spec,
		  const struct sock_peer *caller, int64_t now_ms);

#define RECORD_KEY_LEN 36
/* A key that is nobody's, and that nobody can guess. */
void record_make_key(char ret[RECORD_KEY_LEN + 1]);

/*
 * Moves @r along an edge of the diagram, and counts its revision. Asserts that the edge exists.
 * @reason: NULL or text, copied; kept by the final states only.
 */
void record_move(struct restore_record *r, enum restore_state to, const char *reason,
		 int64_t now_ms);
/* Is there an edge from @from to @to? */
bool record_may_move(enum restore_state from, enum restore_state to);
/* Is a restore in @from in @to, or can it still get there? Else no long poll may wait for it. */
bool record_can_reach(enum restore_state from, enum restore_state to);

/* Frees what the record owns; the struct stays the caller's. Safe to repeat. */
void record_fini(struct restore_record *r);

#endif
