/*
 * walk - threads that touch all of guest memory in some order
 */
#ifndef UFFDD_TESTS_WALK_H
#define UFFDD_TESTS_WALK_H

#include "tests/fakes/vmm/pages.h"

#define WALK_THREADS_MAX 256

enum walk_order {
	WALK_SEQ,
	WALK_REV,
	WALK_RAND,
	WALK_STRIDE,
	WALK_SAME, /* all threads on the same page at the same moment */
};

struct walk_plan {
	unsigned threads;   /* 1..WALK_THREADS_MAX */
	unsigned passes;    /* times all of memory */
	unsigned write_pct; /* share of touches that write */
	enum walk_order order;
	uint64_t seed;
	uint64_t until_us; /* instead of passes: until then (now_us()), or walk_end(); 0: not */
	bool quick;        /* see struct walker */
};

struct walk_totals {
	uint64_t touched;
	uint64_t fault_us;
};

struct walk;

/*
 * Reads only the pages of @list, in its order, by the calling thread's seat: each
 * "FIRST" or "FIRST+COUNT", separated by commas. Prints how many.
 */
int walk_list(struct walker *seat, const char *list, uint64_t *ret_touched, struct err *err);

/*
 * Reads @n pages by the calling thread's seat, one each millisecond: those from the @first-th on of
 * WALK_RAND. Returns the median of the accesses, in nanoseconds. There must be so many pages.
 */
uint64_t walk_paced(struct walker *seat, uint64_t first, uint64_t n, uint64_t seed);

/* The @i-th page of @n in this order; a permutation of 0..n-1. */
uint64_t walk_page(enum walk_order order, uint64_t i, uint64_t n, uint64_t seed);

int walk_start(struct vmm *v, const struct walk_plan *plan, struct walk **ret, struct err *err);
/* Until @n touches were made, or the threads are through. */
void walk_wait(struct walk *walk, uint64_t n);
/* Touches made so far. */
uint64_t walk_touched(const struct walk *walk);
/* Where there is a time until which they touch, it is now. */
void walk_end(struct walk *walk);
/* Waits for the threads and frees. */
void walk_join(struct walk *walk, struct walk_totals *ret);

#endif
