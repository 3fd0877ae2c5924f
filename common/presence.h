/*
 * presence - which pages of a VMM are really there, asked of the kernel
 *
 * What an install answers is not enough: a copy of a huge page may say EEXIST where the pool
 * is empty (Linux 6.18), and memory comes and goes without a userfaultfd hearing of
 * it. The VMM's /proc/PID/pagemap knows. The supervisor opens it, and a worker that may
 * open nothing asks through the descriptor.
 */
#ifndef UFFDD_PRESENCE_H
#define UFFDD_PRESENCE_H

#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"
#include "common/uffd.h"

struct presence {
	int pagemap;   /* owned; -1: it cannot be asked */
	bool verified; /* it is of the memory that is served: see presence_verify() */
};

/*
 * presence_open - the pagemap of a process, one that does not show physical addresses
 * ERR_DENIED: the process may not be looked into.
 */
int presence_open(pid_t pid, int *ret_fd, struct err *err);
/* Takes @fd, -1 included. */
void presence_use(struct presence *p, int fd);
void presence_fini(struct presence *p);

struct presence_run {
	uint64_t start, len; /* addresses and bytes in the VMM */
	bool swapped;        /* or only marked: not in memory, and maybe not there either */
};
/*
 * presence_runs - what of [start, end) is there, in order of address
 * @ret_next: where to go on, @end when all of it was looked at
 *
 * Returns the number of runs, at most @max, or -1: it cannot be asked. Pages of a
 * shared mapping that are in memory, but not in the VMM's page tables, are not
 * among them: see presence_ask().
 */
int presence_runs(const struct presence *p, uint64_t start, uint64_t end, struct presence_run *runs,
		  size_t max, uint64_t *ret_next);

/* A page that we have installed is there: so it is the right process. */
void presence_verify(struct presence *p, uint64_t addr, uint64_t page_bytes);

enum presence_answer {
	PRESENCE_YES,
	PRESENCE_NO,
	PRESENCE_UNKNOWN, /* not to be asked, or not now */
};
/* One page; in a shared mapping it becomes part of the page tables if it is there. */
enum presence_answer presence_ask(const struct presence *p, int uffd, uint64_t addr,
				  uint64_t page_bytes);

#endif
