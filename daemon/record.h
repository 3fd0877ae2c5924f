/*
 * record - one microVM being served: its record and its state machine
 *
 * Pure: no loop, no store, no clock (times are arguments). The record is what
 * the store keeps, whole, one row; everything else about a restore can be found
 * again from it.
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
#define RESTORE_GROUPS_MAX 768 /* 64 of them, as text */

struct restore_record {
	char id[PROTO_ID_MAX + 1];
	char tenant[PROTO_ID_MAX + 1];
	enum restore_state state;
	char reason[RESTORE_REASON_MAX]; /* why it ended or failed; "" while live */
	uint64_t revision;               /* grows with every change */
	char boot_id[37];                /* of the host, as in /proc/sys/kernel/random/boot_id */

	char *spec; /* owned: the canonical request, JSON text */
	char socket_path[PROTO_SUN_MAX + 1];
	uint32_t caller_uid, caller_gid;
	char caller_groups[RESTORE_GROUPS_MAX]; /* "4 27 100": workers take these rights on */

	uint32_t vmm_pid, vmm_uid; /* 0 until connected */
	uint64_t vmm_start;
	uint32_t worker_pid, worker_restarts;
	uint64_t worker_start;

	uint64_t size_bytes, page_bytes, memory_bytes; /* page and memory: 0 until connected */
	bool complete, paused;
	bool released;               /* nothing is left of it but this record */
	enum spec_prefetch prefetch; /* as it is now, not as it was asked for at first */
	bool prefetch_held;
	uint64_t rate_bytes_per_s, max_resident_bytes;

	char wset_key[WSET_KEY_LEN + 1]; /* wset_key_text() of its snapshot; "" while unknown */
	bool recording;                  /* a working set is (still) expected of its worker */
	uint64_t wset_pages;             /* in the set that was recorded; 0: none was */
	char stop_reason[16]; /* somebody wants the end, and how it will be called; "": nobody */
	uint64_t stop_by_us;  /* now_us() of this boot: until then the VMM may end by itself */

	int64_t created_ms, connected_ms, ended_ms; /* wall clock; 0: not yet */
};

/*
 * The first record, waiting; all zero before. @spec: resolved. @caller: whose rights its
 * workers take on.
 */
void record_begin(struct restore_record *r, const char *id, const struct spec *spec,
		  const struct sock_peer *caller, int64_t now_ms);

/* Move along an edge of the picture; asserts that there is one. Counts revision. */
void record_move(struct restore_record *r, enum restore_state to, const char *reason,
		 int64_t now_ms);
bool record_may_move(enum restore_state from, enum restore_state to);
/* Can a restore in @from still reach @to? For waits that must not hang. */
bool record_can_reach(enum restore_state from, enum restore_state to);

void record_fini(struct restore_record *r);

#endif
