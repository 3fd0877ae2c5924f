/*
 * calls - what a module says of the system calls that it needs
 *
 * The list stands beside the code that makes the calls. syscalls.c joins the lists of each phase,
 * and sandbox.c refuses what is on none of them.
 */
#ifndef UFFDD_CALLS_H
#define UFFDD_CALLS_H

#include <seccomp.h>
#include <stdint.h>

#include "common/base.h"

#define CALL_ARGS 2

struct call {
	int nr; /* SCMP_SYS() */
	/* Conditions, all of which must hold: (argument @arg & @mask) == @value. Mask 0: none. */
	struct {
		unsigned arg;
		uint64_t mask, value;
	} when[CALL_ARGS];
};

#define CALL_INT 0xffffffffu /* mask for an int: the kernel ignores the upper half */

/* clang-format off */
#define CALL(name) {SCMP_SYS(name), {{0}}}
#define CALL_IF(name, arg, mask, value) {SCMP_SYS(name), {{arg, mask, value}}}
/* clang-format on */

struct calls {
	const struct call *v;
	size_t n;
};

/* clang-format off */
#define CALLS(list) {list, ARRAY_LEN(list)}
/* clang-format on */

#endif
