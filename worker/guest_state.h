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

/* Bytes of a page that somebody else has put together. */
struct guest_assembled {
	uint64_t page;
	void *bytes; /* borrowed; NULL: free */
};

struct guest {
	int uffd;           /* owned */
	struct pagemap map; /* owned */
	struct source *src; /* borrowed */
	uint64_t page_bytes;
	bool leaves_zeros; /* see guest_leave_zeros() */
	void *bounce;      /* owned; one page that is read, not taken from a layer's map */
	void *zeros;       /* owned; zeros to copy where the kernel's zero page will not do */
	uint64_t zeros_bytes;
	struct presence presence; /* owned */
	enum uf_tracking tracks;
	struct guest_assembled lent[READAHEAD_BUFFERS];
	size_t nassembled;
	uint32_t unverified; /* layer that was copied from after its last check, or EXTENT_ZERO */
	uint64_t checked_us; /* when that was */
	struct shortage shortage; /* of memory for pages that threads wait for */
};

/* Of pages of 2 MiB: each of them costs memory, also one of zeros. */
static inline bool guest_is_huge(const struct guest *g)
{
	return g->page_bytes > PAGE_4K;
}

#endif
