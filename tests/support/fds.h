/*
 * fds - how many descriptors a process has open, for tests and programs without Check
 */
#ifndef UFFDD_TESTS_FDS_H
#define UFFDD_TESTS_FDS_H

#include <sys/types.h>

/* As /proc shows them, without the one that is needed to look; -1: @pid cannot be looked into. */
int fds_count(pid_t pid);

#endif
