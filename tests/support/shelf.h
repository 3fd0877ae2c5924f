/*
 * shelf - snapshots of every kind, and what is known of their pages
 *
 * For use inside a Check test, like the harness.
 */
#ifndef UFFDD_TESTS_SHELF_H
#define UFFDD_TESTS_SHELF_H

#include "tests/fakes/snapshot/snapgen.h"

#define SHELF_MAX 16

struct shelf_snapshot {
	char *name, *json, *image; /* owned; json is the request's "snapshot" */
	uint64_t zero_bytes;       /* pages that read zero */
	bool zeros_stored;         /* some of them are data: zeros that a diff wrote */
};

struct shelf {
	struct shelf_snapshot v[SHELF_MAX];
	size_t n;
};

/* All that are in tests/data/golden. */
void shelf_fill_golden(struct shelf *shelf);
/* A made-up one, in a new directory below @parent. */
void shelf_make(struct shelf *shelf, const char *parent, const char *name,
		const struct snapgen_opts *o);
/* The files stay. */
void shelf_clear(struct shelf *shelf);

#endif
