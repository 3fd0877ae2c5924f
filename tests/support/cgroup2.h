/*
 * cgroup2 - a cgroup of version 2 for a test: what could be delegated to a daemon
 *
 *   cgroup2_open(&g, "place"); … "%s/tenant" below g.dir … cgroup2_close(&g);
 */
#ifndef UFFDD_TESTS_CGROUP2_H
#define UFFDD_TESTS_CGROUP2_H

#include <sys/types.h>

#include "common/base.h"

struct cgroup2 {
	char *dir; /* owned */
};

/* Can there be any here? Else why not. */
bool cgroup2_available(const char **ret_why);
/* Would they have that controller to give to cgroups below? */
bool cgroup2_offers(const char *controller);
void cgroup2_open(struct cgroup2 *g, const char *name);
/* Once no process is in it or below; what is below goes, too. */
void cgroup2_close(struct cgroup2 *g);

/* Is the process in the cgroup @name below @g? */
bool cgroup2_has(const struct cgroup2 *g, const char *name, pid_t pid);
/* The number of its processes; -1: there is no such cgroup. */
int cgroup2_count(const struct cgroup2 *g, const char *name);
/* A file's text without its last newline, owned by the caller; NULL: there is none. */
char *cgroup2_read(const struct cgroup2 *g, const char *name, const char *file);
/* False, with errno, where the kernel refuses. */
bool cgroup2_write(const struct cgroup2 *g, const char *name, const char *file, const char *text);

#endif
