/*
 * selftest - is the libevent we are running on safe to listen with?
 *
 * Unpatched 2.1.12 lets every client that may connect abort the process
 * (CVE-2026-63388), and its version string does not tell. So it is tried.
 */
#ifndef UFFDD_SELFTEST_H
#define UFFDD_SELFTEST_H

#include "common/err.h"

/*
 * selftest_libevent - serve one request in a child and see whether that kills it
 *
 * Forks; call before threads and before anything that a fork would share.
 * Leaves nothing behind. Takes some milliseconds of processor time; what comes of it does not
 * depend on when the host gives them to it, so that a busy one does not keep us from starting.
 *
 * Returns 0, or -1 with ERR_SYSTEM (vulnerable, or could not be tried).
 */
int selftest_libevent(struct err *err);

/* What the child's end (a status of waitpid) says: 0, or -1 with ERR_SYSTEM. */
int selftest_verdict(int wait_status, struct err *err);

#endif
