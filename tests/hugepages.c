#include "tests/hugepages.h"

#include <stdio.h>
#include <sys/file.h>

#include "tests/vmm.h"

#define NR_HUGE "/proc/sys/vm/nr_hugepages"

static FILE *pool; /* owned, and locked; NULL: not ours */
static long added;

/* What was asked for, and what there is then: less, where memory is in pieces. */
static bool resize(long n, long *ret_more)
{
	long before, wanted, after;

	rewind(pool);
	if (fscanf(pool, "%ld", &before) != 1)
		return false;
	rewind(pool);
	wanted = before + n > 0 ? before + n : 0;
	if (fprintf(pool, "%ld\n", wanted) < 0 || fflush(pool) < 0)
		return false;
	rewind(pool);
	if (fscanf(pool, "%ld", &after) != 1)
		return false;
	*ret_more = after - before;
	return true;
}

bool hugepages_add(long n)
{
	long more = 0;

	if (!pool)
		pool = fopen(NR_HUGE, "r+e");
	if (!pool || flock(fileno(pool), LOCK_EX) || !resize(n, &more)) {
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
	if (pool)
		fclose(pool);
	pool = NULL;
}

uint64_t hugepages_free(void)
{
	return vmm_huge_free() / PAGE_2M;
}
