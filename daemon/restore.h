/*
 * restore - one restore at work: its record, what is held for it, and its worker's slot
 *
 * It has two states: what the API shows of it (record.h), and how it stands with its worker
 * (slot.h). Nobody but this room changes the first, and writes it down: those who recover,
 * command, record or assign do it through here. When the restore ends, all that is held goes at
 * once (holdings.h); what stays is the record, until the retention time is over.
 */
#ifndef UFFDD_RESTORE_H
#define UFFDD_RESTORE_H

#include <sys/queue.h>

#include "daemon/holdings.h"
#include "daemon/record.h"
#include "daemon/slot.h"
#include "daemon/tenant.h"

/* How long a worker may take to leave, on a host that is too busy to run it. */
#define RESTORE_LEAVE_MS 30000

struct restore;

/* Who waits for a create: called once, with the restore, or with why not. */
struct creator {
	void (*done)(struct creator *c, struct restore *restore, const struct err *why);
	void *arg;
	bool made; /* set before done: the restore is new, and was made for this one */
	TAILQ_ENTRY(creator) link;
	struct creators *list; /* it is in; NULL: none */
};
TAILQ_HEAD(creators, creator);

struct restore {
	struct host *host; /* borrowed */
	struct restore_record rec;
	struct spec spec;
	struct creators creators;

	struct slot slot;        /* of its worker: the second state */
	struct worker *worker;   /* NULL once it has exited */
	struct claim claim;      /* to a prefetch lease */
	uint64_t limits_sent_us; /* its worker knows the VMM's cgroups as they were then; 0: not */
	struct holdings hold;    /* descriptors, paths, deadlines */
	uint64_t refused_events; /* REFUSED that were worth an event, and those that would be */
	uint64_t note_events[CHAN_NOTE_COUNT];
	TAILQ_ENTRY(restore) ended_link;
};

/* Releases whatever is left and leaves the worker alone (see worker_leave). */
void restore_free(struct restore *r);

/* Its record, out of its spec, which is resolved. */
void restore_begin(struct restore *r, const char *id, const struct sock_peer *caller);
/* Of a restore that is all zero: no descriptors, no creators. */
void restore_init(struct restore *r, struct host *host);
extern const struct lease_scheduler_hooks restore_lease_hooks;

/* By its row: of this boot, and it still holds a VMM, or waits for one, or is being created. */
bool restore_stands(const struct restore *r);
/* Is there a guest that may hang on us? Then nothing of it is closed. */
bool restore_has_vmm(const struct restore *r);
/* Everything but the record goes, with the worker as soon as that has left. */
void restore_release(struct restore *r);
static inline bool restore_is_creating(const struct restore *r)
{
	return r->slot.state == SLOT_CREATING;
}
/* Everything but the record is gone. */
bool restore_released(const struct restore *r);

/* A change: written, published, and looked at by those who wait. @data is taken over. */
void restore_changed(struct restore *r, const char *type, struct json_object *data);
/* The first of them: in the store before anybody hears of it, or an error. */
int restore_created(struct restore *r, struct json_object *data, struct err *err);
/* An event, but of no restore: nothing of @r was created yet. */
void restore_publish_failed_create(struct restore *r, const char *type, struct json_object *data);
/*
 * Its worker is lost, or one serves again; the caller tells what has happened (restore_changed).
 * Only one that serves goes back and forth: waiting and failed ones stay what they are.
 */
void restore_unserved(struct restore *r);
void restore_served(struct restore *r);
/* A row that does not stand: what lived before the host was started again has ended with it. */
void restore_over(struct restore *r);

/*
 * Visible at once; what the guest hangs on is kept until the VMM has ended. True: it had not
 * failed before, and the caller ends the VMM (vmm_end), if on_failure says so.
 */
bool restore_fail(struct restore *r, const char *reason);
/*
 * A VMM is there: from its worker, or from the page map that a dead one left.
 * @pidfd: of who handed the userfaultfd over, borrowed; -1: it has ended
 */
void restore_connected(struct restore *r, const struct chan_connected *c, int pidfd);
/* Who handed a userfaultfd over, into the record; @pidfd as above. */
void restore_note_vmm(struct restore *r, uint32_t pid, uint32_t uid, int pidfd);
/*
 * The worker is ready: from now on the supervisor accepts connections to the UFFD socket, as
 * long as the VMM is still to come.
 * @listen_fd: the listening socket, taken if it is one; -1: none
 * @npeers: connections that the worker has and will hand over (0 for a new worker)
 */
void restore_listen(struct restore *r, int *listen_fd, size_t npeers);
/* The store has it: its worker is told. */
void restore_known(struct restore *r);

/*
 * It has ended: everything but the record goes. After a failure the reason stays; who
 * asked for the end gives it otherwise, else @reason.
 */
void restore_end(struct restore *r, const char *reason);

/* The page map's file, to look into and to hand on; owned by the caller. */
int restore_open_map(const struct restore *r, int *ret_fd, struct err *err);
/* The page map now, or as it was at release. */
int restore_view(const struct restore *r, struct pagemap_view *ret, struct err *err);

#endif
