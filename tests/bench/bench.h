/*
 * bench - measurements, as a table of rows
 *
 *   bench.c            the table; runs it, prints it, writes bench.json
 *   bench_report.c     how results are shown
 *   bench_place.c      files to measure with, and caches dropped
 *   bench_floor.c      the floor: a page server of a few lines
 *   bench_server.c     whoever serves, the floor or uffdd, behind one socket
 *   bench_guest.c      guest memory in a process of its own, touched and verified
 *   bench_<row>.c      what the rows do
 *
 * A row measures one thing beside a yardstick of the same machine, in turns, in pairs:
 * a busy or slow machine shows in both. What counts is the median over the pairs of
 * the ratio of the two. Values are in seconds, bytes, bytes per second, or shares.
 */
#ifndef UFFDD_TESTS_BENCH_H
#define UFFDD_TESTS_BENCH_H

#include "tests/support/rig.h"

#define BENCH_FIGURES_MAX 4
#define BENCH_PAIRS_MAX 64
#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

enum bench_unit { BENCH_SECONDS, BENCH_BYTES, BENCH_BYTES_PER_S, BENCH_PER_S, BENCH_SHARE };

/* What a row shows. */
struct bench_figure {
	const char *what;      /* "p50"; NULL: no more of them */
	const char *yardstick; /* of what stands beside it; NULL: nothing, the aim is a value */
	enum bench_unit unit;
	bool at_least; /* the aim is to be reached, not to be kept below */
	double aim;    /* times the yardstick, or a value in unit; 0: shown only */
};

struct bench_run;

struct bench_row {
	const char *name; /* for BENCH_ROWS */
	const char *text; /* of what is measured */
	struct bench_figure figures[BENCH_FIGURES_MAX];
	size_t pairs;
	size_t rounds;      /* measurements of each side in a pair */
	const char *config; /* more members of the daemon's configuration; NULL: none */
	/* Calls bench_pair() for each figure of each pair. -1 also for what is absent. */
	int (*run)(struct bench_run *r, struct err *err);
};

/* One row while it runs. */
struct bench_run {
	const struct bench_row *row; /* borrowed */
	const char *dir;             /* borrowed: for files, on a disk if there is one */
	struct rig rig;              /* a daemon of its own */
	unsigned restores;           /* made so far */
	size_t pairs, rounds;        /* to do */

	size_t n[BENCH_FIGURES_MAX]; /* pairs done */
	double own[BENCH_FIGURES_MAX][BENCH_PAIRS_MAX];
	double yardstick[BENCH_FIGURES_MAX][BENCH_PAIRS_MAX];
	uint64_t samples; /* measurements of each side, in all pairs together */
	bool absent;      /* this build or machine has not what it takes */
};

/* A result of both sides; @yardstick is of no meaning where there is none. */
void bench_pair(struct bench_run *r, size_t figure, double own, double yardstick);
/* With the directory: why a row that reads from a disk is not measured. */
#define BENCH_NO_DISK "%s lies in memory, where nothing is ever cold: set BENCH_DIR"
/* Marks the row as not measured, for the reason that @err holds. Returns -1. */
int bench_absent(struct bench_run *r);

uint64_t bench_now_ns(void);
/* In seconds, nearest rank; sorts @ns. 0 of none. */
double bench_percentile(uint64_t *ns, size_t n, unsigned percent);
double bench_median(const double *v, size_t n);
/* A number from the environment, within 1 and @max. */
uint64_t bench_setting(const char *name, uint64_t otherwise, uint64_t max);

/* bench_report.c */

/* The machine, as JSON (owned by the caller), and printed. */
struct json_object *bench_about_machine(void);
void bench_print_head(void);
/* Prints a row and adds it to @out. @why: the row was not measured; NULL: it was. */
void bench_tell(const struct bench_run *r, double seconds, const struct err *why,
		struct json_object *out);

/* The rows */

int bench_fault(struct bench_run *r, struct err *err);
int bench_extents(struct bench_run *r, struct err *err);
int bench_busy(struct bench_run *r, struct err *err);
int bench_threads(struct bench_run *r, struct err *err);
int bench_prefetch(struct bench_run *r, struct err *err);
int bench_zeros(struct bench_run *r, struct err *err);
int bench_cold(struct bench_run *r, struct err *err);
int bench_wset(struct bench_run *r, struct err *err);
int bench_huge(struct bench_run *r, struct err *err);
int bench_create(struct bench_run *r, struct err *err);
int bench_crowd(struct bench_run *r, struct err *err);
int bench_idle(struct bench_run *r, struct err *err);
int bench_takeover(struct bench_run *r, struct err *err);

#endif
