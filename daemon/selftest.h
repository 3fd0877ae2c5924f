/*
 * selftest - is the libevent that we run on safe to listen with?
 *
 * Unpatched 2.1.12 lets every client that may connect abort the process (CVE-2026-63388), and its
 * version string does not tell. So we try it.
 */
#ifndef UFFDD_SELFTEST_H
#define UFFDD_SELFTEST_H

#include "common/err.h"

/*
 * selftest_libevent - serves one request in a child, and looks whether that kills the child
 *
 * Forks: call before threads, and before anything that a fork would share. Leaves nothing behind.
 * Takes some milliseconds of processor time. The result does not depend on when the host grants
 * them, so a busy host does not keep the daemon from starting.
 *
 * Returns 0, or -1 with ERR_SYSTEM (vulnerable, or could not be tried).
 */
int selftest_libevent(struct err *err);

/* The result by the child's end (a status of waitpid): 0, or -1 with ERR_SYSTEM. */
int selftest_verdict(int wait_status, struct err *err);

#endif
