/*
 * cgroup - how much more memory a process may get before somebody must do without
 *
 * What is installed in a guest is charged to the VMM's cgroups, and to every one above
 * them. The supervisor opens their files, for a worker has no path left by then; the worker
 * reads them whenever it wants to know.
 *
 *   kind        where                      a guest's pages of
 *   memory      the memory controller      4 KiB (2 MiB with memory_hugetlb_accounting)
 *   hugetlb     the hugetlb controller     2 MiB
 *   pool        the host's huge pages      2 MiB
 *
 * A controller belongs to a hierarchy of version 1 or to that of version 2. A level without
 * its files (the root, or one where the controller is off) limits nothing.
 */
#ifndef UFFDD_CGROUP_H
#define UFFDD_CGROUP_H

#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"

/* Of a deeper hierarchy the outermost ones are left out. */
#define CGROUP_LEVELS_MAX 8
#define CGROUP_FILES_MAX 4 /* of a level */

enum cgroup_kind {
	CGROUP_MEMORY_V1,
	CGROUP_MEMORY_V2,
	CGROUP_HUGETLB_V1,
	CGROUP_HUGETLB_V2,
	CGROUP_POOL,
	CGROUP_KIND_COUNT
};

/* The open files of one kind: those of the process's own cgroup, then of its parent, … */
struct cgroup_files {
	size_t levels;                                 /* 0: nothing of this kind limits it */
	int fds[CGROUP_LEVELS_MAX * CGROUP_FILES_MAX]; /* owned; cgroup_nfds() of them */
};

/* So many files are open. */
size_t cgroup_nfds(enum cgroup_kind kind, const struct cgroup_files *f);
void cgroup_close(enum cgroup_kind kind, struct cgroup_files *f);

/*
 * cgroup_open - all that limits how many pages of @page_bytes a process may have
 * @root: what paths begin with, "" for this host
 * @ret: filled for each kind, owned by the caller; all closed after failure
 *
 * A process that has ended has no cgroups. -1 only when files could not be opened that may be
 * there: no descriptors or no memory.
 */
int cgroup_open(const char *root, pid_t pid, uint64_t page_bytes,
		struct cgroup_files ret[CGROUP_KIND_COUNT], struct err *err);

/*
 * cgroup_room - bytes that may still be taken of what is left, on the level with the least
 * @margin_bytes: are to stay, but not more than a part of the limit (see the table)
 * @enough: more than that need not be known exactly
 *
 * UINT64_MAX: no limit. A level that cannot be read any more is gone, and limits nothing.
 */
uint64_t cgroup_room(enum cgroup_kind kind, const struct cgroup_files *f, uint64_t margin_bytes,
		     uint64_t enough);

#endif
