/*
 * bench_floor - the least that serves a guest: the yardstick of a page server
 *
 * Takes the same handshake, reads one message, copies one page from a flat
 * mapping. No bookkeeping, no removals, no second look at the file, no end.
 */
#ifndef UFFDD_TESTS_BENCH_FLOOR_H
#define UFFDD_TESTS_BENCH_FLOOR_H

#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"

/* How much one UFFDIO_COPY of the bulk mode copies, if pages are not larger. */
#define BENCH_FLOOR_BULK_BYTES ((uint64_t)1 << 20)

/*
 * bench_floor_start - a process that serves the flat file @image to one VMM
 * @socket: where it listens, by the time this returns
 * @bulk: do not wait for faults: copy everything, in order, then send one byte
 *
 * It dies with the calling thread, or by bench_floor_end().
 */
int bench_floor_start(const char *image, const char *socket, bool bulk, pid_t *ret_pid,
		      struct err *err);
void bench_floor_end(pid_t pid);

#endif
