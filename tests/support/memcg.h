/*
 * memcg - memory cgroups for VMMs, below the test's own
 *
 *   memcg_open(&top, NULL, "top"); memcg_open(&vm, &top, "vm"); memcg_limit(&top, 40 * MIB);
 *   memcg_enter(&vm); … fork … memcg_leave(&vm);
 *   memcg_close(&vm); memcg_close(&top);
 *
 * Of version 1 only: one of version 2 has no place for the test beside them.
 */
#ifndef UFFDD_TESTS_MEMCG_H
#define UFFDD_TESTS_MEMCG_H

#include "common/base.h"

struct memcg {
	char *dir, *home; /* owned; where it is, and where the test was before */
};

/* Can there be any here? Else why not. */
bool memcg_available(const char **ret_why);
/* @above: NULL: the test's own */
void memcg_open(struct memcg *g, const struct memcg *above, const char *name);
/* Once nobody is in it. */
void memcg_close(struct memcg *g);

void memcg_limit(const struct memcg *g, uint64_t bytes);
uint64_t memcg_usage(const struct memcg *g);
/* The test itself, and what it forks then. */
void memcg_enter(const struct memcg *g);
void memcg_leave(const struct memcg *g);

#endif
