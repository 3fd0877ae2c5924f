/*
 * bench - measurements, as a table of rows
 *
 * Each row measures one thing beside a yardstick of the same machine, taken in turns
 * in the same run, so that a busy or slow machine shows in both. Times are in
 * nanoseconds.
 */
#ifndef UFFDD_TESTS_BENCH_H
#define UFFDD_TESTS_BENCH_H

#include "common/base.h"
#include "common/err.h"

#define BENCH_SAMPLES_MAX 4096

struct bench_samples {
	uint64_t ns[BENCH_SAMPLES_MAX];
	size_t n;
};

struct bench_row {
	const char *name;      /* of what is measured */
	const char *yardstick; /* of what stands beside it */
	double aim;            /* p50 is to be at most this many times the yardstick's */
	size_t rounds;
	/* Fills both, in turns. What is set up is taken down again, also on failure. */
	int (*run)(size_t rounds, struct bench_samples *ret, struct bench_samples *ret_yardstick,
		   struct err *err);
};

uint64_t bench_now_ns(void);
void bench_add(struct bench_samples *s, uint64_t ns);

/* bench_takeover.c */
int bench_takeover(size_t rounds, struct bench_samples *ret, struct bench_samples *ret_yardstick,
		   struct err *err);

#endif
