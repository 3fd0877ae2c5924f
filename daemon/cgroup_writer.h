/*
 * cgroup_writer - writes limits of cgroups without waiting for the kernel
 *
 * Where a cgroup has more memory than its new limit, the kernel before Linux 6.16 takes that back
 * within write(), and kills until it is enough: that lasts as long as those who have the memory
 * like. So a thread waits in place of the event loop. Limits are written in the order in which they
 * came, so the last one holds.
 *
 * One writer per process; from the main thread only. No thread runs while there is nothing to write.
 */
#ifndef UFFDD_CGROUP_WRITER_H
#define UFFDD_CGROUP_WRITER_H

#include "common/base.h"

#define CGROUP_WRITER_TEXT_MAX 31

/*
 * Takes *@fd, a file that is open for writing, and sets it to -1; it is closed once @text was
 * written. @text has at most CGROUP_WRITER_TEXT_MAX bytes; @path names the file in the log, which
 * tells if the kernel refuses. Never blocks.
 */
void cgroup_writer_write(int *fd, const char *text, const char *path);

#endif
