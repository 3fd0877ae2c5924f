/*
 * leasing - a scene with one snapshot, and restores of it that prefetch under leases
 *
 * For use inside a Check test, like the harness.
 */
#ifndef UFFDD_TESTS_LEASING_H
#define UFFDD_TESTS_LEASING_H

#include "tests/support/stage.h"

#define LEASING_MIB ((uint64_t)1 << 20)
/* Looks when it is told to that everything has come. */
#define LEASING_RESIDENT "--hold-before --no-touch --wait-resident 600 --hold"
#define LEASING_NEVER_REVOKED "\"prefetch_leases\":1,\"prefetch_slice\":\"60s\""
#define LEASING_ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
/* Has a lease for as long as it is left alone, and does little with it. */
#define LEASING_SLOWLY "\"prefetch\":{\"rate_bytes_per_s\":65536}"

struct leasing {
	struct scene scene;
	char *snapshot, *image; /* owned paths */
};

/* @config: of the daemon, borrowed; @size: bytes of the snapshot. */
void leasing_open(struct leasing *l, const char *config, uint64_t size);
void leasing_close(struct leasing *l);

/* A restore that is served. @dir: NULL: the scene's snapshot; @vmm: words for its VMM. */
void leasing_begin(struct leasing *l, struct stage *s, const char *id, const char *dir,
		   const char *members, const char *vmm);
/* The VMM goes on, finds every byte right, and leaves. */
void leasing_right(struct stage *s);
/* The same, once all has come, as fast as can be. */
void leasing_hurry(struct stage *s);

/* What was prefetched so far. */
uint64_t leasing_done(const struct stage *s);
/* Is prefetch in this state? */
bool leasing_is(const struct stage *s, const char *state);
void leasing_await_queued(struct stage *s);
/* Until something was prefetched. */
void leasing_await_begun(struct stage *s);

#endif
