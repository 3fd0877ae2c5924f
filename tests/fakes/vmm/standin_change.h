/*
 * standin_change - what the stand-in VMM does with its memory while threads touch it
 */
#ifndef UFFDD_TESTS_STANDIN_CHANGE_H
#define UFFDD_TESTS_STANDIN_CHANGE_H

#include "tests/fakes/vmm/standin_args.h"
#include "tests/fakes/vmm/walk.h"

/* All of it but the balloon, once, by the calling thread's seat. A line on stdout for each. */
int standin_change(struct walker *seat, const struct standin_change *c, uint64_t seed,
		   struct err *err);
/* Gives back pages until then (now_us()), or until the end of stdin; @walk goes on meanwhile. */
int standin_inflate(struct walker *seat, struct walk *walk, uint64_t until_us, struct err *err);

#endif
