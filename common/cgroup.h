/*
 * cgroup - how much more memory a process may get before somebody must do without
 *
 * Pages installed in a guest are charged to the VMM's cgroups and to all their parents. The
 * supervisor opens the cgroups' files, because a sandboxed worker cannot open paths; the worker
 * reads the files as often as it needs.
 *
 *   kind        where                      a guest's pages of
 *   memory      the memory controller      4 KiB (2 MiB with memory_hugetlb_accounting)
 *   hugetlb     the hugetlb controller     2 MiB
 *   pool        the host's huge pages      2 MiB
 *
 * A controller belongs to a hierarchy of version 1 or to that of version 2. A level without its
 * files (the root, or a level where the controller is off) limits nothing.
 */
#ifndef UFFDD_CGROUP_H
#define UFFDD_CGROUP_H

#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"

/* Levels of one process. Of a deeper hierarchy the outermost levels are ignored. */
#define CGROUP_LEVELS_MAX 8
#define CGROUP_FILES_MAX 4 /* of one level */

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
	size_t levels; /* 0: nothing of this kind limits the process */
	int fds[CGROUP_LEVELS_MAX * CGROUP_FILES_MAX]; /* owned; cgroup_nfds() of them */
};

/* Number of open files. */
size_t cgroup_nfds(enum cgroup_kind kind, const struct cgroup_files *f);
/* Closes the files; levels becomes 0. Safe to repeat. */
void cgroup_close(enum cgroup_kind kind, struct cgroup_files *f);

/*
 * cgroup_open - open all that limits how many pages of @page_bytes a process may have
 * @root: prefix of all paths, "" for this host
 * @ret: filled for each kind, owned by the caller; all closed after failure
 *
 * A process that has ended has no cgroups: 0 levels. Returns 0, or -1 with ERR_SYSTEM only when
 * files that may exist could not be opened: no descriptors or no memory.
 */
int cgroup_open(const char *root, pid_t pid, uint64_t page_bytes,
		struct cgroup_files ret[CGROUP_KIND_COUNT], struct err *err);

/*
 * cgroup_room - bytes that may still be charged, on the level with the least room
 * @margin_bytes: bytes to leave free, but not more than a part of the limit (see kinds in
 *	cgroup.c)
 * @enough: a result of at least @enough bytes may be too low
 *
 * Returns UINT64_MAX without a limit. A level whose files cannot be read is gone, and limits
 * nothing.
 */
uint64_t cgroup_room(enum cgroup_kind kind, const struct cgroup_files *f, uint64_t margin_bytes,
		     uint64_t enough);

#endif
