/*
 * presence - which pages of a VMM are really there, asked of the kernel
 *
 * The result of an install is not enough: a copy of a huge page may say EEXIST where the pool is
 * empty (Linux 6.18), and memory comes and goes without an event on the userfaultfd. The VMM's
 * /proc/PID/pagemap knows. The supervisor opens it; the sandboxed worker asks through the
 * descriptor.
 */
#ifndef UFFDD_PRESENCE_H
#define UFFDD_PRESENCE_H

#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"
#include "common/uffd.h"

struct presence {
	int pagemap;   /* owned; -1: nothing can be asked */
	bool verified; /* the pagemap shows the memory that is served: see presence_verify() */
};

/*
 * presence_open - open the pagemap of a process, without physical addresses in it
 * @ret_fd: owned by the caller
 *
 * Returns 0, or -1: ERR_DENIED if this process may not look into the other, or ERR_SYSTEM.
 */
int presence_open(pid_t pid, int *ret_fd, struct err *err);
/* Takes the pagemap @fd over (-1: none) and closes an earlier one. @p is initialised before. */
void presence_use(struct presence *p, int fd);
void presence_fini(struct presence *p);

struct presence_run {
	uint64_t start, len; /* addresses and bytes in the VMM */
	bool swapped;        /* swapped out, or only a marker: perhaps not there at all */
};
/*
 * presence_runs - the pages of [start, end) that are there, in order of address
 * @ret_next: address to continue at; @end when the whole range was looked at
 *
 * Returns the number of runs, at most @max, or -1: the pagemap cannot be asked. Pages of a shared
 * mapping that are in memory but not in the VMM's page tables are not among the runs: see
 * presence_ask().
 */
int presence_runs(const struct presence *p, uint64_t start, uint64_t end, struct presence_run *runs,
		  size_t max, uint64_t *ret_next);

/*
 * Call after the install of a page: if the pagemap shows the page, it is that of the right process.
 */
void presence_verify(struct presence *p, uint64_t addr, uint64_t page_bytes);

enum presence_answer {
	PRESENCE_YES,
	PRESENCE_NO,
	PRESENCE_UNKNOWN, /* the pagemap cannot be asked, or not now */
};
/*
 * Is the page at @addr there? @uffd is borrowed. A page of a shared mapping that is in memory gets
 * mapped into the VMM's page tables.
 */
enum presence_answer presence_ask(const struct presence *p, int uffd, uint64_t addr,
				  uint64_t page_bytes);

#endif
