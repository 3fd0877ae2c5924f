/*
 * apart - a process in a PID namespace of its own
 */
#ifndef UFFDD_TESTS_APART_H
#define UFFDD_TESTS_APART_H

#include <sys/types.h>

#include "common/err.h"

/*
 * The rest of this program runs in a child, the first process of its namespace; this one waits,
 * and exits as it did. -1: that is not permitted.
 */
int apart_enter(struct err *err);
/*
 * apart_fork - fork(), with a child that sees only itself and what it starts
 * Its /proc, too. The caller stays where it is. -1: that is not permitted.
 */
pid_t apart_fork(void);

#endif
