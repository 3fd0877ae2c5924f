/*
 * landlock - no access to the file system, to networks, and to processes outside
 *
 * The second lock behind the list of system calls (Documentation/userspace-api/landlock.rst).
 * Descriptors that are open keep working. A pathname socket can still be connected to, which
 * reconnecting needs.
 */
#ifndef UFFDD_LANDLOCK_H
#define UFFDD_LANDLOCK_H

#include "common/err.h"

/*
 * landlock_enter - forbid this process all that the kernel's Landlock knows
 * @removable: files in this directory may still be removed; NULL: none
 *
 * For a process of one thread without new privileges. A kernel without Landlock is no fault.
 * Returns 0, or -1 with ERR_SYSTEM.
 */
int landlock_enter(const char *removable, struct err *err);

#endif
