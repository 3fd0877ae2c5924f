/*
 * install - puts bytes of the snapshot, or zeros, into guest memory
 *
 * Each call asks the kernel once and passes on what it answers; what that means for the
 * page is the guest's to say (guest.h). No byte is served out of a layer that has changed.
 */
#ifndef UFFDD_INSTALL_H
#define UFFDD_INSTALL_H

#include "worker/guest_state.h"

/* How old the check of a layer may be when a page is copied out of its map for a fault. */
#define INSTALL_CHECKED_US 50

/* Pages [page, page + n) of the snapshot, which belong at @addr. */
struct install {
	uint64_t page, addr, n;
	uint64_t done; /* so many of them did the last call put there */
};

/* Buffers of @g. */
int install_init(struct guest *g, struct err *err);
void install_fini(struct guest *g);

/*
 * install_zeros - instead of the snapshot's bytes
 * install_snapshot - its bytes, wherever they come from
 *
 * As far as one call goes: UF_PART when that is not all of it. UF_SOURCE: err says why.
 */
enum uf_outcome install_zeros(struct guest *g, struct install *in);
enum uf_outcome install_snapshot(struct guest *g, struct install *in, struct err *err);
/*
 * install_faulted - one page of data that somebody waits for, and that is in memory
 * @run: the page's
 * @read: source_look() has read it into g->bounce
 */
enum uf_outcome install_faulted(struct guest *g, struct install *in, const struct source_run *run,
				bool read, struct err *err);

/*
 * install_assembled - the bytes of an absent page, right when they were read
 * install_take_back - those of a page that is absent no longer; NULL: none
 */
void install_assembled(struct guest *g, uint64_t page, void *bytes);
void *install_take_back(struct guest *g);

/*
 * Of what was copied from a layer for a fault: has that layer changed meanwhile?
 * Due within a moment, while install_unverified(). 0, or -1 with ERR_SNAPSHOT.
 */
static inline bool install_unverified(const struct guest *g)
{
	return g->unverified != EXTENT_ZERO;
}
int install_verify(struct guest *g, struct err *err);

#endif
