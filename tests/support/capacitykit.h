/*
 * capacitykit - for tests of what is done while descriptors are short: a limit of open files that
 * leaves restores just so many
 */
#ifndef UFFDD_TESTS_CAPACITYKIT_H
#define UFFDD_TESTS_CAPACITYKIT_H

#include <sys/resource.h>

#include "daemon/capacity.h"
#include "tests/support/runner.h"

/* A limit above all that a test needs. */
#define PLENTY 4096

static inline void set_limit(uint64_t limit)
{
	struct rlimit r;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &r), 0);
	r.rlim_cur = limit;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &r), 0);
}

/* The share of HTTP depends on the limit, so the limit goes down step by step. */
static inline void leave(const struct capacity *capacity, int64_t left)
{
	uint64_t limit = PLENTY;

	set_limit(limit);
	while (capacity_left(capacity) > left)
		set_limit(--limit);
	ck_assert_int_eq(capacity_left(capacity), left);
}

#endif
