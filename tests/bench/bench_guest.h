/*
 * bench_guest - guest memory in a process of its own, which is its VMM
 *
 * The process is forked for one sample and ends with it, as a VMM would, so that
 * each sample begins alike. What it measures goes through shared memory.
 *
 *   parent: bench_server_open ─ fork ────────── wait ───────── bench_server_close
 *   child:            memory, warm-up ─ act: connect, measure, verify ─ exit
 */
#ifndef UFFDD_TESTS_BENCH_GUEST_H
#define UFFDD_TESTS_BENCH_GUEST_H

#include "tests/bench/bench_server.h"
#include "tests/fakes/vmm/vmm.h"

struct bench_guest {
	struct vmm *v;
	uint8_t *memory; /* its one region */
	const char *image;
	const struct bench_server *server;
};

struct bench_plan {
	uint64_t bytes;         /* of guest memory */
	uint64_t page_bytes;    /* 0: 4096 */
	uint64_t install_bytes; /* what the sample will install, at most */
	const char *image;      /* what guest memory must hold; NULL: zeros, or @act knows */
	/* In the guest's process. @arg, if it is to tell anything, is bench_shared(). */
	int (*act)(struct bench_guest *g, void *arg, struct err *err);
	void *arg;
};

/* Zeroed memory that processes share, there already; ends the program if there is none. */
void *bench_shared(size_t bytes);
void bench_unshare(void *p, size_t bytes);

/* One sample: opens the server, runs the guest, closes the server. */
int bench_guest_run(struct bench_server *s, const struct bench_plan *plan, struct err *err);

/* Runs in a process of its own, with what it says of its failure; killed if it takes too long. */
int bench_process(int (*run)(void *arg, struct err *err), void *arg, struct err *err);

/* One side of a pair. */
struct bench_side {
	struct bench_server server;
	struct bench_plan plan;
	const char *cold; /* borrowed: a file to drop from the page cache before; or NULL */
	/* Instead of a guest; what it measures is up to it. */
	int (*instead)(struct bench_side *s, struct err *err);
	/* What the sample that was just run comes to. */
	void (*take)(const struct bench_side *s, double ret[BENCH_FIGURES_MAX]);
};

/* All pairs of a row, own side and yardstick in turns: its @n figures from @first on. */
int bench_pairs(struct bench_run *r, struct bench_side side[2], size_t first, size_t n,
		struct err *err);

/* --- in the guest's process --- */

int bench_guest_connect(struct bench_guest *g, struct err *err);

/* Touches to do, and how long they took. */
struct bench_touches {
	const uint32_t *pages; /* borrowed: in this order */
	size_t n;
	unsigned threads;  /* each takes the next of its share: i, i + threads, … */
	uint32_t pause_us; /* before each, computing: a time drawn up to this; 0: none */
	uint64_t *ns;      /* n; of each touch, as ordered */
	uint64_t wall_ns;  /* of all */
};

/* Reads one byte of each page. */
int bench_guest_touch(struct bench_guest *g, struct bench_touches *t, struct err *err);
/* Connects; until all of memory is installed. */
int bench_guest_load(struct bench_guest *g, uint64_t *ret_ns, struct err *err);
/* How many of the first @n pages are there? None is touched. */
size_t bench_guest_count(const struct bench_guest *g, uint64_t n);
/* The same of one page. */
bool bench_guest_has(const struct bench_guest *g, uint64_t page);
/* Every byte of guest memory is the image's. Touches all of it. */
int bench_guest_verify(const struct bench_guest *g, struct err *err);

/* The first @n pages of a random order of @npages; owned by the caller. */
uint32_t *bench_order(size_t n, size_t npages, uint64_t seed);

#endif
