/*
 * syscalls - the system calls that a worker may make in each phase
 *
 * The lists of the modules, joined. A phase may also make the calls of the phases after it.
 */
#ifndef UFFDD_SYSCALLS_H
#define UFFDD_SYSCALLS_H

#include "worker/sandbox.h"

extern const struct sandbox_calls syscalls_worker;

#endif
