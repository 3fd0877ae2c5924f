/*
 * holdings - what the supervisor holds of a restore, and in which order it lets go
 *
 * Descriptors, paths and deadlines; nothing here knows the restore. A guest hangs on the uffd:
 * it goes first when its VMM has ended, for a blocked thread of a dead VMM waits for that, and
 * not at all before. Descriptors are few (descriptors.h): the page map is opened when it is
 * looked at, and the snapshot's files are somebody else's (holders.h).
 */
#ifndef UFFDD_HOLDINGS_H
#define UFFDD_HOLDINGS_H

#include "common/life.h"
#include "common/pagemap.h"
#include "daemon/acceptor.h"
#include "daemon/host.h"

struct holdings {
	int uffd; /* owned duplicate, or -1 */
	int vmm;  /* owned pidfd, -1: none, or not known: see vmm.h */
	struct event *on_vmm, *ask_vmm;
	struct life life; /* of the VMM, once the process behind that has ended */

	bool own_socket;          /* bound by us: we unlink it */
	struct acceptor acceptor; /* until a VMM is there */

	int old_worker;          /* owned: pidfd of one that has lost us, or -1 */
	struct event *back_by;   /* until then it may come back */
	struct event *load_by;   /* until then the snapshot must be loaded, at creation */
	struct event *no_memory; /* until then a VMM that has none any more may end */
	struct event *grace;     /* until then a VMM that is to be stopped may end by itself */

	int map_fd;               /* owned, from its release until its worker has left; or -1 */
	struct pagemap_view last; /* the page map as it was in the end */
};

/* @hooks, @arg: of the acceptor. */
void holdings_init(struct holdings *h, struct event_base *base, const struct acceptor_hooks *hooks,
		   void *arg);
/* No VMM is to come any more. Safe to repeat. */
void holdings_close_socket(struct holdings *h, const char *path);
/* The VMM's process is another one, or none. */
void holdings_forget_vmm(struct holdings *h);
/*
 * All but the page map, which is kept open for its last counters; and of restore @id on this
 * host, whose socket is @socket_path: files, holder, and what systemd keeps
 */
void holdings_release(struct holdings *h, const struct host *host, const char *id,
		      const char *socket_path);
/* Nobody writes the page map any more: its last counters are kept. */
void holdings_close_map(struct holdings *h);
/* Descriptors and events only; what others have to find again stays. */
void holdings_fini(struct holdings *h);

#endif
