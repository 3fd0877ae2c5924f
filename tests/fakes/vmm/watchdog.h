/*
 * watchdog - ends a program that hangs, and says where
 */
#ifndef UFFDD_TESTS_WATCHDOG_H
#define UFFDD_TESTS_WATCHDOG_H

#include "tests/fakes/vmm/vmm.h"

/*
 * Once per program. When a deadline passes, "hung" and vmm_print_busy() go to
 * stdout and the process exits with @exit_code. Its thread has SIGTERM blocked.
 */
int watchdog_start(int exit_code, struct err *err);
/* A new deadline from now on; 0 seconds: none. @v (borrowed, may be NULL) is what to print. */
void watchdog_set(struct vmm *v, uint64_t seconds);

#endif
