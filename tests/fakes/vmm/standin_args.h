/*
 * standin_args - the command line of the stand-in VMM
 *
 * Where an option takes one word of a list, its index is kept: that is the value of enum
 * walk_order, handshake_style or vmm_helper.
 */
#ifndef UFFDD_TESTS_STANDIN_ARGS_H
#define UFFDD_TESTS_STANDIN_ARGS_H

#include <stdio.h>

#include "common/base.h"
#include "common/err.h"

/* Guest memory, and its userfaultfd. */
struct standin_memory {
	const char *image, *split;
	uint64_t size, page_bytes, reverse, events;
	bool scarce;
};

/* How it connects, and from where. */
struct standin_link {
	const char *socket;
	uint64_t style, extra_fds, helper, uid;
	bool split_send, split_hold, drop, no_keep, pid_ns;
};

/* Which pages are touched, by whom, and when. */
struct standin_touch {
	const char *only;
	uint64_t threads, order, write_pct, passes, resident_s, linger_ms, paced;
	bool no_touch, quick, kvm, hold_before;
};

/* What becomes of memory while it is touched. */
struct standin_change {
	uint64_t remove_pct, balloon_s;
	bool unmap, remap, fork;
};

struct standin_end {
	uint64_t timeout_s;
	bool hold, main_ends, ends_slowly;
};

struct standin_args {
	struct standin_memory memory;
	struct standin_link link;
	struct standin_touch touch;
	struct standin_change change;
	struct standin_end end;
	const char *hostile;
	uint64_t seed;
	bool help;
};

void standin_usage(FILE *f);
/* @a has the defaults. All texts are borrowed from @argv, which begins with the first option. */
int standin_parse(struct standin_args *a, char **argv, struct err *err);
/* --split: sizes of at most REGIONS_MAX regions, 0 for the rest. @text: NULL: none. */
int standin_split(const char *text, uint64_t *ret, size_t *ret_n, struct err *err);
/* UF_FEATURE_* that the userfaultfd is to be asked for. */
unsigned standin_features(const struct standin_args *a);

#endif
