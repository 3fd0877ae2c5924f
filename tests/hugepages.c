#include "tests/hugepages.h"

#include <stdio.h>

#include "tests/vmm.h"

#define NR_HUGE "/proc/sys/vm/nr_hugepages"

static long added;

/* What was asked for, and what there is then: less, where memory is in pieces. */
static bool resize(FILE *f, long n, long *ret_more)
{
	long before, wanted, after;

	if (fscanf(f, "%ld", &before) != 1)
		return false;
	rewind(f);
	wanted = before + n > 0 ? before + n : 0;
	if (fprintf(f, "%ld\n", wanted) < 0 || fflush(f) < 0)
		return false;
	rewind(f);
	if (fscanf(f, "%ld", &after) != 1)
		return false;
	*ret_more = after - before;
	return true;
}

bool hugepages_add(long n)
{
	cleanup_file FILE *f = fopen(NR_HUGE, "r+e");
	long more = 0;

	if (!f || !resize(f, n, &more)) {
		fputs("# " NR_HUGE " cannot be changed\n", stderr);
		return false;
	}
	added += more;
	return more == n;
}

void hugepages_put_back(void)
{
	if (added)
		hugepages_add(-added);
}

uint64_t hugepages_free(void)
{
	return vmm_huge_free() / PAGE_2M;
}
