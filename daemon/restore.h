/*
 * restore - one restore: its record, what is held for it, and its worker's slot
 *
 * A restore has two states: the state that the API shows (record.h), and how the supervisor stands
 * with the worker (slot.h). Only this file changes the first state and has it stored; other files
 * call the functions below. When a restore ends, all that is held for it is released at once
 * (holdings.h). The record stays until the retention time is over. Nothing below but restore_free()
 * frees a restore.
 */
#ifndef UFFDD_RESTORE_H
#define UFFDD_RESTORE_H

#include <sys/queue.h>

#include "daemon/holdings.h"
#include "daemon/record.h"
#include "daemon/slot.h"

/* After this time a worker that was told to leave is killed; long, for a busy host. */
#define RESTORE_LEAVE_MS 30000

struct restore;

/*
 * A caller that waits for a create. Owned by the caller. done is called once: with the restore and
 * @why NULL, or with @restore NULL and the reason; @restore is borrowed.
 */
struct creator {
	void (*done)(struct creator *c, struct restore *restore, const struct err *why);
	void *arg;
	bool made; /* set before done: this creator's request made the restore */
	TAILQ_ENTRY(creator) link;
	struct creators *list; /* the list that this creator is in; NULL: none */
};
TAILQ_HEAD(creators, creator);

struct restore {
	struct host *host; /* borrowed */
	struct restore_record rec;
	struct spec spec;
	struct creators creators;

	struct slot slot;        /* of the worker: the second state */
	struct worker *worker;   /* borrowed from the pool; NULL: no worker, or it has exited */
	struct claim claim;      /* to a prefetch lease */
	uint64_t limits_sent_us; /* when CGROUPS was sent to the worker; 0: not yet */
	struct holdings hold;    /* descriptors, paths, deadlines */
	uint64_t refused_events; /* REFUSED with a reason, published or not */
	uint64_t note_events[CHAN_NOTE_COUNT]; /* the same for each kind of NOTE */
	size_t stored_bytes;                   /* of a request that only the store has */
	bool kept;                             /* by retention.h, in its list */
	TAILQ_ENTRY(restore) ended_link;
};

/*
 * Closes what is held and frees @r. Files, and the VMM's and the worker's processes, stay: the
 * worker goes on without a channel (worker_leave).
 */
void restore_free(struct restore *r);

/* Makes the record from r->spec, which is resolved. @caller: whose rights workers take on. */
void restore_begin(struct restore *r, const char *key, const char *id,
		   const struct sock_peer *caller);
/* Prepares @r, which is all zero: no descriptors, no creators. @host is borrowed. */
void restore_init(struct restore *r, struct host *host);
extern const struct lease_scheduler_hooks restore_lease_hooks;

/* By the record: is @r of this boot, and live, or failed and not yet released? */
bool restore_stands(const struct restore *r);
/* Is there a guest that may wait for pages of ours? Then its descriptors must stay open. */
bool restore_has_vmm(const struct restore *r);
/*
 * Releases all but the record, and tells the worker to leave. The worker is killed after
 * RESTORE_LEAVE_MS. Does not free @r.
 */
void restore_release(struct restore *r);
static inline bool restore_is_creating(const struct restore *r)
{
	return r->slot.state == SLOT_CREATING;
}
/* Is all but the record released, and the worker gone? Then @r may be freed. */
bool restore_released(const struct restore *r);

/*
 * Stores a change with an event of @type, and reports it to long polls and event streams. The
 * caller has changed the record and its revision. @data: of the event, taken over; NULL for {}.
 */
void restore_changed(struct restore *r, const char *type, struct json_object *data);
/*
 * The event "created", written to the store before the caller hears of @r. 0, or -1 and nothing is
 * stored. @data is taken over in any case.
 */
int restore_created(struct restore *r, struct json_object *data, struct err *err);
/* An event that belongs to no restore, for a create that fails. @data is taken over. */
void restore_publish_failed_create(struct restore *r, const char *type, struct json_object *data);
/*
 * restore_unserved: the worker is lost; SERVING becomes RECOVERING. restore_served: a worker serves
 * again; RECOVERING becomes SERVING. Other states stay. The caller then calls restore_changed().
 */
void restore_unserved(struct restore *r);
void restore_served(struct restore *r);
/*
 * For a row that does not stand (restore_stands). If it is live, its VMM ended with a former boot:
 * ends the record. Leaves the restore released.
 */
void restore_over(struct restore *r);

/*
 * Fails @r: stored and visible at once. While a VMM lives, its descriptors stay open; without a VMM
 * @r is released at once. @reason is copied. True: the caller now ends the VMM (vmm_end), if
 * on_failure says so. False: @r had failed before, and nothing has changed.
 */
bool restore_fail(struct restore *r, const char *reason);
/*
 * Moves @r to SERVING: a VMM has connected. @c is from the worker, or from the page map that a dead
 * worker left. @pidfd: of the process that handed the userfaultfd over, borrowed; -1: that process
 * has ended.
 */
void restore_connected(struct restore *r, const struct chan_connected *c, int pidfd);
/* Notes in the record which process handed the userfaultfd over. @pidfd: as above. */
void restore_note_vmm(struct restore *r, uint32_t pid, uint32_t uid, int pidfd);
/*
 * The worker is ready: from now on the supervisor accepts connections to the UFFD socket, as
 * long as the VMM is still to come.
 * @listen_fd: the listening socket, taken if it is one; -1: none
 * @npeers: connections that the worker has and will hand over (0 for a new worker)
 */
void restore_listen(struct restore *r, int *listen_fd, size_t npeers);
/* Tells the worker, which must be there, that the store has @r. */
void restore_known(struct restore *r);

/*
 * Ends @r: stored, and all but the record is released. A failed restore keeps its state and reason.
 * Otherwise the reason is that of a stop that was asked for, else @reason. Does not free @r.
 */
void restore_end(struct restore *r, const char *reason);

/* Opens the page map's file for reading and writing; *ret_fd is owned by the caller. */
int restore_open_map(const struct restore *r, int *ret_fd, struct err *err);
/* Reads the page map as it is now; after the release, as it was when the worker left. */
int restore_view(const struct restore *r, struct pagemap_view *ret, struct err *err);

#endif
