/*
 * install - puts bytes of the snapshot, or zeros, into guest memory
 *
 * Each call asks the kernel once and returns the kernel's answer; guest.h decides what it means for
 * the page. No byte is installed from a layer that has changed.
 */
#ifndef UFFDD_INSTALL_H
#define UFFDD_INSTALL_H

#include "worker/guest_state.h"

/* Maximum age of a layer's check, microseconds, when a page is copied from its map for a fault. */
#define INSTALL_CHECKED_US 50

/* Pages [page, page + n) of the snapshot, which belong at address @addr of the VMM. */
struct install {
	uint64_t page, addr, n;
	uint64_t done; /* pages that the last call installed */
};

/* The buffers of @g. Returns 0, or -1 with ERR_SYSTEM: no memory; then install_fini() is due. */
int install_init(struct guest *g, struct err *err);
void install_fini(struct guest *g);

/*
 * install_zeros - install zeros instead of the snapshot's bytes
 * install_snapshot - install the snapshot's bytes, from whichever source
 *
 * One call may do a part of @in only: UF_PART. UF_SOURCE: err says why.
 */
enum uf_outcome install_zeros(struct guest *g, struct install *in);
enum uf_outcome install_snapshot(struct guest *g, struct install *in, struct err *err);
/*
 * install_faulted - install one page of data that a thread waits for, and that is in memory
 * @run: where the page's bytes are
 * @read: true if source_look() has read the page into g->bounce
 */
enum uf_outcome install_faulted(struct guest *g, struct install *in, const struct source_run *run,
				bool read, struct err *err);

/*
 * install_assembled - hand over the bytes of an absent page, checked when they were read
 * install_take_back - the bytes of a page that is no longer absent; NULL: none
 *
 * @bytes is lent until install_take_back() returns it. At most READAHEAD_BUFFERS are lent at a
 * time.
 */
void install_assembled(struct guest *g, uint64_t page, void *bytes);
void *install_take_back(struct guest *g);

/*
 * install_unverified - were pages copied for faults from a layer that was not checked
 *	afterwards?
 * install_verify - check that layer, within a moment. Returns 0, or -1 with ERR_SNAPSHOT
 */
static inline bool install_unverified(const struct guest *g)
{
	return g->unverified != EXTENT_ZERO;
}
int install_verify(struct guest *g, struct err *err);

#endif
