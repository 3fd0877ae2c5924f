/*
 * hugepool - the machine's pool of 2 MiB pages, for one test program at a time
 *
 * Whoever looks at what is free must be the only one who takes: others wait for the
 * lock. The pool gets its size back in the end, and at the latest the lock goes with
 * the process.
 */
#ifndef UFFDD_TESTS_HUGEPOOL_H
#define UFFDD_TESTS_HUGEPOOL_H

#include "common/base.h"

struct hugepool {
	int fd;      /* owned: of the kernel's own file, locked; -1: the pool cannot be changed */
	long before; /* its size */
};

/* Waits for the lock, and sees that at least @pages are free. False: they cannot be had. */
bool hugepool_open(struct hugepool *p, unsigned long pages);
void hugepool_close(struct hugepool *p);

/* Pages that nobody has. */
unsigned long hugepool_free(void);
/*
 * A neighbour who leaves only @pages: what it holds, of *ret_bytes, for munmap(). NULL: it
 * holds nothing.
 */
void *hugepool_take_but(unsigned long pages, size_t *ret_bytes);

#endif
