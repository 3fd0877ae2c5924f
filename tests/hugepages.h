/*
 * hugepages - more of them for a while, where that is permitted
 *
 * Others may change the pool as well, so what was added is taken away again, and the old number
 * is not put back.
 */
#ifndef UFFDD_TESTS_HUGEPAGES_H
#define UFFDD_TESTS_HUGEPAGES_H

#include <stdbool.h>
#include <stdint.h>

/* So many 2 MiB pages more (or fewer); false, and a line on stderr: not to be had. */
bool hugepages_add(long n);
/* All that hugepages_add() has added and not taken. */
void hugepages_put_back(void);
/* How many are free. */
uint64_t hugepages_free(void);

#endif
