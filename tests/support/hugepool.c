#include "tests/support/hugepool.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define NR_HUGE "/proc/sys/vm/nr_hugepages"
#define HUGE_2M (21 << 26) /* log2 of the size, at MAP_HUGE_SHIFT */

static long read_number(const char *path)
{
	cleanup_file FILE *f = fopen(path, "re");
	long n = 0;

	return f && fscanf(f, "%ld", &n) == 1 ? n : 0;
}

static bool set_size(const struct hugepool *p, long pages)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%ld\n", pages);

	return pwrite(p->fd, text, (size_t)len, 0) == len;
}

unsigned long hugepool_free(void)
{
	long n = read_number(POOL "free_hugepages") - read_number(POOL "resv_hugepages");

	return n > 0 ? (unsigned long)n : 0;
}

bool hugepool_open(struct hugepool *p, unsigned long pages)
{
	unsigned long have;

	p->fd = open(NR_HUGE, O_RDWR | O_CLOEXEC);
	if (p->fd < 0 || flock(p->fd, LOCK_EX)) {
		close_fd(&p->fd);
		return false;
	}
	p->before = read_number(NR_HUGE);
	have = hugepool_free();
	if (have < pages)
		set_size(p, p->before + (long)(pages - have));
	return hugepool_free() >= pages;
}

void hugepool_close(struct hugepool *p)
{
	if (p->fd >= 0)
		set_size(p, p->before);
	close_fd(&p->fd);
}

void *hugepool_take_but(unsigned long pages, size_t *ret_bytes)
{
	unsigned long have = hugepool_free();
	void *held;

	*ret_bytes = 0;
	if (have <= pages)
		return NULL;
	held = mmap(NULL, (have - pages) * PAGE_2M, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | HUGE_2M | MAP_POPULATE, -1, 0);
	if (held == MAP_FAILED)
		return NULL;
	*ret_bytes = (have - pages) * PAGE_2M;
	return held;
}
