/*
 * guest_state - what is known of one guest, and what its pages are made of
 */
#ifndef UFFDD_GUEST_STATE_H
#define UFFDD_GUEST_STATE_H

#include "common/pagemap.h"
#include "common/presence.h"
#include "common/uffd.h"
#include "worker/shortage.h"
#include "worker/source.h"
#include "worker/readahead.h"

/* An absent page whose bytes readahead has assembled. */
struct guest_assembled {
	uint64_t page;
	void *bytes; /* borrowed from readahead; NULL: free */
};

struct guest {
	int uffd;           /* owned */
	struct pagemap map; /* owned */
	struct source *src; /* borrowed */
	uint64_t page_bytes;
	bool leaves_zeros; /* see guest_leave_zeros() */
	void *bounce;      /* owned; one page that is read, not taken from a layer's map */
	void *zeros;       /* owned; zeros to copy where the kernel's zero page is not usable */
	uint64_t zeros_bytes;
	struct presence presence; /* owned */
	enum uf_tracking tracks;
	struct guest_assembled assembled[READAHEAD_BUFFERS];
	size_t nassembled;
	uint32_t unverified; /* layer of the last copies not yet checked again, or EXTENT_ZERO */
	uint64_t checked_us; /* now_us() of the last check for a fault */
	struct shortage shortage; /* of memory for pages that threads wait for */
};

/* Pages of 2 MiB: each costs memory, also a page of zeros. */
static inline bool guest_is_huge(const struct guest *g)
{
	return g->page_bytes > PAGE_4K;
}

#endif
