/*
 * hugepages - more of them for a while, where that is permitted
 *
 * Whoever adds some, or needs what there is, has the pool for itself until it puts them back, or
 * ends. Others than these tests may change it, too, so what was added is taken away again, and the
 * old number is not put back.
 */
#ifndef UFFDD_TESTS_HUGEPAGES_H
#define UFFDD_TESTS_HUGEPAGES_H

#include <stdbool.h>
#include <stdint.h>

/* So many 2 MiB pages more, or fewer; false, and a line on stderr: not to be had. */
bool hugepages_add(long n);
/* All that hugepages_add() has added. */
void hugepages_put_back(void);
/* How many are free. */
uint64_t hugepages_free(void);

#endif
