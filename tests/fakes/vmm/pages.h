/*
 * pages - what each guest page must read, and the ways to touch and change it
 *
 * A page is expected to read as the image, as zero (it was given back), and
 * either way with one 8-byte word overwritten (it was written). Threads may touch
 * any page at any time: while a page is being changed it may read old or
 * new, from the moment the change returned it must read new.
 */
#ifndef UFFDD_TESTS_PAGES_H
#define UFFDD_TESTS_PAGES_H

#include "tests/fakes/vmm/vmm.h"

#define WALKER_IDLE UINT64_MAX

/* One thread's seat; everything below takes the seat of the calling thread. */
struct walker {
	struct vmm *v; /* borrowed */
	struct walker *next;
	const char *name;    /* borrowed */
	_Atomic uint64_t at; /* page it is in, or WALKER_IDLE */
	uint8_t *copy;       /* owned: a page as read, then a page as expected */
	uint8_t *want;       /* the second of the two */
	bool quick;          /* first access only, compare nothing */
	uint64_t rng;
	uint64_t touched;
	uint64_t fault_us; /* sum of the first accesses */
	uint64_t last_ns;  /* the last one */
};

void walker_init(struct walker *w, struct vmm *v, const char *name, uint64_t seed);
void walker_fini(struct walker *w);
uint64_t walker_random(struct walker *w, uint64_t below);

/* Returns false when the page is not mapped now. Wrong bytes are counted in the vmm. */
bool pages_touch(struct walker *w, uint64_t page, bool write);
/* Touch every page to read it; returns how many were there. */
uint64_t pages_verify(struct walker *w);
/* What the page must read while nobody changes it: page_bytes into @buf. False: unmapped. */
bool pages_expect(struct vmm *v, uint64_t page, uint8_t *buf);
/* Count a wrong page that somebody else found (a vCPU). */
void pages_wrong(struct vmm *v, const struct vmm_wrong *wrong);

/*
 * Change at most @max pages from @first on. The run ends early at a region's
 * border and at a page that is being changed. *ret_n may be 0.
 *
 * Without UF_FEATURE_REMOVE only touched pages are removed: the server cannot
 * know of the others.
 */
int pages_remove(struct walker *w, uint64_t first, uint64_t max, uint64_t *ret_n, struct err *err);
int pages_unmap(struct walker *w, uint64_t first, uint64_t max, uint64_t *ret_n, struct err *err);
int pages_remap(struct walker *w, uint64_t first, uint64_t max, uint64_t *ret_n, struct err *err);
/* A child that ends at once. */
int pages_fork(struct err *err);
/* Number of mapped pages from @first on that lie at adjacent addresses; no threads running. */
uint64_t pages_run(struct vmm *v, uint64_t first);

#endif
