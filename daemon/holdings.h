/*
 * holdings - what the supervisor holds for a restore, and in which order it lets go
 *
 * Descriptors, paths and deadlines; nothing here knows the restore. The uffd is closed first, since
 * a blocked thread of a dead VMM waits for that; it is never closed while a guest needs it.
 * Descriptors are few (descriptors.h): the page map is opened when it is read, and the holder keeps
 * the snapshot's files (holders.h).
 */
#ifndef UFFDD_HOLDINGS_H
#define UFFDD_HOLDINGS_H

#include "common/life.h"
#include "common/pagemap.h"
#include "daemon/acceptor.h"
#include "daemon/host.h"

struct holdings {
	int uffd;                       /* owned duplicate, or -1 */
	int vmm;                        /* owned pidfd; -1: none, or not known (vmm.h) */
	struct event *on_vmm, *ask_vmm; /* owned; of vmm.c */
	struct life life;               /* of the VMM, once the process behind vmm has ended */

	bool own_socket;          /* bound by the supervisor, which unlinks it */
	bool foreign_dir;         /* its directory is not ours: another user may have moved it */
	struct acceptor acceptor; /* until a VMM is there */

	int old_worker;          /* owned pidfd of a worker that has lost us, or -1 */
	struct event *back_by;   /* owned, like the next three: deadline for old_worker */
	struct event *load_by;   /* deadline for loading the snapshot, at creation */
	struct event *no_memory; /* deadline for the end of a VMM without memory */
	struct event *grace;     /* deadline for a VMM that is stopped to end by itself */

	int map_fd;               /* owned, from the release until the worker has left; or -1 */
	struct pagemap_view last; /* the page map when the worker had left */
};

/* Prepares @h, which is all zero. @base is borrowed; @hooks and @arg are the acceptor's. */
void holdings_init(struct holdings *h, struct event_base *base, const struct acceptor_hooks *hooks,
		   void *arg);
/* Is @path, the socket of the restore with @key, in a foreign directory? Sets foreign_dir, and returns it. */
bool holdings_place_socket(struct holdings *h, const struct host *host, const char *key,
			   const char *path);
/* No VMM is to come any more: closes the acceptor; unlinks @path if own_socket. Repeatable. */
void holdings_close_socket(struct holdings *h, const char *path);
/* Closes the pidfd and its events: the VMM's process is another one, or unknown. */
void holdings_forget_vmm(struct holdings *h);
/*
 * Releases all but the page map, which stays open for its last counters. Also removes what belongs
 * to the restore with @key on this host: its files, its holder, its socket @socket_path, and systemd's
 * duplicate of the uffd.
 */
void holdings_release(struct holdings *h, const struct host *host, const char *key,
		      const char *socket_path);
/* The worker has left: reads the page map's last counters and closes it. */
void holdings_close_map(struct holdings *h);
/* Frees descriptors and events only. Files and systemd's duplicate stay for the next supervisor. */
void holdings_fini(struct holdings *h);

#endif
